"""Reading experiment files: extending, profiles, --set, and what stands where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trialbook.config.experiment import Experiment
from trialbook.config.load import load_experiment
from trialbook.config.variants import arm_document
from trialbook.errors import ExperimentErrors, TrialbookError

BASE = """\
# Does it work?
# mlrun run base.toml
seeds = [0, 1]
[task]
use = "join"
[projector.image]
use = "flat"
bias = true
[projector.text]
use = "flat"
[[loss]]
use = "pull"
weight = 1.0
[[loss]]
use = "push"
[train]
steps = 10
lr = 1e-3
[arm.flat]
[arm.deep.projector.image]
use = "deep"
depth = 2
[arm.fast.train]
lr = 1e-2
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    file = tmp_path / "base.toml"
    file.write_text(BASE)
    return file


def arm(experiment: Experiment, name: str) -> dict[str, Any]:
    return arm_document(experiment, name).data


def line_of(experiment: Experiment, name: str, *path: str | int) -> str:
    place = arm_document(experiment, name).positions[path]
    return f"{place.file.name if place.file else '--set'}:{place.line}"


def messages(experiment: Experiment) -> str:
    return "\n".join(str(problem) for problem in experiment.problems)


def test_a_file_knows_its_name_question_and_seeds(base: Path) -> None:
    experiment = load_experiment(base)
    assert (experiment.name, experiment.question, experiment.seeds) == ("base", "Does it work?", (0, 1))
    assert list(experiment.arms) == ["flat", "deep", "fast"]
    assert experiment.problems == ()


def test_a_byte_order_mark_is_no_part_of_a_file(base: Path) -> None:
    base.write_text("\ufeff" + BASE, encoding="utf-8")
    experiment = load_experiment(base)
    assert (experiment.question, experiment.seeds) == ("Does it work?", (0, 1))


