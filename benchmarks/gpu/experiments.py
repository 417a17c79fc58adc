"""Shipped experiments in three steps, then all that is done with a run afterwards: evaluate it, ask it, repeat it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.gpu.bench import Bench, inside
from benchmarks.gpu.workplace import SHIPPED, Workplace
from benchmarks.pretend_device import shorten
from trialbook.api.app import open_app
from trialbook.replay.load import load_weights
from trialbook_plugins.demo.answering import Answerer


class Changes(NamedTuple):
    """The settings that make an experiment short, beside the number of its steps.

    Args:
        sets: always.
        small: in a rehearsal, over those.
        arm: the only one that a rehearsal runs; all if empty.
        trained: its runs have weights to be evaluated.
        answers: its runs can be asked.
    """

    sets: tuple[str, ...] = ()
    small: tuple[str, ...] = ()
    arm: str = ""
    trained: bool = True
    answers: bool = False


_SCENES = ("dataset.train=128", "dataset.val=128", "dataset.test=128")
_SHAPES = ("dataset.train=16", "dataset.val=8", "dataset.test=8")
_HOME = ("prepare.sample.dataset.days=4", "train.batch_size=32")
_SAYS_LITTLE = ("task.max_new_tokens=4",)
CHANGES = {
    "perceiver_vs_mlp": Changes(small=_SCENES, arm="perceiver"),
    "matryoshka": Changes(small=(*_SCENES, "train.batch_size=32"), arm="matryoshka"),
    "sensor_text": Changes(small=_HOME),
    "sensor_text_mlm": Changes(small=_HOME, arm="align_mlm"),
    "sensor_hard_negatives": Changes(small=_HOME),
    "grounding": Changes(
        ("dataset.pictures.train=2000",),
        ("dataset.pictures.train=64", "dataset.pictures.val=4", "dataset.pictures.test=4", *_SAYS_LITTLE),
        answers=True,
    ),
    "mini_llava": Changes(
        ("dataset.sources.pages.train=300", "dataset.sources.questions.train=600"),
        (
            "dataset.sources.pages.train=70", "dataset.sources.questions.train=70", "dataset.sources.questions.val=4",
            "dataset.sources.questions.test=4", *_SAYS_LITTLE,
        ),
        answers=True,
    ),
    "spatial/qwen2_5_vl": Changes(("probe.picture.steps=3",), _SHAPES, trained=False),
    "spatial/latent_alignment": Changes(("task.permutations=19",), ("dataset.test=16",), "qwen2_5_vl", trained=False),
    "spatial/reconstruction": Changes(small=("train.epochs=1.5", *_SHAPES), arm="qwen2_5_vl"),
}  # fmt: skip


def measure(bench: Bench) -> None:
    """Run the experiment with one seed, and what follows on its last run."""
    file, changes, place = SHIPPED / f"{bench.of}.toml", CHANGES[bench.of], Workplace(bench)
    with inside(place.folder):
        sets = shorten(file, open_app())
    more = ("--arm", changes.arm) if bench.rehearsal and changes.arm else ()
    run = place.run(f"{bench.of}: run", file, *sets, *changes.sets, *bench.size((), changes.small), more=more)[-1]
    if changes.trained:
        place.must(f"{bench.of}: eval", "eval", run)
    if changes.answers:
        _ask(bench, place, run)
    again = place.must(f"{bench.of}: reproduce", "reproduce", run)
    bench.rows.add(f"{bench.of}: reproduced bit for bit", ": equal bit for bit" in again.text)


def _ask(bench: Bench, place: Workplace, run: Path) -> None:
    """Ask the run about a picture, as the demo does."""
    with inside(place.folder):
        app = open_app()
        loaded = load_weights(str(run), app.settings, app.host, app.book)
        picture = np.random.default_rng(0).integers(0, 256, (3, 40, 60), dtype=np.uint8)
        reply = Answerer(loaded).ask([picture], "what is it?")
    bench.rows.check(f"{bench.of}: answer", isinstance(reply.prediction.prediction, str))
