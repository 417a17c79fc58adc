"""Adapters, 4 bits and exports of ``hf-causal``, against plain peft and plain transformers."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
bitsandbytes = pytest.importorskip("bitsandbytes")

from trialbook.config.options import CheckpointOptions, EvaluateOptions, StageOptions  # noqa: E402
from trialbook.contracts.records import Record  # noqa: E402
from trialbook.engine import optim, state  # noqa: E402
from trialbook.engine.builder import Part  # noqa: E402
from trialbook.engine.checkpoint import CheckpointStore  # noqa: E402
from trialbook.engine.execute import make_accelerator  # noqa: E402
from trialbook.engine.instrumentation import Monitor, PartView  # noqa: E402
from trialbook.engine.trainer import Trainer  # noqa: E402
from trialbook.engine.warm_start import Origin, start_part  # noqa: E402
from trialbook.errors import TrialbookError  # noqa: E402
from trialbook.registry.run_directory import RunDirectory  # noqa: E402
from trialbook_plugins.llms.hf_causal import HFCausal  # noqa: E402

IDS = torch.arange(3, 27).reshape(2, 12)
MASK = torch.ones_like(IDS, dtype=torch.bool)


def logits_of(model: HFCausal) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(model.embed(IDS), MASK)


def train(model: HFCausal, steps: int = 12) -> list[float]:
    """Losses of a few steps that learn a fixed text by heart."""
    module = nn.ModuleDict({"llm": model})
    names = optim.trainable_names(module, None)
    optim.set_trainable(module, names)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(
            model(model.embed(IDS), MASK)[:, :-1].float().flatten(0, 1), IDS[:, 1:].flatten()
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "phi", "gpt2"])
def test_adapters_sit_on_all_linear_layers_of_the_blocks_and_change_nothing_at_first(family, llm_folder):
    plain, model = HFCausal(model=str(llm_folder(family))), HFCausal(model=str(llm_folder(family)), lora_rank=4)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning
    assert all(".lora_A." in name or ".lora_B." in name for name in learning)
    from transformers.pytorch_utils import Conv1D

    linear = [
        name
        for name, one in plain.named_modules()
        if isinstance(one, nn.Linear | Conv1D) and not name.endswith("lm_head")
    ]
    assert len(learning) == 2 * len(linear)
    assert torch.equal(logits_of(plain), logits_of(model))


def test_targets_dropout_and_alpha_are_those_asked_for(llm_folder):
    model = HFCausal(
        model=str(llm_folder("llama")), lora_rank=2, lora_alpha=6.0, lora_dropout=0.5, lora_targets=["q_proj", "v_proj"]
    )
    layers = {name.rpartition(".")[2] for name, one in model.named_modules() if hasattr(one, "lora_A")}
    assert layers == {"q_proj", "v_proj"}
    assert {one.scaling["default"] for one in model.modules() if hasattr(one, "lora_A")} == {3.0}
    train(model, 1)
    assert not torch.equal(
        model(model.embed(IDS), MASK), model(model.embed(IDS), MASK)
    )  # dropout is on where adapters learn


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_adapters_learn_the_rest_stands_still_and_they_load_in_plain_peft(quantize, llm_folder, tmp_path):
    folder = llm_folder("qwen2")
    model = HFCausal(model=str(folder), lora_rank=4, quantize=quantize)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = train(model)
    assert losses[-1] < 0.8 * losses[0]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != (".lora_" in name), name
    told = model.save_adapter(tmp_path / "adapter")
    assert "PeftModel.from_pretrained" in told
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (4, str(folder))
    given = {}
    if quantize == "nf4":
        given["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, **given)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        theirs = loaded(input_ids=IDS, attention_mask=MASK.long()).logits
    torch.testing.assert_close(theirs, logits_of(model), rtol=1e-5, atol=1e-5)


def test_in_4_bits_the_blocks_are_quantised_twice_and_nothing_else(llm_folder):
    model = HFCausal(model=str(llm_folder("qwen2")), quantize="nf4", unfreeze=1)
    small = {name for name, one in model.named_modules() if isinstance(one, bitsandbytes.nn.Linear4bit)}
    linear = {name for name, one in model.named_modules() if isinstance(one, nn.Linear)}
    assert small == {name for name in linear if ".layers.0." in name or ".layers.1." in name}
    whole_size = Part("llm", HFCausal(model=str(llm_folder("qwen2"))), True).parameters
    assert Part("llm", model, False).parameters == whole_size
    kept = next(one for one in model.modules() if isinstance(one, bitsandbytes.nn.Linear4bit)).weight.quant_state
    assert (kept.quant_type, kept.nested) == ("nf4", True)
    plain = dict(HFCausal(model=str(llm_folder("qwen2"))).named_parameters())
    for name in small:
        weight, whole = model.get_submodule(name).weight, plain[f"{name}.weight"]
        numbers = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
        # NF4 of normal weights in blocks of 64: a root mean square error of 0.09 of their spread.
        assert 0 < (numbers - whole).square().mean().sqrt() / whole.std() < 0.11
    losses = train(model)
    assert losses[-1] < losses[0]


def test_layers_that_blocks_of_64_do_not_fit_keep_their_numbers(llm_folder, tmp_path):
    """The kernel of bitsandbytes for CPUs takes the scales of other blocks for them."""
    config = transformers.AutoConfig.from_pretrained(llm_folder("llama"))
    config.intermediate_size = 172
    transformers.AutoTokenizer.from_pretrained(llm_folder("llama")).save_pretrained(tmp_path)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = HFCausal(model=str(tmp_path), quantize="nf4")
    small = {
        name.rpartition(".")[2] for name, one in model.named_modules() if isinstance(one, bitsandbytes.nn.Linear4bit)
    }
    assert small == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"}


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "phi", "gpt2", "opt"])
def test_a_merged_export_is_a_model_of_its_own_with_the_same_logits(family, llm_folder, tmp_path):
    model = HFCausal(model=str(llm_folder(family)), lora_rank=4, unfreeze=1)
    train(model, 3)
    model.save_merged(tmp_path / "merged")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        theirs = loaded(input_ids=IDS, attention_mask=MASK.long()).logits
    # The sum of two products is taken as the product with a sum: float32 rounding.
    torch.testing.assert_close(theirs, logits_of(model), rtol=1e-3, atol=1e-3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.chat_template == model.tokenizer.chat_template
    again = HFCausal(model=str(tmp_path / "merged"))
    torch.testing.assert_close(logits_of(again), logits_of(model), rtol=1e-3, atol=1e-3)


def test_a_merged_export_of_4_bits_says_that_it_holds_what_these_stand_for(llm_folder, tmp_path):
    model = HFCausal(model=str(llm_folder("llama")), lora_rank=4, quantize="nf4")
    train(model, 3)
    assert "4 bits" in model.save_merged(tmp_path / "merged")
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    torch.testing.assert_close(
        logits_of(HFCausal(model=str(tmp_path / "merged"))), logits_of(model), rtol=1e-3, atol=1e-3
    )


def test_adapters_alone_are_not_written_where_they_are_not_all_that_was_trained(llm_folder, tmp_path):
    with pytest.raises(TrialbookError, match="lora_rank is 0"):
        HFCausal(model=str(llm_folder("llama"))).save_adapter(tmp_path)
    with pytest.raises(TrialbookError, match="merged"):
        HFCausal(model=str(llm_folder("llama")), lora_rank=2, unfreeze=1).save_adapter(tmp_path)


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_a_checkpoint_holds_adapters_and_projector_but_nothing_frozen_and_says_what_it_lacks(quantize, llm_folder):
    def parts() -> nn.ModuleDict:
        llm = HFCausal(model=str(llm_folder("qwen2")), lora_rank=2, quantize=quantize)
        torch.manual_seed(0)
        return nn.ModuleDict({"projector": nn.Linear(4, 64), "llm": llm})

    module = parts()
    trained = optim.trainable_names(module, None)
    train(module["llm"], 2)
    tensors = state.model_tensors(module, trained)
    assert set(tensors) == set(trained)
    assert {name.split(".")[0] for name in tensors} == {"projector", "llm"}
    saved = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    twin = parts()
    state.load_model(twin, saved, trained)
    assert torch.equal(logits_of(twin["llm"]), logits_of(module["llm"]))
    lost = {name: tensor for name, tensor in saved.items() if not name.startswith("projector")}
    with pytest.raises(TrialbookError, match=r"missing \['projector.bias', 'projector.weight'\]"):
        state.load_model(parts(), lost, trained)


class Captions:
    """A task as small as can be: vectors through a projector into the model, which learns a text behind them."""

    def __init__(self, folder: str, quantize: str) -> None:
        torch.manual_seed(0)
        llm = HFCausal(model=folder, lora_rank=2, lora_dropout=0.2, quantize=quantize, gradient_checkpointing=True)
        self.parts = nn.ModuleDict({"projector": nn.ModuleDict({"image": nn.Linear(4, 64)}), "llm": llm})
        self.vectors = torch.randn(16, 3, 4, generator=torch.Generator().manual_seed(1))

    def module(self) -> nn.Module:
        return self.parts

    def size(self, stage: str) -> int:
        return 16

    def batch(self, samples, epoch, step):
        return {"image": self.vectors[torch.from_numpy(samples)], "ids": IDS[torch.from_numpy(samples) % 2]}

    def losses(self, batch):
        llm, ids = self.parts["llm"], batch["ids"]
        embeds = torch.cat([self.parts["projector"]["image"](batch["image"]), llm.embed(ids)], dim=1)
        logits = llm(embeds, torch.ones(embeds.shape[:2], dtype=torch.bool), torch.arange(2, embeds.shape[1] - 1))
        return {"loss": nn.functional.cross_entropy(logits.float().flatten(0, 1), ids.flatten())}

    def evaluate(self, split: str):
        loss = self.losses({"image": self.vectors, "ids": IDS.repeat(8, 1)})["loss"]
        return {"loss": float(loss)} if split in ("val", "test") else {}

    def after_step(self) -> None:
        return None


@pytest.mark.parametrize(
    ("quantize", "kills"),
    [
        ("nf4", [4]),
        pytest.param("none", (3, 5, 7), marks=pytest.mark.slow),
        pytest.param("nf4", (2, 6), marks=pytest.mark.slow),
    ],
)
def test_stages_of_projector_and_adapters_go_on_bit_for_bit_wherever_they_are_killed(
    quantize, kills, llm_folder, tmp_path
):
    stages = [
        StageOptions(name="warm", train=["projector.*"], steps=3, batch_size=4, log_every=1),
        StageOptions(
            name="tune", train=["projector.*", "llm.*lora*"], steps=4, batch_size=8, accumulate=2, log_every=1
        ),
    ]

    def run(name: str, stop: int | None = None, seen: int = 0) -> tuple[list[Record], Captions]:
        task = Captions(str(llm_folder("qwen2")), quantize)
        parts = [PartView("llm", task.parts["llm"], False)]
        training = Trainer(
            task, stages, seed=0, accelerator=make_accelerator("cpu", "no"), checkpoints=CheckpointStore(tmp_path / name),
            evaluate=EvaluateOptions(at_start=False), checkpoint=CheckpointOptions(every=2),
            monitor=Monitor(task.module(), parts, 1),
        )  # fmt: skip
        training.restore(seen)
        items = (item for item in training.run() if isinstance(item, Record))
        return [record for record, _ in zip(items, range(stop or 99), strict=False)], task

    whole, task = run("whole")
    base = {
        name for name, _ in task.parts.named_parameters() if "lora" not in name and not name.startswith("projector")
    }
    fresh = dict(Captions(str(llm_folder("qwen2")), quantize).parts.named_parameters())
    assert all(
        torch.equal(parameter, fresh[name]) == (name in base) for name, parameter in task.parts.named_parameters()
    )
    for kill in kills:
        before, _ = run(str(kill), stop=kill)
        after, other = run(str(kill), seen=kill)
        assert (before + after)[-len(whole) :][-3:] == whole[-3:]
        theirs = dict(other.parts.named_parameters())
        assert all(torch.equal(parameter, theirs[name]) for name, parameter in task.parts.named_parameters())


def test_tied_weights_are_held_once_and_a_frozen_model_not_at_all(llm_folder):
    frozen = nn.ModuleDict({"llm": HFCausal(model=str(llm_folder("qwen2"))), "projector": nn.Linear(2, 2)})
    assert set(state.model_tensors(frozen, ["projector.weight", "projector.bias"])) == {
        "projector.weight",
        "projector.bias",
    }
    learning = nn.ModuleDict({"llm": HFCausal(model=str(llm_folder("qwen2")), train_all=True)})
    names = optim.trainable_names(learning, None)
    held = state.model_tensors(learning, names)
    assert set(held) == set(names)
    assert "llm.model.lm_head.weight" not in held


@pytest.mark.parametrize(("package", "options"), [("peft", {"lora_rank": 2}), ("bitsandbytes", {"quantize": "nf4"})])
def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(package, options, llm_folder, monkeypatch):
    real = import_module

    def refuse(name: str, *rest):
        if name == package:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *rest)

    monkeypatch.setattr("trialbook_plugins.llms._weights.import_module", refuse)
    with pytest.raises(TrialbookError, match=rf"no module '{package}'.*trialbook\[llm\]"):
        HFCausal(model=str(llm_folder("llama")), **options)


def test_a_run_without_adapters_can_be_gone_on_from_with_adapters(llm_folder, tmp_path):
    """The adapted layers find their weights under the names that they had before; new adapters start at no change."""
    plain = HFCausal(model=str(llm_folder("qwen2")), train_all=True)
    train(plain)
    module = nn.ModuleDict({"llm": plain})
    tensors = state.model_tensors(module, [name for name, _ in module.named_parameters()])
    CheckpointStore(tmp_path / "checkpoints").save(1, {"model": tensors}, {})
    adapted = HFCausal(model=str(llm_folder("qwen2")), lora_rank=2)
    lineage = start_part("llm", adapted, Origin(RunDirectory(tmp_path)), demanded=True)
    assert lineage.missing
    assert all("lora_" in name for name in lineage.missing)
    torch.testing.assert_close(logits_of(adapted), logits_of(plain))