def test_a_file_without_arms_has_one(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text("[task]\nuse = 'join'\n")
    experiment = load_experiment(file)
    assert (list(experiment.arms), experiment.seeds, experiment.question) == (["main"], (0,), "")


def test_another_component_replaces_the_table_and_the_same_merges(base: Path) -> None:
    experiment = load_experiment(base)
    assert arm(experiment, "deep")["projector"]["image"] == {"use": "deep", "depth": 2}
    assert arm(experiment, "deep")["projector"]["text"] == {"use": "flat"}
    assert arm(experiment, "fast")["train"] == {"steps": 10, "lr": 1e-2}
    assert arm(experiment, "flat")["projector"]["image"] == {"use": "flat", "bias": True}


def test_every_value_knows_where_it_was_written(base: Path) -> None:
    experiment = load_experiment(base, sets=["train.steps=5"])
    assert line_of(experiment, "deep", "projector", "image", "depth") == "base.toml:22"
    assert line_of(experiment, "flat", "projector", "image", "bias") == "base.toml:8"
    assert line_of(experiment, "fast", "train", "lr") == "base.toml:24"
    assert line_of(experiment, "deep", "train", "lr") == "base.toml:18"
    assert line_of(experiment, "deep", "train", "steps") == "--set:0"
    assert ("projector", "image", "bias") not in arm_document(experiment, "deep").positions


def test_an_array_of_an_arm_replaces_the_whole_array(base: Path) -> None:
    base.write_text(BASE + "[[arm.one.loss]]\nuse = 'push'\n")
    experiment = load_experiment(base)
    assert arm(experiment, "one")["loss"] == [{"use": "push"}]
    assert line_of(experiment, "one", "loss", 0, "use") == "base.toml:26"
    assert len(arm(experiment, "flat")["loss"]) == 2


def test_a_file_is_laid_over_those_that_it_extends(base: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[train]\nlr = 0.5\nmax_grad_norm = 2.0\n")
    child = tmp_path / "child.toml"
    child.write_text(
        "# Mine\nextends = ['base.toml', 'other.toml']\nseeds = [7]\n[train]\nlr = 0.25\n[arm.deep.train]\nlr = 0.1\n"
    )
    experiment = load_experiment(child)
    assert (experiment.name, experiment.question, experiment.seeds) == ("child", "Mine", (7,))
    assert experiment.base.data["train"] == {"steps": 10, "lr": 0.25, "max_grad_norm": 2.0}
    assert arm(experiment, "deep")["projector"]["image"]["depth"] == 2
    assert arm(experiment, "deep")["train"]["lr"] == 0.1
    assert line_of(experiment, "flat", "train", "max_grad_norm") == "other.toml:3"
    assert line_of(experiment, "flat", "train", "lr") == "child.toml:5"


def test_files_that_extend_one_another_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("extends = 'b.toml'\n")
    (tmp_path / "b.toml").write_text("\nextends = 'a.toml'\n")
    with pytest.raises(ExperimentErrors, match=r"b\.toml:2: files extend one another: a\.toml -> b\.toml -> a\.toml"):
        load_experiment(tmp_path / "a.toml")


def test_one_file_may_be_extended_on_two_ways(base: Path, tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / f"{name}.toml").write_text("extends = 'base.toml'\n")
    (tmp_path / "both.toml").write_text("extends = ['left.toml', 'right.toml']\n")
    assert load_experiment(tmp_path / "both.toml").base.data == load_experiment(base).base.data


def test_a_file_that_is_not_there_is_named(base: Path, tmp_path: Path) -> None:
    child = tmp_path / "child.toml"
    child.write_text("\nextends = 'sub/none.toml'\n")
    with pytest.raises(ExperimentErrors, match=r"child\.toml:2: 'extends' names .*none\.toml, which is no file"):
        load_experiment(child)
    with pytest.raises(TrialbookError, match=r"no\.toml cannot be read: no such file"):
        load_experiment(tmp_path / "no.toml")


def test_a_profile_holds_in_every_arm(base: Path) -> None:
    base.write_text(
        BASE + "[profile.big]\nseeds = [1, 2, 3]\n[profile.big.train]\nlr = 0.5\n[[profile.big.loss]]\nuse = 'pull'\n"
    )
    experiment = load_experiment(base, profile="big")
    assert experiment.seeds == (1, 2, 3)
    assert [arm(experiment, name)["train"]["lr"] for name in ("flat", "deep", "fast")] == [0.5, 0.5, 0.5]
    assert line_of(experiment, "fast", "train", "lr") == "base.toml:28"
    assert arm(experiment, "flat")["loss"] == [{"use": "pull"}]
    assert load_experiment(base).base.data["train"]["lr"] == 1e-3


def test_a_profile_may_change_one_arm(base: Path) -> None:
    base.write_text(BASE + "[profile.big.arm.deep.projector.image]\ndepth = 6\n[profile.big.arm.wide.train]\nlr = 1\n")
    experiment = load_experiment(base, profile="big")
    assert arm(experiment, "deep")["projector"]["image"] == {"use": "deep", "depth": 6}
    assert list(experiment.arms) == ["flat", "deep", "fast", "wide"]


def test_a_component_of_a_profile_takes_the_place_of_the_arms(base: Path) -> None:
    base.write_text(BASE + "[profile.big.projector.image]\nuse = 'flat'\nbias = false\n")
    experiment = load_experiment(base, profile="big")
    assert arm(experiment, "deep")["projector"]["image"] == {"use": "flat", "bias": False}


def test_a_profile_reaches_arms_through_keys_that_they_do_not_name(base: Path) -> None:
    base.write_text(BASE + "[profile.big.projector.image]\nbias = false\n")
    experiment = load_experiment(base, profile="big")
    assert arm(experiment, "flat")["projector"]["image"] == {"use": "flat", "bias": False}
    assert arm(experiment, "deep")["projector"]["image"] == {"use": "deep", "depth": 2}


def test_an_unknown_profile_gets_a_suggestion(base: Path) -> None:
    assert "there is no profile 'ful'; the file has none" in messages(load_experiment(base, profile="ful"))
    base.write_text(BASE + "[profile.full]\nseeds = [0]\n")
    assert "there is no profile 'ful'; did you mean 'full'?" in messages(load_experiment(base, profile="ful"))


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("train.lr=5e-4", ("train", "lr"), 5e-4),
        ("train.schedule=constant", ("train", "schedule"), "constant"),
        ('train.lr_multipliers={"encoder.*" = 0.1}', ("train", "lr_multipliers"), {"encoder.*": 0.1}),
        ('train.lr_multipliers."a=b"=2', ("train", "lr_multipliers"), {"a=b": 2}),
        ("projector.image.bias = false", ("projector", "image"), {"use": "flat", "bias": False}),
        ("evaluate.every=3", ("evaluate", "every"), 3),
    ],
)
def test_set_takes_toml_values(base: Path, text: str, path: tuple[str, ...], value: Any) -> None:
    experiment = load_experiment(base, sets=[text])
    assert experiment.problems == ()
    found: Any = arm(experiment, "flat")
    for key in path:
        found = found[key]
    assert found == value


def test_set_wins_over_arms_and_grid(base: Path) -> None:
    base.write_text(BASE + "[grid]\n'train.lr' = [1, 2]\n'train.steps' = [3, 4]\n")
    experiment = load_experiment(base, sets=["train.lr=0.3"])
    assert {arm(experiment, name)["train"]["lr"] for name in experiment.arms} == {0.3}
    assert list(experiment.grid) == ["train.steps"]


