"""Two hundred files, each with one typo in a name: every one is refused, at the right line, with the right suggestion."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from trialbook.config.load import load_experiment
from trialbook.errors import ExperimentErrors
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook

FILES = (
    """\
# Does a Perceiver resampler match MLP + attention pooling?
name = "perceiver_vs_mlp"
seeds = [0, 1, 2]
baseline = "pooled"
headline = ["retrieval/i2t@1"]

[task]
use = "align"
dim = 64

[dataset]
use = "scenes"
train = 512
captions = 2

[encoder.image]
use = "patches"
frozen = true

[encoder.text]
use = "token-embedding"

[projector.image]
use = "mlp"
pool = "attention"

[[loss]]
use = "info-nce"
temperature = 0.1

[[metric]]
use = "retrieval"
k = [1, 5, 10]

[train]
steps = 300
batch_size = 128
lr = 1e-3
warmup = 0.1

[arm.pooled]
[arm.resampled.projector.image]
use = "perceiver"
latents = 16
depth = 2

[[gate]]
metric = "retrieval/i2t@1"
at_least = 0.5
arm = "resampled"

[results]
at1 = "retrieval/i2t@1"
""",
    """\
question = "Does a hidden layer help?"
seeds = [0, 1]

[task]
use = "align"

[dataset]
use = "paired-latents"
nonlinearity = 0.5
noise = 0.2

[encoder]
image = { use = "identity", frozen = true }
text = { use = "identity", frozen = true }

[projector.image]
use = "linear"
[projector.text]
use = "linear"

[[loss]]
use = "siglip"
weight = 2.0
name = "pairs"

[[metric]]
use = "retrieval"

[[stage]]
name = "first"
epochs = 1
train = ["projector.*"]
[[stage]]
name = "second"
steps = 20
schedule = "constant"

[evaluate]
every = 50
final = "test"

[checkpoint]
keep_last = 3

[grid]
"projector.text.use" = ["linear", "mlp"]
"evaluate.batch_size" = [128, 256]

[arm.linear]
[arm.deep]
projector.image.use = "mlp"
projector.image.layers = 3

[[gate]]
metric = "val/retrieval/t2i@5"
at_most = 1.0
""",
    """\
[task]
use = "align"
dim = 128

[dataset]
use = "coco-captions"
size = 64
skip_missing = true

[encoder.image]
use = "vit"
[encoder.text]
use = "text-transformer"

[[loss]]
use = "matryoshka"
dims = [32, 128]
of = { use = "info-nce", learn_scale = false }
[[loss]]
use = "siglip"
weight = 0.5

[[metric]]
use = "retrieval"
k = [1, 5]
chunk = 512

[train]
epochs = 3
accumulate = 2
weight_decay = 0.1
lr_multipliers = { "encoder.*" = 0.1, "loss.matryoshka" = 2.0 }
max_grad_norm = 0.5
log_every = 5

[arm.own]
[arm.slow.train]
lr = 1e-4
min_lr = 0.1

[profile.full]
seeds = [0, 1, 2]
[profile.full.train]
precision = "bf16"
epochs = 30
[profile.full.encoder.image]
use = "hf-vision"
model = "openai/clip-vit-large-patch14"
frozen = true
[profile.full.arm.slow.checkpoint]
every = 500

[[gate]]
metric = "matryoshka/loss"
at_most = 3.0
""",
)
#: Names that the writer of a file is free to choose: another spelling of them is no mistake.
FREE = {"pooled", "resampled", "linear", "deep", "own", "slow", "full", "at1"}
#: Keys whose value is a name: what a component, an arm or a metric is called.
NAMING = {"use", "metric", "arm", "baseline"}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Site:
    """A name in a file: where it begins and what it is."""

    start: int
    name: str


def sites(text: str) -> Iterator[Site]:
    """Every name of a file that is not free: in headers, keys, quoted keys and values that name something."""
    at = 0
    for line in text.splitlines(keepends=True):
        code = "" if line.startswith("#") else line
        if code.startswith("["):
            found = [(m.start(), m.group()) for m in re.finditer(r"[\w-]+", code) if m.group() not in FREE]
        else:
            keys = re.finditer(r'(?:^|[{,.] ?)([\w-]+)(?= ?=|\.[\w.]+ =)|"([\w.*-]+)"(?= =)', code)
            found = [(m.start(m.lastindex or 0), m.group(m.lastindex or 0)) for m in keys]
            found = [(start, name) for start, name in found if name not in FREE]
            values = re.finditer(r'(\w+) = "([^"]+)"', code)
            found += [(m.start(2), m.group(2)) for m in values if m.group(1) in NAMING]
        yield from (Site(at + start, name) for start, name in found)
        at += len(line)


def misspell(name: str, rng: random.Random) -> str:
    """The name with a letter lost, added, changed, or two neighbours swapped."""
    while True:
        at = rng.randrange(len(name))
        kind = rng.choice(["lose", "add", "change", "swap"])
        if kind == "lose":
            typo = name[:at] + name[at + 1 :]
        elif kind == "add":
            typo = name[:at] + rng.choice(LETTERS) + name[at:]
        elif kind == "change":
            typo = name[:at] + rng.choice(LETTERS) + name[at + 1 :]
        else:
            typo = name[:at] + name[at : at + 2][::-1] + name[at + 2 :]
        if typo and typo != name:
            return typo


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> SchemaBook:
    return SchemaBook(PluginManager.discover(), tmp_path_factory.mktemp("cache"))


def test_the_files_are_right_as_they_stand(book: SchemaBook, tmp_path: Path) -> None:
    for number, text in enumerate(FILES):
        file = tmp_path / f"right{number}.toml"
        file.write_text(text)
        assert make_plan(load_experiment(file), book).runs


def test_every_typo_is_refused_with_its_line_and_nine_in_ten_with_the_meant_name(
    book: SchemaBook, tmp_path: Path
) -> None:
    rng = random.Random(7)
    named = [list(sites(text)) for text in FILES]
    alone, right, wrong = 0, 0, []
    tried: set[str] = set()
    while len(tried) < 200:
        number = rng.randrange(len(FILES))
        text, site = FILES[number], rng.choice(named[number])
        typo = misspell(site.name, rng)
        changed = text[: site.start] + typo + text[site.start + len(site.name) :]
        if changed in tried or typo in {known.name for known in named[number]}:
            continue  # another name of the file is a mistake of another sort
        tried.add(changed)
        file = tmp_path / "typo.toml"
        file.write_text(changed)
        line = text.count("\n", 0, site.start) + 1
        with pytest.raises(ExperimentErrors) as caught:
            make_plan(load_experiment(file), book)
        problems = caught.value.problems
        assert line in [problem.line for problem in problems], f"{site.name} -> {typo}, line {line}:\n{caught.value}"
        alone += len(problems) == 1
        if any(problem.line == line and problem.suggestion == site.name for problem in problems):
            right += 1
        else:
            wrong.append(f"{site.name} -> {typo}, line {line}:\n{caught.value}")
    print(f"{right} of {len(tried)} suggestions are right; {alone} files have that one problem only", *wrong, sep="\n")
    assert right >= 0.95 * len(tried), "\n".join(wrong)
    assert alone >= 0.9 * len(tried)
