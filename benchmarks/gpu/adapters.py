"""Adapters on a language model of 1.5 billion parameters, in bfloat16 or 4 bits: this program beside plain peft and Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.gpu import standins
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.pace import Pace, steps_of_runs
from benchmarks.gpu.workplace import Workplace, final
from trialbook.contracts.files import read_json
from trialbook.engine.timing import peak_memory, reset_peak

#: Dense bfloat16 operations a second that NVIDIA gives for a device, by a part of its name.
PEAKS = {"H100": 989e12, "H200": 989e12, "GH200": 989e12, "A100": 312e12, "B200": 2250e12}
RANK, ALPHA = 16, 32
TEMPLATE = ("user", *standins.QUESTION, "assistant", "end")
"""Tokens of a conversation beside the photo and the answer, with a tokenizer of bytes."""
_FILE = """
seeds = [0]
[task]
use = "instruct"
max_length = {length}
max_new_tokens = 2
questions = 2
[dataset]
use = "conversations"
root = "said"
size = {side}
[encoder.image]
use = "patches"
patch = {patch}
frozen = true
[projector.image]
use = "mlp"
[llm]
use = "hf-causal"
model = "qwen"
dtype = "bfloat16"
lora_rank = {rank}
lora_alpha = {alpha}
quantize = "{quantize}"
[train]
steps = {steps}
batch_size = {batch}
lr = 2e-4
log_every = 1000
precision = "bf16"
[evaluate]
at_start = false
batch_size = 2
[checkpoint]
every = 0
"""


class Shape(NamedTuple):
    """Of the batches: rows, tokens of a row, pixels of a photo and of a patch, characters of an answer."""

    batch: int
    length: int
    side: int
    patch: int
    characters: int
    steps: int


REAL = Shape(batch=8, length=1024, side=224, patch=14, characters=740, steps=30)
SMALL = Shape(batch=2, length=64, side=32, patch=8, characters=20, steps=4)


class Speed(NamedTuple):
    """The speed of a program: tokens a second, padding left out, its peak of memory in bytes, its share of idle time."""

    tokens: float
    memory: float
    idle: float


def measure(bench: Bench) -> None:
    """Both programs, one after the other, on batches of one shape."""
    shape, data = bench.size(REAL, SMALL), bench.folder / "data"
    standins.save_qwen(data / "qwen", small=bench.rehearsal, device=bench.size(bench.device, "cpu"))
    counts = {"train": 4 * shape.batch, "val": 2, "test": 2}
    standins.save_conversations(data / "said", counts, shape.side, shape.characters)
    bench.free()
    ours, tokens = _ours(bench, shape, data)
    bench.free()
    plain = _plain(bench, shape, data / "qwen", tokens)
    for name, speed in {"this program": ours, "peft and Trainer": plain}.items():
        bench.rows.add(f"{bench.of}, {name}: speed", speed.tokens, "tokens/s")
        bench.rows.add(f"{bench.of}, {name}: peak memory", speed.memory / 2**30, "GiB")
        bench.rows.add(f"{bench.of}, {name}: share of the time in which the device is idle", speed.idle)
    speed, memory = ours.tokens / plain.tokens, ours.memory / plain.memory
    bench.rows.add(f"{bench.of}: speed, this program / peft and Trainer", speed, "x", ">= 0.95", at_size=True)
    bench.rows.add(f"{bench.of}: peak memory, this program / peft and Trainer", memory, "x", "<= 1.05", at_size=True)


def _ours(bench: Bench, shape: Shape, data: Path) -> tuple[Speed, int]:
    """This program's speed, and the tokens of a row."""
    place, pace = Workplace(bench, data=data), Pace(bench, shape.steps)
    text = _FILE.format(**shape._asdict(), rank=RANK, alpha=ALPHA, quantize="nf4" if bench.of == "nf4" else "none")
    with steps_of_runs(pace):
        run = place.run(f"{bench.of}: run", place.write("adapters", text))[-1]
    tokens = (shape.side // shape.patch) ** 2 + len(TEMPLATE) + shape.characters
    bench.rows.add(f"{bench.of}: tokens of a row", tokens)
    _utilisation(bench, shape, tokens, pace.seconds)
    counted = read_json(run / "data.json")["flops"]["forward_backward_per_sample"]
    ratio = counted / operations(bench, shape, tokens)
    bench.rows.add(f"{bench.of}: operations that the run counted / by the formula", ratio, bound=">= 0.9", at_size=True)
    return Speed(tokens * shape.batch / pace.seconds, final(run, "peak_memory"), pace.idle), tokens


def operations(bench: Bench, shape: Shape, tokens: int) -> float:
    """Operations on a row, forwards and back, of the language model without its adapters, whose weights need no gradients.

    As many back as forwards: those for what enters a layer. Logits are made where something is learned.
    """
    config = standins.qwen_config(small=bench.rehearsal)
    width, inner = config.hidden_size, config.intermediate_size
    keys = width * config.num_key_value_heads // config.num_attention_heads
    block = 2 * tokens * (2 * width * width + 2 * width * keys + 3 * width * inner) + 2 * tokens**2 * width
    return 2.0 * (config.num_hidden_layers * block + 2 * shape.characters * width * config.vocab_size)


def _utilisation(bench: Bench, shape: Shape, tokens: int, seconds: float) -> None:
    """Record what share of the device's operations a second is used."""
    made = operations(bench, shape, tokens) * shape.batch / seconds
    bench.rows.add(
        f"{bench.of}: operations", made / 1e12, "TFLOP/s", note="by the formula, adapters and projector left out"
    )
    name = torch.cuda.get_device_name() if bench.device == "cuda" else ""
    peak = next((value for part, value in PEAKS.items() if part in name), None)
    if peak is not None:
        bench.rows.add(f"{bench.of}: share of the device's {peak / 1e12:.0f} TFLOP/s", made / peak, bound=">= 0.3")


def _plain(bench: Bench, shape: Shape, folder: Path, tokens: int) -> Speed:
    """Measure what the same batches take with peft and Trainer; text stands in the places of the photo."""
    import transformers as hf

    device = torch.device(bench.device)
    reset_peak(device)
    model = _adapted(bench, folder)
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 260, (4 * shape.batch, tokens), generator=random)
    labels = ids.clone()
    labels[:, : tokens - shape.characters] = -100
    rows = [{"input_ids": one, "labels": own} for one, own in zip(ids, labels, strict=True)]
    pace = Pace(bench, shape.steps)
    options = hf.TrainingArguments(
        str(bench.folder / "plain"), max_steps=shape.steps, per_device_train_batch_size=shape.batch, learning_rate=2e-4,
        bf16=True, optim="adamw_torch_fused", logging_steps=1000, save_strategy="no", report_to="none", disable_tqdm=True,
        use_cpu=bench.device == "cpu",
    )  # fmt: skip
    hf.Trainer(model, options, train_dataset=rows, callbacks=[_told(pace)]).train()
    return Speed(tokens * shape.batch / pace.seconds, peak_memory(device), pace.idle)


def _adapted(bench: Bench, folder: Path) -> Any:
    """The model with peft's adapters on every linear layer of its blocks, as this program has them."""
    import peft
    import transformers as hf

    given: dict[str, Any] = {"dtype": torch.bfloat16}
    if bench.of == "nf4":
        compute = torch.bfloat16 if bench.device == "cuda" else torch.float32
        given["quantization_config"] = hf.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
        )
        given["device_map"] = {"": bench.device}
    model = hf.AutoModelForCausalLM.from_pretrained(folder, **given)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    return peft.get_peft_model(model, config)


def _told(pace: Pace) -> Any:
    """Make what lets Trainer tell of its steps."""
    import transformers as hf

    class Told(hf.TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            pace.before(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == pace.total:
                pace.before(pace.total)

    return Told()