def test_set_reaches_a_key_of_another_component_in_an_arm(base: Path) -> None:
    experiment = load_experiment(base, sets=["arm.deep.projector.image.depth=5"])
    assert arm(experiment, "deep")["projector"]["image"] == {"use": "deep", "depth": 5}
    assert arm(experiment, "flat")["projector"]["image"] == {"use": "flat", "bias": True}


def test_set_counts_the_elements_of_arrays(base: Path) -> None:
    base.write_text(BASE + "[[arm.one.loss]]\nuse = 'push'\n")
    experiment = load_experiment(base, sets=["loss.0.weight=2"])
    assert [loss.get("weight") for loss in arm(experiment, "flat")["loss"]] == [2, None]
    assert arm(experiment, "one")["loss"] == [{"use": "push", "weight": 2}]


def test_another_component_by_set_drops_the_keys_of_the_one_before(base: Path) -> None:
    experiment = load_experiment(base, sets=["projector.image.use=deep"])
    assert arm(experiment, "flat")["projector"]["image"] == {"use": "deep"}
    assert arm(experiment, "deep")["projector"]["image"] == {"use": "deep", "depth": 2}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train.lr", "has no '='"),
        ("train..lr=1", "not a dotted key"),
        ("train.lr=[1", "not a TOML value"),
        ("loss.2.weight=1", "'loss' has no element 2; it has 2, counted from 0"),
        ("loss.weight=1", "as in 'loss.0.weight'"),
        ("train.lr.x=1", "'train.lr' is a value, not a table"),
        ("arm.depe.train.lr=1", "there is no arm 'depe'; did you mean 'deep'?"),
    ],
)
def test_a_wrong_set_is_explained(base: Path, text: str, complaint: str) -> None:
    assert complaint in messages(load_experiment(base, sets=[text]))
    assert messages(load_experiment(base, sets=[text])).startswith("--set:")


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("seeds = 3", 1, "array of whole numbers"),
        ("seeds = [0, true]", 1, "array of whole numbers"),
        ("seeds = [-1]", 1, "array of whole numbers from 0"),
        ("seeds = []", 1, "at least one seed"),
        ("seeds = [1, 1]", 1, "same seed twice"),
        ("seeds = [9223372036854775808]", 1, "above 9223372036854775807"),
        ("[prepare.a]\nseeds = [18446744073709551615]", 2, "[prepare.a] 'seeds' has a seed above"),
        ("[profile.p]\nseeds = [0, 18446744073709551615]", 2, "[profile.p] 'seeds' has a seed above"),
        ("name = '../up'", 1, "names a directory"),
        ("headline = 'x'", 1, "array of strings"),
        ("extends = 3", 1, "a string or an array of strings"),
        ("\nsedes = [1]", 2, "unknown key 'sedes'; did you mean 'seeds'?"),
        ("[encodr.image]\nuse = 'x'", 1, "unknown table [encodr]; did you mean 'encoder'?"),
        ("[[gtae]]\nmetric = 'x'", 1, "unknown table [[gtae]]; did you mean 'gate'?"),
        ("[loss]\nuse = 'x'", 1, "[loss] there may be several of it: write [[loss]]"),
        ("[[train]]\nlr = 1", 1, "[train] is one table: write [train]"),
        ("[encoder]\nuse = 'x'", 2, "[encoder] 'use' stands outside of a named table: write [encoder.NAME]"),
        ("[arm]\nlr = 1", 2, "write [arm.NAME]"),
        ("[arm.a]\nseeds = [1]", 2, "[arm.a] key 'seeds' cannot stand in an arm"),
        ("[arm.a]\nneeds = 'b'", 2, "'needs' must be an array of strings"),
        ("[arm.a.porjector.image]\nuse = 'x'", 1, "[arm.a] unknown table [porjector]; did you mean 'projector'?"),
        ("[profile.p]\nextends = 'x'", 2, "cannot stand in a profile"),
        ("[profile.p.trian]\nlr = 1", 1, "[profile.p] unknown table [trian]; did you mean 'train'?"),
        ("[profile.p.arm.a.trian]\nlr = 1", 1, "[profile.p.arm.a] unknown table [trian]; did you mean 'train'?"),
        ("[grid]\n'train.lr' = 1", 2, "at least one value"),
        ("[grid]\n'train.lr' = []", 2, "at least one value"),
        ("[grid]\n'train.lr' = [1, 2, 1]", 2, "the value 1 twice"),
        ("[grid]\ntrain.lr = [1]", 2, 'a dotted key stands in quotes here: "train.lr"'),
        ("[results]\na = 1", 2, "'a' must be a string: the name of a metric"),
    ],
)
def test_misplaced_things_are_reported_with_their_line(tmp_path: Path, text: str, line: int, complaint: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text + "\n")
    experiment = load_experiment(file)
    assert complaint in messages(experiment)
    assert {problem.line for problem in experiment.problems} == {line}
