"""What an experiment says of itself is kept in the records of its runs, and read back from those of other versions."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.load import load_experiment
from trialbook.config.runspec import RunSpec

FILE = """
question = "Which?"
baseline = "a"
headline = ["r@1"]
seeds = [0, 1]
[results]
at1 = "r@1"
[arm.a]
[arm.b.train]
lr = 0.1
[grid]
"train.steps" = [2, 1]
[[gate]]
metric = "r@1"
at_least = 0.5
[external_baseline.paper]
source = "table 2"
values = {"r@1" = 0.4}
[doctor]
strict = true
[claim]
factor = "arm"
level = "b"
metric = "r@1"
direction = "higher"
"""
#: Keys of ``run.json`` in the order in which they stand there.
KEYS = [
    "format", "name", "question", "file", "profile", "seeds", "baseline", "headline", "results", "gates", "external_baseline",
    "doctor", "factors", "claims", "arms", "changes", "lower_is_better", "experiment", "arm", "base_arm", "point", "seed", "id",
    "inputs", "sources", "config",
]  # fmt: skip


def spec_of(info: ExperimentInfo) -> RunSpec:
    return RunSpec("small", "a", "a", {}, 0, {"train": {"steps": 1}}, {}, "00000000", info=info)


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(FILE)
    info = load_experiment(tmp_path / "small.toml").info()
    assert info.factors == {"arm": ["a", "b"], "train.steps": [2, 1]}
    written = json.dumps(spec_of(info).to_json())
    again = RunSpec.from_json(json.loads(written)).info
    assert json.dumps(spec_of(again).to_json()) == written
    assert (again.external_baselines, again.claims[0]["level"]) == (info.external_baselines, "b")
    assert all(getattr(again, one.name) for one in fields(again) if one.name not in LATER)


#: Known once an experiment is planned, or under a profile.
LATER = ("profile", "arms", "changes", "lower_is_better")


def test_a_record_holds_the_keys_in_their_order() -> None:
    assert list(spec_of(ExperimentInfo(changes={"a": []})).to_json()) == KEYS


def test_factors_keep_their_order_where_keys_are_sorted() -> None:
    data = json.loads(json.dumps(ExperimentInfo(factors={"b": [2, 1], "a": [0]}).to_json(), sort_keys=True))
    assert list(ExperimentInfo.from_json(data).factors.items()) == [("b", [2, 1]), ("a", [0])]


def test_records_of_other_versions_may_lack_keys_and_have_more() -> None:
    info = ExperimentInfo.from_json({"question": "?", "headline": None, "from_another_version": 1})
    assert info == ExperimentInfo(question="?")
    assert "changes" not in info.to_json()  # unknown, which is not the same as none
