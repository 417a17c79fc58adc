"""Reading layers of vision-language models against a plain loop of transformers with hooks: images a second, and memory.

``python -m benchmarks.extraction`` reads tiny models on the CPU; with ``--gpu`` models of the real sizes with random weights
in bfloat16, at several batch sizes. ``--only`` takes some of them, ``--sizes`` tiny ones there, or real ones here.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers as hf

from benchmarks._measure import in_turn, ratio, save
from trialbook.contracts import to_device
from trialbook.engine.timing import peak_memory
from trialbook_plugins.vlms import architectures as tables
from trialbook_plugins.vlms import tiny
from trialbook_plugins.vlms.architecture import Architecture
from trialbook_plugins.vlms.family import image_size
from trialbook_plugins.vlms.inputs import family
from trialbook_plugins.vlms.layer_reader import LayerReader
from trialbook_plugins.vlms.pictures import STATISTICS, Pictures
from trialbook_plugins.vlms.prompt import plain_prompt


class Model(NamedTuple):
    """An architecture at one size."""

    name: str
    architecture: Architecture
    config: Callable[[], Any]


class Subject(NamedTuple):
    """A model whose points are read, what its rows are called and how many images a pass takes."""

    name: str
    model: LayerReader
    batch: int


def clip() -> Any:
    """CLIP ViT-L/14 at 336 pixels."""
    return hf.CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )


def siglip() -> Any:
    """SigLIP so400m/14 at 384 pixels."""
    return hf.SiglipVisionConfig(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16, image_size=384, patch_size=14,
        vision_use_head=False,
    )  # fmt: skip


def llava_next() -> Any:
    """LLaVA-NeXT-7B: CLIP ViT-L/14 at 336 pixels, Llama of 32 blocks; the whole image and 2 x 2 tiles."""
    return hf.LlavaNextConfig(
        vision_config=clip(), text_config=hf.LlamaConfig(vocab_size=32064), image_token_id=32000,
        image_grid_pinpoints=[[672, 672]],
    )  # fmt: skip


def internvl() -> Any:
    """InternVL 8B: InternViT-300M at 448 pixels, Qwen2.5-7B."""
    text = {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 151674,
    }  # fmt: skip
    return hf.InternVLConfig(
        vision_config=hf.InternVLVisionConfig(), text_config=hf.Qwen2Config(**text), image_token_id=151667,
        tie_word_embeddings=False,
    )  # fmt: skip


def qwen2_5_vl() -> Any:
    """Qwen2.5-VL-7B at 448 pixels."""
    vision = {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }  # fmt: skip
    text = {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064,
        "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
    }  # fmt: skip
    return hf.Qwen2_5_VLConfig(vision_config=vision, text_config=text)


REAL = (
    Model("CLIP ViT-L/14-336", tables.VISION, clip),
    Model("SigLIP so400m", tables.VISION, siglip),
    Model("LLaVA-NeXT-7B", tables.LLAVA_NEXT, llava_next),
    Model("InternVL-8B", tables.INTERNVL, internvl),
    Model("Qwen2.5-VL-7B", tables.QWEN2_5_VL, qwen2_5_vl),
)
TINY = (
    Model("ViT, tiny", tables.VISION, tiny.vision),
    Model("llava-next, tiny", tables.LLAVA_NEXT, tiny.llava_next),
    Model("internvl, tiny", tables.INTERNVL, tiny.internvl),
    Model("qwen2.5-vl, tiny", tables.QWEN2_5_VL, tiny.qwen2_5_vl),
)


def subjects(models: Sequence[Model], batches: Sequence[int], device: str) -> Iterator[Subject]:
    """One after the other, so that only one model is in memory."""
    for model in models:
        made = _layer_reader(model, device, torch.float32 if device == "cpu" else torch.bfloat16)
        for batch in batches:
            yield Subject(f"{model.name}, {batch} images a pass", made, batch)
        del made
        gc.collect()
        if device != "cpu":
            torch.cuda.empty_cache()


def main(device: str = "cpu", sizes: str = "", only: str = "", batches: Sequence[int] = (), rounds: int = 3) -> None:
    """In turn: all points of a family by the layer reader, and by hooks on the same modules of the plain model.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        sizes: ``"tiny"`` or ``"real"``; as the device has it if empty.
        only: part of the names of the models that are taken, as in ``"LLaVA"``.
        batches: images of a pass.
        rounds: how often each is timed.
    """
    gpu = device != "cpu"
    models = REAL if (sizes or ("real" if gpu else "tiny")) == "real" else TINY
    chosen = [model for model in models if only.lower() in model.name.lower()]
    if not chosen:
        sys.exit(f"no model is called '{only}'; there are {', '.join(model.name for model in models)}")
    rows: list[dict[str, Any]] = []
    for subject in subjects(chosen, batches or ((1, 8, 32) if gpu else (8,)), device):
        rows += _measured(subject, 64, device, rounds)
    if not gpu:
        peak = peak_memory(torch.device("cpu")) / 2**20
        rows.append({"what": "peak memory of the process, all together", "value": peak, "unit": "MiB", "bound": ""})
    where = f"{torch.cuda.get_device_name()}, random weights, bfloat16" if gpu else "the CPU, random weights, float32"
    note = (
        f"On {where}; 64 images. The plain loop has forward hooks on the same modules and keeps what they give as "
        "it is; the layer reader ends the pass at the deepest point, keeps the image's tokens alone and puts them in order. "
        "Inputs are made beforehand."
    )
    save(f"extraction{'_gpu' if gpu else ''}", "Reading layers of vision-language models", rows, note)


def _measured(subject: Subject, count: int, device: str, rounds: int) -> list[dict[str, Any]]:
    raw = np.random.default_rng(0).integers(0, 256, (count, 3, *subject.model.family.size), dtype=np.uint8)
    batches = [
        to_device(subject.model.prepare(raw[start : start + subject.batch]), torch.device(device))
        for start in range(0, count, subject.batch)
    ]
    programs = {
        "layer reader": lambda: _read_layers(subject.model, batches),
        "plain": lambda: _plain(subject.model, batches),
    }
    taken = in_turn({name: lambda p=program: _timed(p, device) for name, program in programs.items()}, rounds)
    rows: list[dict[str, Any]] = [
        {
            "what": f"{subject.name}: plain loop / layer reader",
            "value": ratio(taken, "plain", "layer reader"),
            "unit": "x",
            "bound": "",
        }
    ]
    for name in programs:
        speed = count / statistics.median(taken[name])
        rows.append({"what": f"{subject.name}: {name}", "value": speed, "unit": "images/s", "bound": ""})
    if device != "cpu":
        for name, program in programs.items():
            torch.cuda.reset_peak_memory_stats()
            program()
            peak = torch.cuda.max_memory_allocated() / 2**20
            rows.append({"what": f"{subject.name}: {name}, peak on the GPU", "value": peak, "unit": "MiB", "bound": ""})
    return rows


def _read_layers(model: LayerReader, batches: Sequence[dict[str, torch.Tensor]]) -> None:
    with torch.no_grad():
        for batch in batches:
            for tokens in model.tokens(batch).values():
                tokens.cpu()


def _plain(model: LayerReader, batches: Sequence[dict[str, torch.Tensor]]) -> None:
    found: dict[str, torch.Tensor] = {}

    def after(name: str) -> Any:
        return lambda _, __, output: found.update({name: output[0] if isinstance(output, tuple) else output})

    def before(name: str) -> Any:
        return lambda _, given: found.update({name: given[0]})

    handles = []
    for hook in model.hooks:
        module = model.model.get_submodule(hook.path)
        out = hook.side == "out"
        handles.append(
            module.register_forward_hook(after(hook.name))
            if out
            else module.register_forward_pre_hook(before(hook.name))
        )
    with torch.no_grad():
        for batch in batches:
            model.model(**model.arguments(batch), **({} if model.connector is None else {"use_cache": False}))
            for value in found.values():
                value.cpu()
    for handle in handles:
        handle.remove()


def _timed(program: Any, device: str) -> float:
    started = time.perf_counter()
    program()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _layer_reader(model: Model, device: str, dtype: torch.dtype) -> LayerReader:
    architecture, config = model.architecture, model.config()
    maker = hf.AutoModelForImageTextToText if architecture.connector else hf.AutoModel
    with torch.device(device):
        torch.manual_seed(0)
        made = maker.from_config(config, dtype=dtype).eval()
    made.to(device)
    kind = family(architecture.inputs)
    own = image_size(getattr(config, "vision_config", None) or config)
    inputs = kind(config, kind.default_size(config, own, architecture.image_size), "base")
    prompt = plain_prompt(config, kind.image_token(config, None))
    pictures = Pictures(*STATISTICS[architecture.statistics])
    return LayerReader(made, architecture, inputs, pictures, prompt, list(architecture.points))


def _from_shell() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="on the GPU, models of the real sizes")
    parser.add_argument("--sizes", default="", choices=("", "tiny", "real"))
    parser.add_argument("--only", default="", help="part of a model's name")
    parser.add_argument("--batch", type=int, nargs="+", default=[], help="images of a pass")
    given = parser.parse_args()
    if given.gpu and not torch.cuda.is_available():
        sys.exit("there is no GPU that torch can use here; without --gpu tiny models are read on the CPU")
    main("cuda" if given.gpu else "cpu", given.sizes, given.only, given.batch)


if __name__ == "__main__":
    _from_shell()
