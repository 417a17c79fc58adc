"""The doctor's checks on made-up runs: silent on a sound one, and each names its fault with the numbers."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trialbook_plugins.checks
import trialbook_plugins.plugin
from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook.contracts.records import Event, ModuleStats, Record
from trialbook.doctor.doctor import Check, diagnose, load_checks
from trialbook.plugins.manager import PluginManager
from trialbook_plugins.checks._curves import before_end, end_of, lowest_window

HOST = PluginManager.from_modules({"trialbook": trialbook_plugins.plugin})
CHECKS, NOTES = load_checks(HOST)
FOLDER = Path(trialbook_plugins.checks.__file__).parent
STEPS, BATCH = 200, 64
PARAMETERS = {
    "projector.image.first.weight": 4096, "projector.image.first.bias": 64, "projector.image.attention.weight": 12288,
    "projector.image.attention.bias": 192, "projector.text.map.weight": 4096, "projector.text.map.bias": 64,
    "loss.info-nce.log_scale": 1,
}  # fmt: skip
LOADS = """
import sys, trialbook_plugins.plugin
from trialbook.doctor.doctor import load_checks
from trialbook.plugins.manager import PluginManager
load_checks(PluginManager.from_modules({"trialbook": trialbook_plugins.plugin}))
sys.exit("torch" in sys.modules or "numpy" in sys.modules)
"""
OVERLAP = {"modality": "text", "first": "train", "second": "test"}


def healthy() -> RunEvidence:
    """A sound run of 200 steps, as a task that aligns two modalities leaves it."""
    config = {
        "train": {"steps": STEPS, "batch_size": BATCH, "lr": 1e-3}, "encoder": {"image": {}, "text": {}},
        "evaluate": {"every": 50},
    }  # fmt: skip
    data = {
        "frozen": ["encoder.image"],
        "dataset": {"splits": {"train": 4096, "val": 256, "test": 256}},
        "overlaps": [],
    }
    chart = RunEvidence(config, data, finished=True)
    for step in range(STEPS + 1):
        if step % 50 == 0:
            splits = ("val", "test") if step in (0, STEPS) else ("val",)
            chart.records += [evaluation(step, split) for split in splits]
            chart.stats += [stats for split in splits for stats in (own(step, split), embeddings(step, split))]
        if step == 0:
            parts = {"projector.image": 16640, "projector.text": 4160, "loss.info-nce": 1}
            injected = {
                n: {"stage": "train", "frozen": False, "parameters": p, "in_module": p, "optimized": p}
                for n, p in parts.items()
            }
            injected["encoder.image"] = {
                "stage": "train",
                "frozen": True,
                "parameters": 900,
                "in_module": 0,
                "optimized": 0,
            }
            chart.stats += [
                ModuleStats(0, "wiring", injected),
                ModuleStats(0, "frozen", {"encoder.image": {"sum": "a" * 64}}),
            ]
        elif step == 1 or step % 10 == 0:
            loss = training_loss(step)
            chart.records.append(
                Record(
                    step,
                    {
                        "loss": loss,
                        "info-nce/loss": loss,
                        "lr": rate(step),
                        "grad_norm": 2.0,
                        "info-nce/logit_scale": 15.0,
                    },
                )
            )
        if step in (1, 100, 200):
            chart.stats += looks(step)
    chart.stats.append(ModuleStats(STEPS, "frozen", {"encoder.image": {"sum": "a" * 64}}))
    return chart


def training_loss(step: int) -> float:
    return 0.4 + 4.6 * math.exp(-step / 25) + 0.02 * math.sin(step)


def rate(step: int) -> float:
    """Warm-up over 10 steps, then a cosine to 0."""
    return 1e-3 * step / 10 if step <= 10 else 1e-3 * (1 + math.cos(math.pi * (step - 11) / 190)) / 2


def evaluation(step: int, split: str) -> Record:
    figures = {
        "loss": 0.5 + 4.5 * math.exp(-step / 25),
        "retrieval/i2t@1": 0.6 if step else 0.004,
        "retrieval/t2i@1": 0.6,
    }
    prefix = {name: f"{split}/{name}" if split == "val" or name == "loss" else name for name in figures}
    return Record(step, {prefix[name]: value for name, value in figures.items()})


def own(step: int, split: str = "") -> ModuleStats:
    facts = {
        "batch": 64.0, "chance": math.log(64), "random": 5.6, "scale": 14.3 + step / 50, "scale_min": 1.0, "scale_max": 100.0,
    }  # fmt: skip
    return ModuleStats(step, "own", {"loss.info-nce": facts}, split)


def embeddings(step: int, split: str) -> ModuleStats:
    single = {"rows": 256, "dim": 64, "rank": 30.0, "cosine": 0.02 if step else 0.97, "spread": 0.98}
    pair = {
        "gap": 0.1 if step else 1.4, "matching": 0.8, "other": 0.0, "rows": 256, "candidates": 256,
        "expected@1": 0.6 if step else 0.004, "chance@1": 1 / 256, "ties": 0.0, "shift": 0, "shift_gain": 0.0,
    }  # fmt: skip
    return ModuleStats(
        step, "embeddings", {"image": single, "text": dict(single), "image>text": pair, "text>image": dict(pair)}, split
    )


def looks(step: int) -> list[ModuleStats]:
    """What is measured inside the parts at a step."""
    parameters = {}
    for name, size in PARAMETERS.items():
        root = math.sqrt(size)
        parameters[name] = {
            "size": size,
            "weight": 0.05 * root,
            "grad": 1e-3 * root,
            "update": 0.3 * rate(step) * root,
            "lr": rate(step),
        }
    parameters["loss.info-nce.log_scale"]["weight"] = 2.7
    modules = {
        "projector.image.first": {"type": "Linear", "units": 64, "dead": 0.0, "spread": 0.5, "largest": 4.0},
        "projector.image.act": {"type": "ReLU", "units": 64, "dead": 0.03, "spread": 0.3, "largest": 4.0},
    }  # fmt: skip
    attention = {"projector.image.attention": {"entropy": 0.9, "lowest": 0.8, "highest": 0.97, "keys": 16}}
    return [
        ModuleStats(step, "parameters", parameters),
        ModuleStats(step, "modules", modules),
        ModuleStats(step, "attention", attention),
        own(step),
    ]


def until(chart: RunEvidence, step: int) -> RunEvidence:
    """The chart as it was at a step, while the run resumed."""
    kept = {
        field: [one for one in getattr(chart, field) if one.step <= step] for field in ("records", "stats", "events")
    }
    return dataclasses.replace(chart, finished=chart.finished and step >= STEPS, **kept)


def edit(
    chart: RunEvidence, kind: str, names: str = "*", split: str | None = None, since: int = 0, **facts: Any
) -> RunEvidence:
    """Set facts of those stats; a function is given the step and the facts."""
    chart = copy.deepcopy(chart)
    for one in chart.of(kind, split):
        for name, values in one.values.items():
            if fnmatchcase(name, names) and one.step >= since:
                values.update({k: v(one.step, values) if callable(v) else v for k, v in facts.items()})
    return chart


def curve(chart: RunEvidence, values: Callable[[int], float], *names: str) -> RunEvidence:
    """Record these values under these names."""
    chart = copy.deepcopy(chart)
    chart.records = [
        Record(r.step, {name: values(r.step) if name in names else value for name, value in r.values.items()})
        for r in chart.records
    ]  # fmt: skip
    return chart


def loss(chart: RunEvidence, values: Callable[[int], float]) -> RunEvidence:
    return curve(chart, values, "loss", "info-nce/loss")


def train(chart: RunEvidence, **options: Any) -> RunEvidence:
    return dataclasses.replace(chart, config={**chart.config, "train": {**chart.config["train"], **options}})


def found(check: str, chart: RunEvidence) -> list[Finding]:
    function = next(one.function for one in CHECKS if one.name == check)
    return list(function(chart))


def only(check: str, chart: RunEvidence) -> Finding:
    (finding,) = found(check, chart)
    assert finding.check == check
    assert finding.advice
    return finding


# --- all of them --------------------------------------------------------------------------------------------------------


def test_every_module_of_the_folder_is_a_check_under_its_own_name_and_imports_no_torch() -> None:
    assert NOTES == []
    files = {file.stem.replace("_", "-") for file in FOLDER.glob("[!_]*.py")}
    assert {check.name for check in CHECKS} == files
    assert subprocess.run([sys.executable, "-c", LOADS], check=False).returncode == 0


@pytest.mark.parametrize("step", [0, 1, 50, 60, 100, 150, STEPS])
def test_a_sound_run_has_no_finding_at_any_time(step: int) -> None:
    assert diagnose(until(healthy(), step), CHECKS) == []


@pytest.mark.parametrize(
    "act",
    [
        lambda chart: chart.records.clear(),
        lambda chart: chart.config["train"].clear(),
        lambda chart: chart.data.clear(),
        lambda chart: chart.stats.pop(),
        lambda chart: chart.records[0].values.update(loss=0.0),
        lambda chart: next(iter(chart.stats[0].values.values())).clear(),
    ],
)
def test_a_check_cannot_change_what_the_next_one_sees(act: Callable[[RunEvidence], Any]) -> None:
    def changing(chart: RunEvidence) -> list[Finding]:
        act(chart)
        return []

    seen = []

    def seeing(chart: RunEvidence) -> list[Finding]:
        seen.append((len(chart.records), len(chart.stats), dict(chart.config), dict(chart.data)))
        seen.append([dict(one.values) for one in (*chart.records, *chart.stats)])
        return []

    chart, checks = healthy(), [Check("changing", "p", "", changing), Check("seeing", "p", "", seeing)]
    diagnose(chart, checks[1:])
    expected = copy.deepcopy([str(one) for one in seen])
    seen.clear()
    diagnose(chart, checks)
    assert [str(one) for one in seen] == expected


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.sets(st.sampled_from(["wiring", "parameters", "modules", "attention", "own", "embeddings", "frozen"])),
    step=st.integers(0, STEPS), records=st.booleans(), data=st.booleans(),
)  # fmt: skip
def test_where_something_was_not_measured_nothing_is_said(
    kinds: set[str], step: int, records: bool, data: bool
) -> None:
    chart = until(healthy(), step)
    chart.stats = [one for one in chart.stats if one.kind in kinds]
    chart.records = chart.records if records else []
    chart.data = chart.data if data else {}
    assert diagnose(chart, CHECKS) == []


def test_a_language_model_in_stages_and_a_probe_without_training_have_no_finding() -> None:
    stages = [{"name": "embedding", "train": ["llm.embedding"], "steps": 60}, {"name": "all", "steps": 120}]
    config = {"train": {"batch_size": 32, "lr": 1e-2}, "stage": stages}
    model = RunEvidence(config, {"dataset": {"splits": {"train": 900, "val": 300, "test": 300}}}, finished=True)
    wiring = {"llm": {"stage": "embedding", "frozen": False, "parameters": 500, "in_module": 500, "optimized": 100}}
    model.stats.append(ModuleStats(0, "wiring", wiring))
    model.records += [Record(step, {"loss": 3.4 - step / 100, "lr": 1e-2}) for step in range(1, 61, 5)]
    assert diagnose(model, CHECKS) == []
    model.stats.append(ModuleStats(60, "wiring", {"llm": {**wiring["llm"], "stage": "all", "optimized": 500}}))
    model.records += [
        Record(step, {"loss": 2.6 * math.exp((60 - step) / 100), "lr": 1e-2}) for step in range(65, 181, 5)
    ]
    assert [finding.severity for finding in diagnose(model, CHECKS)] == ["note"]  # it still falls
    probe = RunEvidence({"task": {"use": "ridge-probe"}}, {}, [Record(0, {"vector/r2@1": 0.9})], finished=True)
    assert diagnose(probe, CHECKS) == []


# --- the course of the loss -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(2, 4096), off=st.floats(-0.02, 0.04))
def test_a_loss_that_stays_at_chance_is_named_with_the_chance_of_its_batch(batch: int, off: float) -> None:
    chart = edit(healthy(), "own", split="", batch=float(batch), chance=math.log(batch))
    finding = only("loss-at-chance", loss(chart, lambda step: (1 + off) * math.log(batch)))
    assert (finding.severity, finding.component) == ("error", "loss.info-nce")
    assert f"ln {batch} = {math.log(batch):.3f} at batch {batch}" in finding.message
    assert finding.evidence["chance"] == math.log(batch)
    assert found("loss-above-chance", loss(chart, lambda step: (1 + off) * math.log(batch))) == []


def test_a_loss_at_chance_is_none_at_the_beginning_nor_while_it_falls_nor_where_it_learned_a_little() -> None:
    flat = loss(healthy(), lambda step: 4.16)
    assert [bool(found("loss-at-chance", until(flat, step))) for step in (1, 50, 90, 100, 200)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert found("loss-at-chance", loss(healthy(), lambda step: 4.9 - 0.004 * step)) == []
    assert found("loss-at-chance", loss(healthy(), lambda step: 3.9)) == []
    assert found("loss-at-chance", dataclasses.replace(train(flat, steps=2000), finished=False)) == []


def test_the_loss_of_the_published_report_is_above_chance_and_explained_by_its_temperature() -> None:
    chart = edit(healthy(), "own", split="", random=6.06, scale=98.0)
    finding = only("loss-above-chance", loss(chart, lambda step: 6.06))
    assert finding.severity == "error"
    assert "6.060 after 200 steps, above chance (ln 64 = 4.159 at batch 64)" in finding.message
    assert "scale 98 give 6.060" in finding.message
    assert finding.evidence == {"loss": 6.06, "chance": math.log(64), "random": 6.06, "scale": 98.0, "batch": 64.0}
    assert "sure of what is wrong" in only("loss-above-chance", loss(chart, lambda step: 9.0)).message
    assert found("loss-above-chance", until(loss(chart, lambda step: 6.06), 50)) == []


def test_only_the_stage_that_stays_at_chance_is_named_and_an_early_one_is_no_error() -> None:
    chart = loss(healthy(), lambda step: 4.16 if step <= 80 else training_loss(step - 80))
    stages = [{"name": "warm", "steps": 80}, {"name": "main", "steps": 120}]
    chart = dataclasses.replace(chart, config={**chart.config, "stage": stages})
    chart.stats.append(own(60))
    chart.stats.sort(key=lambda one: one.step)
    finding = only("loss-at-chance", chart)
    assert finding.severity == "warning"
    assert "of stage 'warm'" in finding.message


def test_a_loss_that_other_losses_stand_beside_is_read_from_its_own_curve() -> None:
    chart = copy.deepcopy(healthy())
    for one in chart.of("own", ""):
        one.values["loss.other"] = {"chance": 1.0}  # type: ignore[index]
    assert found("loss-at-chance", curve(chart, lambda step: 1.0, "loss")) == []
    alone = RunEvidence(
        chart.config, records=[Record(s, {"loss": math.log(50)}) for s in range(1, 201, 10)], finished=True
    )
    alone.stats = [ModuleStats(200, "own", {"llm.head": {"chance": math.log(50)}})]
    assert only("loss-at-chance", alone).component == "llm.head"


def test_a_loss_that_falls_and_rises_again_has_diverged() -> None:
    finding = only("diverged", loss(healthy(), lambda step: training_loss(step) if step < 120 else 3.5))
    assert finding.severity == "warning"
    assert finding.evidence["end"] == 3.5
    assert found("diverged", loss(healthy(), lambda step: training_loss(step) if step < 120 else 1.0)) == []
    assert found("diverged", loss(healthy(), lambda step: 0.0)) == []


def test_a_loss_that_still_falls_steeply_at_the_end_is_a_note() -> None:
    chart = curve(loss(healthy(), lambda step: 5.0 * math.exp(-step / 200)), lambda step: 5.0 - step / 100, "val/loss")
    assert only("still-falling", chart).severity == "note"
    assert found("still-falling", until(chart, 150)) == []
    assert found("still-falling", curve(chart, lambda step: 3.0 + step / 100, "val/loss")) == []  # it over-fits


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60))
def test_the_end_of_a_curve_lies_between_its_lowest_and_largest_value(values: list[float]) -> None:
    points = list(enumerate(values))
    assert min(values) <= lowest_window(points) <= end_of(points) <= max(values)
    before = before_end(points)
    assert before is None or min(values) <= before <= max(values)


# --- temperature, learning rate, clipping -----------------------------------------------------------------------------


def test_a_scale_at_its_upper_bound_from_the_start_is_named_at_once() -> None:
    chart = edit(healthy(), "own", split="", scale=99.7)
    finding = only("scale-at-clamp", until(chart, 1))
    assert (finding.severity, finding.component, finding.evidence["scale_max"]) == ("warning", "loss.info-nce", 100.0)
    assert found("scale-at-clamp", edit(healthy(), "own", split="", scale=95.0)) == []


def test_a_scale_that_ends_at_its_bound_is_a_note_where_the_loss_learned() -> None:
    chart = edit(healthy(), "own", split="", since=100, scale=100.0)
    assert found("scale-at-clamp", until(chart, 1)) == []
    assert only("scale-at-clamp", chart).severity == "note"
    assert only("scale-at-clamp", loss(chart, lambda step: 4.0)).severity == "warning"
    low = edit(healthy(), "own", split="", since=100, scale=1.0)
    assert only("scale-at-clamp", loss(low, lambda step: 4.0)).evidence["scale_min"] == 1.0


def test_a_scale_that_is_not_learned_has_no_bounds_to_lie_at() -> None:
    chart = edit(healthy(), "own", split="", scale=100.0)
    for one in chart.of("own", ""):
        del one.values["loss.info-nce"]["scale_max"]
    assert found("scale-at-clamp", chart) == []


def test_targets_shared_among_equal_rows_with_equal_embeddings_are_a_note() -> None:
    alike = edit(healthy(), "own", split="", duplicates=40, duplicates_apart=0)
    finding = only("shared-duplicates", alike)
    assert (finding.severity, finding.component, finding.evidence["duplicates"]) == ("note", "loss.info-nce", 40)
    for facts in ({"duplicates": 40, "duplicates_apart": 3}, {"duplicates": 0, "duplicates_apart": 0}):
        assert found("shared-duplicates", edit(healthy(), "own", split="", **facts)) == []


def test_a_warm_up_that_does_not_end_is_named_at_once() -> None:
    finding = only("lr-not-reached", until(train(healthy(), warmup=1000), 1))
    assert finding.severity == "warning"
    assert finding.evidence["largest lr"] == pytest.approx(2e-4)
    assert only("lr-not-reached", train(healthy(), warmup=250)).severity == "note"
    for sound in (0, 10, 0.5, 1.0, STEPS):
        assert found("lr-not-reached", train(healthy(), warmup=sound)) == []


def test_a_warm_up_counts_in_epochs_too() -> None:
    chart = healthy()
    options = {key: value for key, value in chart.config["train"].items() if key != "steps"}
    chart = dataclasses.replace(chart, config={**chart.config, "train": {**options, "epochs": 3, "warmup": 1000}})
    assert only("lr-not-reached", chart).evidence["steps"] == 192  # 3 passes over 4096 groups in batches of 64
    unknown = dataclasses.replace(curve(chart, lambda step: 1e-3 * step / 1000, "lr"), data={})
    assert only("lr-not-reached", unknown).evidence["largest lr"] == pytest.approx(2e-4)


def test_a_gradient_that_is_always_cut_to_a_fraction_is_a_note() -> None:
    assert only("always-clipped", curve(healthy(), lambda step: 20.0, "grad_norm")).severity == "note"
    assert found("always-clipped", curve(healthy(), lambda step: 20.0 if step < 150 else 0.5, "grad_norm")) == []
    assert found("always-clipped", train(curve(healthy(), lambda step: 20.0, "grad_norm"), max_grad_norm=0.0)) == []


# --- parameters ---------------------------------------------------------------------------------------------------------


def test_a_part_without_gradient_is_one_error_and_at_once_where_none_came() -> None:
    finding = only("no-gradient", until(edit(healthy(), "parameters", "projector.image.*", grad=None), 1))
    assert (finding.severity, finding.component) == ("error", "projector.image")
    assert finding.evidence["tensors"] == 4
    assert finding.evidence["parameters"] == 16640
    assert (
        only("no-gradient", edit(healthy(), "parameters", "projector.image.first.*", grad=None)).severity == "warning"
    )


def test_gradients_that_are_zero_by_nature_are_no_finding() -> None:
    assert found("no-gradient", edit(healthy(), "parameters", "*.attention.bias", grad=0.0)) == []
    behind_a_gate = edit(
        healthy(), "parameters", "projector.image.*", grad=lambda step, facts: 0.0 if step == 1 else facts["grad"]
    )
    assert found("no-gradient", behind_a_gate) == []
    assert found("no-gradient", until(edit(healthy(), "parameters", "projector.image.*", grad=0.0), 1)) == []
    assert (
        only("no-gradient", until(edit(healthy(), "parameters", "projector.image.*", grad=0.0), 100)).severity
        == "error"
    )


def test_a_small_head_that_a_task_leaves_unused_is_a_note() -> None:
    chart = edit(healthy(), "parameters", "projector.image.first.weight", size=200000)
    chart = edit(chart, "parameters", "projector.image.attention.*", grad=None)
    finding = only("no-gradient", edit(chart, "parameters", "projector.image.attention.weight", size=500))
    assert finding.severity == "warning"  # two of four tensors
    assert "projector.image.attention" in finding.message
    few = copy.deepcopy(chart)
    for one in few.of("parameters"):
        for layer in range(20):
            one.values[f"projector.image.layers.{layer}.weight"] = dict(one.values["projector.image.first.weight"])  # type: ignore[index]
    assert only("no-gradient", few).severity == "note"


def test_nothing_that_learns_is_said_once() -> None:
    finding = only("no-gradient", edit(healthy(), "parameters", grad=0.0))
    assert (finding.severity, finding.component) == ("error", "")


def test_a_part_that_no_step_changes_is_named_with_the_reason() -> None:
    chart = edit(healthy(), "parameters", "projector.image.*", update=0.0)
    finding = only("no-update", until(chart, 1))
    assert (finding.severity, finding.component) == ("error", "projector.image")
    assert "though it has a gradient and a learning rate" in finding.message
    off = only("no-update", edit(chart, "parameters", "projector.image.*", lr=0.0))
    assert (off.severity, "its learning rate is 0" in off.message) == ("warning", True)
    everything = only("no-update", edit(healthy(), "parameters", update=0.0, lr=0.0))
    assert (everything.severity, everything.component) == ("error", "")
    tiny = train(edit(healthy(), "parameters", update=0.0, lr=1e-12), lr=1e-12)
    assert "lost in the last digits" in only("no-update", tiny).message


def test_updates_that_are_lost_at_the_end_of_a_schedule_are_no_finding() -> None:
    late = edit(healthy(), "parameters", since=200, update=0.0, lr=1e-9)
    assert found("no-update", late) == []
    clamped = edit(edit(healthy(), "parameters", "loss.*", update=0.0), "own", split="", scale=100.0)
    assert found("no-update", clamped) == []
    skipped = edit(healthy(), "parameters", update=lambda step, facts: 0.0 if step == 1 else facts["update"])
    assert found("no-update", skipped) == []
    spoilt = until(edit(healthy(), "parameters", update=0.0), 1)
    spoilt.stats.append(
        ModuleStats(1, "failure", {"step": 1, "name": "loss", "value": "nan", "module": "", "how": "vanished"})
    )
    assert found("no-update", spoilt) == []


def test_a_part_that_hardly_moved_over_a_whole_run_is_named_at_its_end() -> None:
    slow = edit(healthy(), "parameters", "projector.text.*", update=lambda step, facts: 1e-8 * facts["weight"])
    finding = only("not-moved", slow)
    assert (finding.severity, finding.component) == ("warning", "projector.text")
    assert finding.evidence["moved at most"] == pytest.approx(199e-8)
    assert found("not-moved", until(slow, 100)) == []
    everything = edit(healthy(), "parameters", update=lambda step, facts: 1e-8 * facts["weight"])
    assert {one.severity for one in found("not-moved", everything)} == {"error"}


@pytest.mark.parametrize(
    ("facts", "severity"),
    [({"optimized": 0, "in_module": 0}, "error"), ({"optimized": 0}, "error"), ({"optimized": 8000}, "warning")],
)
def test_a_projector_outside_of_the_optimiser_is_named_at_once(facts: dict[str, int], severity: str) -> None:
    finding = only("not-optimized", until(edit(healthy(), "wiring", "projector.image", **facts), 0))
    assert (finding.severity, finding.component) == (severity, "projector.image")
    assert finding.evidence["parameters"] == 16640


def test_what_a_stage_leaves_out_on_purpose_is_no_alarm() -> None:
    chart = edit(healthy(), "wiring", "loss.info-nce", optimized=0)
    asked = train(chart, train=["projector.*"])
    assert only("not-optimized", asked).severity == "note"
    later = {**chart.config, "stage": [{"train": ["projector.*"], "steps": 200}, {"train": ["loss.*"], "steps": 50}]}
    assert found("not-optimized", until(dataclasses.replace(chart, config=later), 150)) == []
    adapters = copy.deepcopy(healthy())
    for one in adapters.of("wiring"):
        one.values["llm"] = {"stage": "train", "frozen": False, "parameters": 7000, "in_module": 7000, "optimized": 40}  # type: ignore[index]
    assert found("not-optimized", adapters) == []
    asleep = edit(adapters, "wiring", "llm", optimized=0)
    assert found("not-optimized", asleep) == []
    asked = dataclasses.replace(asleep, config={**asleep.config, "llm": {"use": "hf-causal", "lora_rank": 8}})
    assert (only("not-optimized", asked).severity, only("not-optimized", asked).component) == ("warning", "llm")


def test_a_frozen_part_that_is_trained_or_moves_is_an_error() -> None:
    trained = only("frozen-moved", until(edit(healthy(), "wiring", "encoder.image", optimized=900), 0))
    assert (trained.severity, trained.component) == ("error", "encoder.image")
    moved = only("frozen-moved", edit(healthy(), "frozen", since=STEPS, sum="b" * 64))
    assert (moved.severity, moved.component) == ("error", "encoder.image")
    average = dataclasses.replace(edit(healthy(), "frozen", since=STEPS, sum="b" * 64), data={})
    assert only("frozen-moved", average).severity == "note"


def test_gradients_far_below_all_others_vanish() -> None:
    faint = edit(
        healthy(), "parameters", "projector.image.*", grad=lambda step, facts: 1e-10 * math.sqrt(facts["size"])
    )
    finding = only("vanishing", faint)
    assert (finding.severity, finding.component) == ("warning", "projector.image")
    assert finding.evidence["gradient"] == pytest.approx(1e-10)
    larger = edit(
        healthy(), "parameters", "projector.image.*", grad=lambda step, facts: 5e-8 * math.sqrt(facts["size"])
    )
    assert found("vanishing", larger) == []  # 20,000 times smaller is no more than words that are rare
    at_first = edit(faint, "parameters", "projector.image.*", since=100, grad=1.0)
    assert found("vanishing", at_first) == []
    all_small = edit(healthy(), "parameters", grad=1e-12)
    assert found("vanishing", all_small) == []  # the loss is all but 0


def test_updates_weights_gradients_and_outputs_out_of_proportion_explode() -> None:
    steps = edit(healthy(), "parameters", "projector.text.*", update=lambda step, facts: 0.5 * facts["weight"])
    assert only("exploding", steps).evidence["update / weights"] == pytest.approx(0.5)
    assert found("exploding", until(steps, 1)) == []  # what begins at 0 is changed by all of itself
    grown = edit(
        healthy(), "parameters", "projector.text.*", since=200, weight=lambda step, facts: 30 * facts["weight"]
    )
    assert only("exploding", grown).evidence["growth"] == pytest.approx(30)
    gradient = edit(healthy(), "parameters", "projector.text.*", since=200, grad=1e3)
    assert only("exploding", gradient).component == "projector.text"
    outputs = edit(healthy(), "modules", "projector.image.first", largest=5e4)
    assert "projector.image.first puts out numbers as large as 5e+04" in only("exploding", outputs).message
    from_zero = edit(
        healthy(), "parameters", "projector.text.*", weight=lambda step, facts: 0.0 if step == 1 else facts["weight"]
    )
    assert found("exploding", from_zero) == []


# --- modules ------------------------------------------------------------------------------------------------------------


def test_dead_units_of_a_relu_count_at_once_and_others_from_the_second_look() -> None:
    dead = edit(healthy(), "modules", "*.act", dead=1.0)
    finding = only("dead-units", until(dead, 1))
    assert (finding.severity, finding.component) == ("error", "projector.image")
    assert "all of the 64 units of projector.image.act" in finding.message
    gate = edit(healthy(), "modules", "*.first", dead=1.0)
    assert found("dead-units", until(gate, 1)) == []
    assert only("dead-units", gate).severity == "error"
    assert only("dead-units", edit(healthy(), "modules", "*.act", dead=0.85)).severity == "warning"
    assert only("dead-units", edit(healthy(), "modules", "*.act", dead=0.6)).severity == "note"
    assert found("dead-units", edit(healthy(), "modules", "*.act", dead=0.4)) == []


def test_layers_that_wait_for_their_training_are_not_dead() -> None:
    dead = edit(healthy(), "modules", dead=1.0)

    def without(chart: RunEvidence, names: str, since: int = 0) -> RunEvidence:
        chart = copy.deepcopy(chart)
        for one in chart.of("parameters"):
            for name in [name for name in one.values if fnmatchcase(name, names) and one.step >= since]:
                del one.values[name]
        return chart

    assert found("dead-units", without(dead, "projector.image.*")) == []  # another stage trains it
    assert found("dead-units", without(dead, "projector.image.*", since=STEPS)) == []  # this stage no longer does
    own = without(dead, "projector.image.first.*")  # its part is trained, but not itself: B of an adapter in a warm-up
    assert "projector.image.act" in only("dead-units", own).message
    assert "modules" not in only("dead-units", own).message
    still = edit(
        edit(dead, "modules", "*.act", dead=0.0), "parameters", "*.first.*", update=0.0
    )  # the rate is 0 as yet
    assert found("dead-units", still) == []
    gelu = edit(dead, "modules", "*.act", type="GELU")
    assert found("dead-units", until(gelu, 1)) == []
    assert only("dead-units", gelu).evidence["modules"] == 2


def test_attention_that_stays_uniform_is_named_and_that_of_fresh_layers_is_not() -> None:
    uniform = edit(healthy(), "attention", entropy=0.99995, lowest=0.9999, highest=1.0)
    finding = only("uniform-attention", uniform)
    assert (finding.severity, finding.component) == ("warning", "projector.image")
    assert found("uniform-attention", until(uniform, 1)) == []
    assert found("uniform-attention", edit(healthy(), "attention", entropy=0.989, lowest=0.987, highest=0.999)) == []
    assert found("uniform-attention", edit(uniform, "attention", keys=2)) == []


def test_attention_on_one_key_is_a_warning_from_the_start_and_a_note_where_it_was_learned() -> None:
    saturated = edit(healthy(), "attention", entropy=0.001, lowest=0.0, highest=0.004)
    assert only("saturated-attention", until(saturated, 1)).severity == "warning"
    learned = edit(healthy(), "attention", since=100, entropy=0.001, lowest=0.0, highest=0.004)
    assert only("saturated-attention", learned).severity == "note"
    assert found("saturated-attention", edit(healthy(), "attention", entropy=0.1, lowest=0.001, highest=0.2)) == []


@pytest.mark.parametrize("how", ["output", "gradient", "parameter", "input", "vanished"])
def test_the_module_that_first_made_nan_is_named(how: str) -> None:
    chart = until(healthy(), 100)
    values = {"step": 100, "name": "loss", "value": "nan", "module": "projector.image.norm", "how": how}
    chart.stats.append(ModuleStats(100, "failure", values))
    finding = only("not-finite", chart)
    assert (finding.severity, finding.component) == ("error", "projector.image.norm")
    where = "'projector.image.norm' of the batch" if how == "input" else "projector.image.norm"
    assert f"'loss' is nan at step 100: {where} " in finding.message


def test_a_figure_that_is_no_number_is_named_unless_it_recovers() -> None:
    wrong = curve(healthy(), lambda step: math.nan, "val/retrieval/i2t@1")
    assert only("not-finite", wrong).evidence == {"val/retrieval/i2t@1": "nan"}
    assert only("not-finite", curve(healthy(), lambda step: math.inf, "val/loss")).severity == "error"
    assert (
        found("not-finite", curve(healthy(), lambda step: math.nan if step == 0 else 0.5, "val/retrieval/i2t@1")) == []
    )
    assert found("not-finite", curve(healthy(), lambda step: math.inf, "grad_norm")) == []


# --- embeddings ---------------------------------------------------------------------------------------------------------


def at_chance(chart: RunEvidence, split: str | None = None) -> RunEvidence:
    return edit(chart, "embeddings", "*>*", split, **{"expected@1": 0.004})


def test_collapsed_embeddings_are_named_once_for_all_splits_and_never_before_training() -> None:
    collapsed = at_chance(edit(healthy(), "embeddings", "image", cosine=0.9995, spread=0.02, rank=5.0))
    finding = only("collapsed-embeddings", collapsed)
    assert (finding.severity, finding.component) == ("error", "val.image")
    assert "in 'val' and 'test'" in finding.message
    assert found("collapsed-embeddings", until(collapsed, 50)) == []
    assert only("collapsed-embeddings", edit(healthy(), "embeddings", "image", cosine=0.9995)).severity == "warning"
    assert (
        only("collapsed-embeddings", edit(healthy(), "embeddings", "image", cosine=0.97)).severity == "note"
    )  # it retrieves
    assert found("collapsed-embeddings", at_chance(edit(healthy(), "embeddings", "image", cosine=0.6))) == []


def test_embeddings_on_a_line_are_low_in_rank_and_small_widths_are_not() -> None:
    line = at_chance(edit(healthy(), "embeddings", "text", rank=1.4))
    finding = only("low-rank-embeddings", line)
    assert (finding.severity, finding.component) == ("warning", "val.text")
    assert finding.evidence["most"] == 64
    assert only("low-rank-embeddings", edit(healthy(), "embeddings", "text", rank=2.9)).severity == "note"
    assert found("low-rank-embeddings", edit(line, "embeddings", "text", dim=8)) == []
    assert found("low-rank-embeddings", edit(healthy(), "embeddings", "text", rank=9.0)) == []
    assert found("low-rank-embeddings", edit(line, "embeddings", "text", cosine=1.0)) == []


@pytest.mark.parametrize(
    ("gap", "works", "severity"),
    [(0.4, False, None), (0.8, True, "note"), (0.8, False, "note"), (1.2, True, "note"), (1.2, False, "warning")],
)
def test_a_modality_gap_is_a_note_at_clips_size_and_a_warning_beyond(
    gap: float, works: bool, severity: str | None
) -> None:
    chart = edit(healthy(), "embeddings", "*>*", gap=gap)
    findings = found("modality-gap", chart if works else at_chance(chart))
    assert [one.severity for one in findings] == ([severity] if severity else [])
    assert [one.component for one in findings] == (["val.image>text"] if severity else [])


# --- evaluation ---------------------------------------------------------------------------------------------------------


def test_evaluation_over_single_rows_is_an_error_at_once() -> None:
    chart = curve(edit(healthy(), "own", split="val", batch=1.0, chance=0.0), lambda step: 0.0, "val/loss")
    finding = only("batch-of-one", until(chart, 0))
    assert (finding.severity, finding.component) == ("error", "val.loss.info-nce")
    assert finding.evidence["loss of val"] == 0.0


def test_the_validation_loss_of_the_published_report_gives_itself_away_without_vitals() -> None:
    chart = curve(loss(healthy(), lambda step: 1.12), lambda step: 0.0, "val/loss")
    chart.stats = []
    finding = only("batch-of-one", chart)
    assert (finding.severity, finding.component) == ("error", "val")
    assert finding.evidence == {"loss": 0.0, "training loss": 1.12}
    assert only("batch-of-one", curve(chart, lambda step: 0.004, "val/loss")).severity == "warning"
    assert found("batch-of-one", curve(chart, lambda step: 0.3, "val/loss")) == []
    assert found("batch-of-one", loss(curve(chart, lambda step: 1e-5, "val/loss"), lambda step: 0.01)) == []


def test_training_on_micro_batches_of_one_row_is_an_error_at_once_and_a_last_row_is_none() -> None:
    single = only("batch-of-one", until(edit(healthy(), "own", split="", batch=1.0, chance=0.0), 1))
    assert (single.severity, single.component) == ("error", "loss.info-nce")
    assert found("batch-of-one", edit(healthy(), "own", split="val", batch=1.0, chance=0.0)) == []  # its loss is not 0
    assert found("batch-of-one", edit(healthy(), "own", batch=1.0, chance=3.9)) == []  # one row of a language model


def test_losses_over_other_batches_than_in_training_are_a_note() -> None:
    finding = only("other-batch", edit(healthy(), "own", split="val", batch=20.0, chance=math.log(20)))
    assert finding.severity == "note"
    assert finding.evidence["batch in val"] == 20.0
    assert only("other-batch", train(healthy(), accumulate=4)).evidence["accumulate"] == 4
    assert found("other-batch", edit(healthy(), "own", split="val", batch=62.0)) == []


def test_a_recall_that_counts_ties_as_hits_is_an_error() -> None:
    tied = edit(at_chance(healthy()), "embeddings", "*>*", ties=1.0)
    finding = found("ties-as-hits", curve(tied, lambda step: 1.0, "val/retrieval/i2t@1"))[0]
    assert (finding.severity, finding.component) == ("error", "val.image>text")
    assert "'retrieval/i2t@1' of 'val' is 1.000 and can be 0.004 at most" in finding.message
    honest = curve(
        tied, lambda step: 0.004, "val/retrieval/i2t@1", "val/retrieval/t2i@1", "retrieval/i2t@1", "retrieval/t2i@1"
    )
    assert found("ties-as-hits", honest) == []
    assert found("ties-as-hits", curve(healthy(), lambda step: 0.9, "val/retrieval/i2t@1")) == []  # nothing is tied


@settings(max_examples=60, deadline=None)
@given(ties=st.floats(0, 1), untied_right=st.floats(0, 1), k=st.integers(1, 10), size=st.integers(20, 500))
def test_no_recall_that_breaks_ties_at_random_counts_as_too_high(
    ties: float, untied_right: float, k: int, size: int
) -> None:
    group = max(2, round(ties * size))  # tied queries share their place with all other tied rows
    one, many = ((1 - ties) * untied_right + ties * min(1, n / group) for n in (1, k))
    chart = edit(
        healthy(),
        "embeddings",
        "*>*",
        ties=ties,
        candidates=size,
        rows=size,
        **{"expected@1": one, "chance@1": 1 / size},
    )
    chart = edit(chart, "embeddings", "image", rows=size)
    chart = edit(chart, "embeddings", "text", rows=size)
    chart.records = [Record(STEPS, {"retrieval/i2t@1": one, f"retrieval/i2t@{k}": many})]
    assert found("ties-as-hits", chart) == []


def overlapping(*shared: tuple[str, int, int], groups: int = 256, first: str = "train") -> RunEvidence:
    """(modality, different contents, rows of test that have them)."""
    chart = healthy()
    overlaps = [{**OVERLAP, "modality": m, "count": count, "rows": rows, "first": first} for m, count, rows in shared]
    splits = {"train": 4096, "val": 256, "test": groups}
    return dataclasses.replace(chart, data={**chart.data, "overlaps": overlaps, "dataset": {"splits": splits}})


def test_pairs_in_two_splits_are_an_error_at_once() -> None:
    finding = only("split-overlap", until(overlapping(("image", 40, 40), ("text", 60, 60)), 0))
    assert (finding.severity, finding.component) == ("error", "train+test")
    assert finding.evidence["rows of image"] == 40
    assert "15.6% of its groups" in finding.message
    assert only("split-overlap", overlapping(("image", 1, 1), ("text", 60, 60))).severity == "warning"
    assert only("split-overlap", overlapping(("image", 40, 40), ("text", 60, 60), first="val")).severity == "warning"
    assert only("split-overlap", overlapping(("image", 1, 1), ("text", 60, 60), groups=5000)).severity == "note"


def test_a_modality_that_repeats_by_nature_is_no_overlap_and_photos_dealt_by_caption_are() -> None:
    assert found("split-overlap", overlapping(("text", 30, 250))) == []
    assert found("split-overlap", overlapping(("text", 3, 3))) == []
    assert only("split-overlap", overlapping(("image", 100, 100))).severity == "warning"


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 256), st.sampled_from(["train", "val"]))
def test_any_overlap_can_be_judged(count: int, rows: int, groups: int, first: str) -> None:
    for chart in (
        overlapping(("text", count, rows), groups=groups),
        overlapping(("text", count, rows), ("image", 1, rows), first=first),
    ):
        assert all(one.component.endswith("+test") for one in found("split-overlap", chart))


def test_a_validation_loss_that_rises_while_training_learns_by_heart_is_over_fitting() -> None:
    chart = curve(
        healthy(),
        lambda step: {0: 5.0, 50: 2.0, 100: 2.2, 150: 3.0, 200: 4.0}[step] if step % 50 == 0 else 0.0,
        "val/loss",
    )
    finding = only("over-fitting", chart)
    assert (finding.severity, finding.component) == ("warning", "val")
    assert (finding.evidence["lowest at step"], finding.evidence["last"]) == (50, 4.0)
    mild = curve(healthy(), lambda step: 2.0 + step / 500 if step else 5.0, "val/loss")
    assert only("over-fitting", mild).severity == "note"
    assert found("over-fitting", curve(healthy(), lambda step: 2.0 + step / 5000 if step else 5.0, "val/loss")) == []
    assert found("over-fitting", loss(chart, lambda step: 4.0 + step / 100)) == []  # training rises, too


def test_a_split_at_chance_beside_a_training_that_learned_is_named() -> None:
    both = curve(at_chance(healthy()), lambda step: 5.0, "val/loss", "test/loss")
    assert {(one.component, one.severity) for one in found("evaluation-at-chance", both)} == {
        ("val", "warning"),
        ("test", "warning"),
    }
    one = curve(at_chance(healthy(), "test"), lambda step: 5.0, "test/loss")
    finding = only("evaluation-at-chance", one)
    assert (finding.component, finding.severity) == ("test", "error")
    assert "while 'val' is far above it" in finding.message
    assert found("evaluation-at-chance", until(one, 150)) == []  # test was seen before training alone
    assert "nothing was learned" in found("evaluation-at-chance", loss(both, lambda step: 4.1))[0].message
    few = edit(both, "embeddings", "*>*", rows=20)
    assert found("evaluation-at-chance", few) == []
    assert found("evaluation-at-chance", curve(both, lambda step: 1.0, "val/loss", "test/loss")) == []


def test_pairs_that_are_off_by_one_are_named_with_the_shift() -> None:
    shifted = edit(healthy(), "embeddings", "image>text", shift=1, shift_gain=25.0)
    finding = found("misaligned-pairs", shifted)[0]
    assert finding.severity == "error"
    assert "row i of 'image' belongs to row i + 1 of 'text'" in finding.message
    assert found("misaligned-pairs", edit(healthy(), "embeddings", "*>*", shift=1, shift_gain=3.5)) == []


def test_a_small_test_split_is_a_note_that_says_how_coarse_it_is() -> None:
    chart = healthy()
    chart = dataclasses.replace(chart, data={**chart.data, "dataset": {"splits": {"train": 88, "val": 11, "test": 11}}})
    finding = only("small-evaluation", chart)
    assert finding.severity == "note"
    assert finding.evidence["95% of a share of 0.5"] == pytest.approx(0.295, abs=1e-3)


def test_a_run_that_went_on_with_other_data_is_named() -> None:
    chart = healthy()
    assert found("changed-midway", chart) == []
    chart.events.append(Event(0, "data-changed", "resumed with other data", {"dataset.fingerprint": ["a", "b"]}))
    assert only("changed-midway", chart).severity == "error"
    chart.events[:] = [Event(0, "data-changed", "resumed with other data", {"parameters.llm": [1, 2]})]
    assert only("changed-midway", chart).severity == "note"
    chart.events[:] = [Event(0, "resumed", "resumed"), Event(0, "resume-diverged", "resuming gave another record")]
    assert only("changed-midway", chart).severity == "warning"


def test_modules_of_checks_are_named_after_them() -> None:
    for check in CHECKS:
        module = import_module(f"trialbook_plugins.checks.{check.name.replace('-', '_')}")
        assert (module.__doc__ or "").startswith(f"Check ``{check.name}``.")
        assert check.function is module.check


def test_the_page_of_the_doctor_names_every_check_once() -> None:
    page = (FOLDER.parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^- \*\*`([a-z-]+)`\*\*", page, re.MULTILINE)) == sorted(check.name for check in CHECKS)
