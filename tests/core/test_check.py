"""Every mistake of an experiment file in one go, each with its line, its table and a suggestion."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trialbook.config.load import load_experiment
from trialbook.errors import ExperimentErrors
from trialbook.planning.planner import make_plan
from trialbook.plugins.schema import SchemaBook

Write = Callable[..., Path]


def complaints(file: Path, book: SchemaBook, *, profile: str | None = None, sets: tuple[str, ...] = ()) -> list[str]:
    """All problems as ``line: [table] …``."""
    try:
        make_plan(load_experiment(file, profile=profile, sets=sets), book)
    except ExperimentErrors as error:
        return [str(problem).removeprefix(f"{file}:") for problem in error.problems]
    return []


def test_a_right_file_has_no_problems(toy_file: Write, toys: SchemaBook) -> None:
    assert complaints(toy_file(), toys) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # components and their keys
        ('"pixels"', '"pixel"', "13: [encoder.image] unknown encoder 'pixel'; did you mean 'pixels'?"),
        ('"pixels"', '"resnet"', "13: [encoder.image] unknown encoder 'resnet'; there are missing, pixels, words"),
        ('use = "pixels"', 'us = "pixels"', "13: [encoder.image] unknown key 'us'; did you mean 'use'?"),
        ('use = "pixels"', "", "12: [encoder.image] missing key 'use'; there are missing, pixels, words"),
        ('use = "pixels"', "use = 3", "13: [encoder.image] 'use' must be a component's name; there are"),
        ('"pixels"', '"missing"', "13: [encoder.image] 'toy_broken:Missing' cannot be loaded: it needs the package"),
        ("frozen = true", 'frozen = "yes"', "14: [encoder.image] 'frozen' must be true or false, not the string 'yes'"),
        ('pool = "max"', "poool = 'max'", "21: [projector.image] unknown key 'poool'; did you mean 'pool'?"),
        ('pool = "max"', "heads = 3", "21: [projector.image] unknown key 'heads'; 'flat' knows bias, pool"),
        ("depth = 2", "depth = 2.0", "36: [arm.deep.projector.image] 'depth' must be an integer, not the float 2.0"),
        ("depth = 2", "", "34: [arm.deep.projector.image] missing key 'depth'"),
        ("depth = 2", "dept = 2", "36: [arm.deep.projector.image] unknown key 'dept'; did you mean 'depth'?"),
        ('use = "pull"', 'use = "around"\nsizes = [1]', "23: [loss] missing key 'of'"),
        ('use = "pull"', 'use = "around"\nsizes = [1]\nof = "pul"', "26: [loss.of] unknown loss 'pul'; did you mean"),
        ('"pull"', '"around"\nsizes = [1]\n[loss.of]\nuse = "pull"\nmargn = 1', "28: [loss.of] unknown key 'margn'"),
        # core's tables
        ("steps = 20", "steps = 20\nepochs = 1", "30: [train] give either 'steps' or 'epochs'"),
        ("steps = 20", "", "29: [train] give either 'steps' or 'epochs'"),
        ("lr = 1e-3", "accumulate = 7", "31: [train] accumulate (7) must divide batch_size (64)"),
        ("lr = 1e-3", 'schedule = "cosin"', "31: [train] 'schedule' must be one of"),
        ("lr = 1e-3", "lr = -1.0", "31: [train] 'lr' (-1.0) must be above 0"),
        ("lr = 1e-3", "[checkpoint]\nevery = 5\nkeep_last = 0", "33: [checkpoint] 'keep_last' (0) must not be below 1"),
        ("lr = 1e-3", "[evaluate]\nbatch_size = 0", "32: [evaluate] 'batch_size' (0) must not be below 1"),
        ("lr = 1e-3", "[evaluate]\nevery = -1", "32: [evaluate] 'every' (-1) must not be below 0"),
        ("lr = 1e-3", "lr = inf", "31: [train] 'lr' (inf) must be above 0 and finite"),
        ("lr = 1e-3", "weight_decay = nan", "31: [train] 'weight_decay' (nan) must be finite and not below 0"),
        ("lr = 1e-3", "betas = [0.9, 1.0]", "31: [train] 'betas' (0.9, 1.0) must be from 0 and below 1"),
        ("lr = 1e-3", "[[stage]]\nlr = -1.0", "32: [stage] 'lr' (-1.0) must be above 0"),
        ("lr = 1e-3", "[[stage]]\nname='a'\n[[stage]]\nname='a'", "31: [stage] two stages have one name"),
        ("lr = 1e-3", "[[stage]]\ntrain = ['projectr.*']", "32: [stage] pattern 'projectr.*' fits no part; there are"),
        ("lr = 1e-3", "lr_multipliers = {'los.pull' = 1}", "31: [train] pattern 'los.pull' fits no part"),
        ("[train]\nsteps = 20\nlr = 1e-3", "", "23: [loss] there are losses, but no [train] says how long"),
        # how parts fit
        ('[task]\nuse = "join"', "", "the file has no [task]"),
        ('[dataset]\nuse = "shapes"', "", "6: [task] task 'join' needs a [dataset], which is not in the file"),
        ("[encoder.text]", "[encoder.txt]", "16: [encoder.txt] unknown modality 'txt'; the dataset has image, text; did"),
        ('"words"', '"pixels"', "17: [encoder.text] encoder 'pixels' reads image, but modality 'text' is of kind text"),
        ('"pixels"', '"words"', "13: [encoder.image] encoder 'words' reads text or scan, but modality 'image'"),
        ('"found"', '"found"\n[[metric]]\nuse = "boxed"', "29: [metric] metric 'boxed' needs 'boxes', which task 'join'"),
        ('"found"', '"found"\n[[metric]]\nuse="found"', "29: [metric] two metrics are called 'found'; give one a 'name'"),
        # references
        ('baseline = "flat"', 'baseline = "flt"', "4: there is no arm 'flt'; did you mean 'flat'?"),
        ("at_least = 0.5", "at_least = 0.5\narm = 'depe'", "41: [gate] there is no arm 'depe'; did you mean 'deep'?"),
        ("at_least = 0.5", "", "38: [gate] a gate needs 'at_least' or 'at_most'"),
        ("at_least = 0.5", "at_lest = 0.5", "40: [gate] unknown key 'at_lest'; did you mean 'at_least'?"),
        ('metric = "found', 'metric = "fuond', "39: [gate] nothing records 'fuond/i2t@1'; did you mean 'found/i2t@1'?"),
        ('"found/i2t@1"', '"accuracy"', "39: [gate] nothing records 'accuracy'; there are found/i2t@1, found/i2t@5, "),
        ("seeds =", "headline = ['lss']\nseeds =", "3: nothing records 'lss'; did you mean 'loss'?"),
        ("[train]", "[results]\nx = 'found/t2i@6'\n[train]", "30: [results] nothing records 'found/t2i@6'; did you mean"),
    ],
)  # fmt: skip
def test_a_mistake_is_the_only_problem(toy_file: Write, toys: SchemaBook, old: str, new: str, expected: str) -> None:
    found = complaints(toy_file((old, new)), toys)
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[arm.x.projector.image]\npool = 'max'\n", "41: [arm.x] this arm touches nothing"),
        ("[arm.x.projector.image]\nbias = true\n", "41: [arm.x] this arm touches nothing"),
        ("[arm.x]\n", "41: [arm.x] this arm is the same as arm 'flat'"),
        ("[arm.x.projector.image]\nuse = 'deep'\ndepth = 2\n", "41: [arm.x] this arm is the same as arm 'deep'"),
        ("[arm.x]\nneeds = ['depe']\n", "42: [arm.x] there is no arm 'depe' to need; did you mean 'deep'?"),
        ("[arm.x]\nneeds = ['x']\n", "42: [arm.x] an arm cannot need itself"),
        ("[grid]\n'train.lrr' = [1, 2]\n", "42: [grid] 'train.lrr' names nothing in the file; did you mean 'train.lr'?"),
        ("[grid]\n'trian.lr' = [1, 2]\n", "42: [grid] 'trian.lr' names nothing in the file; did you mean 'train.lr'?"),
        ("[grid]\n'projector.image.depth' = [1, 2]\n", "42: [grid] 'projector.image.depth' names nothing in arm 'flat'"),
        ("[grid]\n'train.lr' = [1, 'x']\n", "42: [grid] 'lr' must be a number, not the string 'x'"),
        ("[grid]\n'train.lr.x' = [1]\n", "41: [grid] 'train.lr' is a value, not a table"),
        ("[grid]\n'projector.image.use' = ['flat', 'dep']\n", "42: [grid] unknown projector 'dep'; did you mean 'deep'?"),
        ("[profile.p.train]\nlr = 'x'\n", "42: [profile.p.train] 'lr' must be a number, not the string 'x'"),
        ("[profile.p.arm.deep.projector.image]\ndeth = 1\n", "42: [profile.p.arm.deep.projector.image] unknown key 'deth'"),
        ("[profile.p.arm.x]\n", "41: [arm.x] this arm is the same as arm 'flat'"),
    ],
)  # fmt: skip
def test_a_mistake_in_arms_grid_or_profile(toy_file: Write, toys: SchemaBook, text: str, expected: str) -> None:
    found = complaints(toy_file(append=text), toys)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


def test_all_mistakes_come_out_at_once_in_the_order_of_the_file(toy_file: Write, toys: SchemaBook) -> None:
    file = toy_file(
        ("seeds =", "sedes ="), ('"words"', '"wrods"'), ("steps = 20", 'steps = "20"'), ("depth = 2", "dpeth = 2"),
        ("at_least", "atleast"), append="[arm.x.trian]\nlr = 1\n",
    )  # fmt: skip
    found = complaints(file, toys)
    assert [int(problem.split(":")[0]) for problem in found] == [3, 17, 30, 36, 40, 41]
    assert all("did you mean" in problem or "must be" in problem for problem in found)


def test_a_mistake_that_arms_inherit_is_reported_once(toy_file: Write, toys: SchemaBook) -> None:
    arms = "".join(f"[arm.a{n}.train]\nlr = {n}\n" for n in range(1, 6))
    assert len(complaints(toy_file(("frozen = true", "forzen = true"), append=arms), toys)) == 1


def test_a_kind_that_the_task_does_not_take_is_refused(toy_file: Write, toys: SchemaBook) -> None:
    found = complaints(toy_file(append="[llm]\nuse = 'x'\n"), toys)
    assert found[0] == "41: [llm] task 'join' takes no llm; it takes dataset, encoder, projector, loss, metric"


def test_a_cycle_of_needs_is_named(toy_file: Write, toys: SchemaBook) -> None:
    append = "[arm.x]\nneeds = ['y']\n[arm.y]\nneeds = ['z']\n[arm.z]\nneeds = ['x']\n"
    assert complaints(toy_file(append=append), toys) == ["42: [arm.x] arms need one another: x -> y -> z -> x"]


def test_names_that_every_arm_overrides_are_checked_too(toy_file: Write, toys: SchemaBook) -> None:
    file = toy_file(
        ("[arm.flat]", "[arm.flat.projector.image]\nuse = 'deep'\ndepth = 1"), ('"flat"\npool', '"flta"\npool')
    )
    assert complaints(file, toys) == ["20: [projector.image] unknown projector 'flta'; did you mean 'flat'?"]


def test_a_name_that_two_plugins_offer_must_be_told_apart(toy_file: Write, toys: SchemaBook) -> None:
    file = toy_file(('"flat"\npool = "max"', '"twin"'))
    (problem,) = complaints(file, toys)
    assert "both offer projector 'twin'; write 'left:twin' or 'right:twin'" in problem
    assert complaints(toy_file(('"flat"\npool = "max"', '"left:twin"')), toys) == []


def test_modalities_may_be_named_by_the_file(toy_file: Write, toys: SchemaBook) -> None:
    columns = ('use = "shapes"', 'use = "table"\ncolumns = { image = "a", text = "b" }')
    assert complaints(toy_file(columns), toys) == []
    found = complaints(toy_file(columns, ("[encoder.image]", "[encoder.picture]")), toys)
    assert found[0].startswith("13: [encoder.picture] unknown modality 'picture'; the dataset has image, text")


def test_a_task_that_trains_nothing_needs_no_train(tmp_path: Path, toys: SchemaBook) -> None:
    file = tmp_path / "measure.toml"
    text = "[task]\nuse = 'measure'\n[dataset]\nuse = 'shapes'\n[[metric]]\nuse = 'rank'\n[[gate]]\nat_most = 1\n"
    file.write_text(text + "metric = 'image/rank'\n[results]\neffective = 'rank/effective'\n")
    assert complaints(file, toys) == []


def test_what_losses_report_can_be_a_gate(toy_file: Write, toys: SchemaBook) -> None:
    assert complaints(toy_file(("found/i2t@1", "pull/margin")), toys) == []
    assert complaints(toy_file(("found/i2t@1", "val/pull/loss")), toys) == []
    assert complaints(toy_file(('"found"', '"found"\nname = "hits"'), ("found/i2t@1", "hits/t2i@5")), toys) == []


def test_a_gate_holds_for_its_arm_alone(toy_file: Write, toys: SchemaBook) -> None:
    arms = "arm = 'deep'\n[[arm.x.metric]]\nuse = 'found'\nk = [7]\n"
    assert complaints(toy_file(("found/i2t@1", "found/i2t@7"), append=arms), toys) == [
        "39: [gate] nothing records 'found/i2t@7' in arm 'deep'; did you mean 'found/i2t@1'?"
    ]
    assert complaints(toy_file(("found/i2t@1", "found/i2t@7"), append=arms.replace("deep", "x")), toys) == []


def test_a_component_that_only_another_profile_needs_may_be_missing(toy_file: Write, toys: SchemaBook) -> None:
    file = toy_file(append="[profile.full.encoder.image]\nuse = 'missing'\n")
    assert complaints(file, toys) == []
    (problem,) = complaints(file, toys, profile="full")
    assert problem.startswith("42: [profile.full.encoder.image] 'toy_broken:Missing' cannot be loaded")


def test_arms_that_a_set_makes_equal_are_refused(toy_file: Write, toys: SchemaBook) -> None:
    (problem,) = complaints(toy_file(), toys, sets=("projector.image.use=flat",))
    assert (
        "[arm.deep] this arm is the same as arm 'flat' (what --profile and --set decide holds in every arm)" in problem
    )


def test_a_file_of_an_extended_one_is_named(toy_file: Write, toys: SchemaBook, tmp_path: Path) -> None:
    toy_file(("frozen = true", "forzen = true"), name="below.toml")
    child = tmp_path / "child.toml"
    child.write_text("extends = 'below.toml'\n[train]\nlrr = 2\n")
    found = complaints(child, toys)
    assert found[0] == "3: [train] unknown key 'lrr'; did you mean 'lr'?"
    assert found[1].startswith(f"{tmp_path / 'below.toml'}:14: [encoder.image] unknown key 'forzen'")


def test_the_command_refuses_quickly_and_without_torch(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("[task]\nuse = 'alig'\n[encoder.image]\nuse = 'identity'\nfrozn = true\n")
    program = (
        "import sys\nfrom trialbook.cli.main import main\n"
        "sys.argv = ['mlrun', 'check', sys.argv[1]]\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, 'pydantic' in sys.modules)\n"
    )
    for _ in range(2):  # the first makes the schemas
        ran = subprocess.run(
            [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False, cwd=tmp_path,
            env={"PATH": "/usr/bin", "TRIALBOOK_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)},
        )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stdout.strip() == "False False"
    assert ran.stderr.splitlines() == [
        f"{file}:2: [task] unknown task 'alig'; did you mean 'align'?",
        f"{file}:5: [encoder.image] unknown key 'frozn'; did you mean 'frozen'?",
    ]
