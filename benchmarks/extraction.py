"""Reading layers of vision-language models against a plain loop of transformers with hooks: images a second, and memory.

``python -m benchmarks.extraction`` reads tiny models on the CPU; ``--device cuda`` models of the real sizes with random
weights in bfloat16, at several batch sizes.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers as hf

from benchmarks._measure import in_turn, ratio, save
from trialbook.contracts import to_device
from trialbook_plugins.vlms import tables, tiny
from trialbook_plugins.vlms.architecture import Architecture
from trialbook_plugins.vlms.inputs import family, image_size
from trialbook_plugins.vlms.pictures import STATISTICS, Pictures
from trialbook_plugins.vlms.prompt import plain_prompt
from trialbook_plugins.vlms.tapped import TappedModel

TINY = ((tables.LLAVA_NEXT, tiny.llava_next), (tables.INTERNVL, tiny.internvl), (tables.QWEN2_5_VL, tiny.qwen2_5_vl))


class Subject(NamedTuple):
    """A model whose points are read, what its rows are called and how many images a pass takes."""

    name: str
    model: TappedModel
    batch: int


def llava_next() -> Any:
    """LLaVA-NeXT-7B: CLIP ViT-L/14 at 336 pixels, Llama of 32 blocks; the whole image and 2 x 2 tiles."""
    return hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
            patch_size=14,
        ),
        text_config=hf.LlamaConfig(vocab_size=32064), image_token_id=32000, image_grid_pinpoints=[[672, 672]],
    )  # fmt: skip


def internvl() -> Any:
    """InternVL 8B: InternViT-300M at 448 pixels, Qwen2.5-7B."""
    text = {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 151674,
    }  # fmt: skip
    return hf.InternVLConfig(
        vision_config=hf.InternVLVisionConfig(), text_config=hf.Qwen2Config(**text), image_token_id=151667
    )


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


REAL = ((tables.LLAVA_NEXT, llava_next), (tables.INTERNVL, internvl), (tables.QWEN2_5_VL, qwen2_5_vl))


def subjects(device: str) -> Iterator[Subject]:
    """One after the other, so that only one model is in memory."""
    real = device != "cpu"
    for architecture, config in REAL if real else TINY:
        made = _tapped(architecture, config(), device, torch.bfloat16 if real else torch.float32)
        for batch in (1, 8) if real else (8,):
            yield Subject(f"{architecture.name}{'' if real else ', tiny'}, {batch} images a pass", made, batch)
        del made
        gc.collect()
        if real:
            torch.cuda.empty_cache()


def main(device: str = "cpu") -> None:
    """In turn, 3 rounds: all points of a family by taps, and by hooks on the same modules of the plain model."""
    rows: list[dict[str, Any]] = []
    count = 64 if device == "cpu" else 32
    for subject in subjects(device):
        rows += _measured(subject, count, device)
    if device == "cpu":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append({"what": "peak memory of the process, all together", "value": peak, "unit": "MiB", "bound": ""})
        where = "the CPU, tiny models, float32"
    else:
        where = f"{torch.cuda.get_device_name()}, random weights, bfloat16"
    note = (
        f"On {where}; {count} images. The plain loop has forward hooks on the same modules and keeps what they give as "
        "it is; taps end the pass at the deepest point, keep the image's tokens alone and put them in order. Inputs are "
        "made beforehand."
    )
    save(f"extraction{'' if device == 'cpu' else '_gpu'}", "Reading layers of vision-language models", rows, note)


def _measured(subject: Subject, count: int, device: str) -> list[dict[str, Any]]:
    raw = np.random.default_rng(0).integers(0, 256, (count, 3, *subject.model.family.size), dtype=np.uint8)
    batches = [
        to_device(subject.model.prepare(raw[start : start + subject.batch]), torch.device(device))
        for start in range(0, count, subject.batch)
    ]
    programs = {"taps": lambda: _taps(subject.model, batches), "plain": lambda: _plain(subject.model, batches)}
    taken = in_turn({name: lambda p=program: _timed(p, device) for name, program in programs.items()}, rounds=3)
    rows: list[dict[str, Any]] = [
        {"what": f"{subject.name}: plain loop / taps", "value": ratio(taken, "plain", "taps"), "unit": "x", "bound": ""}
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


def _taps(model: TappedModel, batches: Sequence[dict[str, torch.Tensor]]) -> None:
    with torch.no_grad():
        for batch in batches:
            for tokens in model.tokens(batch).values():
                tokens.float().cpu()


def _plain(model: TappedModel, batches: Sequence[dict[str, torch.Tensor]]) -> None:
    found: dict[str, torch.Tensor] = {}

    def after(name: str) -> Any:
        return lambda _, __, output: found.update({name: output[0] if isinstance(output, tuple) else output})

    def before(name: str) -> Any:
        return lambda _, given: found.update({name: given[0]})

    handles = []
    for tap in model.taps:
        module = model.model.get_submodule(tap.path)
        out = tap.side == "out"
        handles.append(
            module.register_forward_hook(after(tap.name)) if out else module.register_forward_pre_hook(before(tap.name))
        )
    with torch.no_grad():
        for batch in batches:
            model.model(**model.arguments(batch), use_cache=False)
            for value in found.values():
                value.float().cpu()
    for handle in handles:
        handle.remove()


def _timed(program: Any, device: str) -> float:
    started = time.perf_counter()
    program()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _tapped(architecture: Architecture, config: Any, device: str, dtype: torch.dtype) -> TappedModel:
    with torch.device(device):
        torch.manual_seed(0)
        model = hf.AutoModelForImageTextToText.from_config(config, dtype=dtype).eval()
    model.to(device)
    maker = family(architecture.inputs)
    size = maker.default_size(config, image_size(config.vision_config), architecture.image_size)
    inputs, pictures = maker(config, size, "base"), Pictures(*STATISTICS[architecture.statistics])
    prompt = plain_prompt(config, maker.image_token(config, None))
    return TappedModel(model, architecture, inputs, pictures, prompt, list(architecture.points))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    main(parser.parse_args().device)
