"""Claims: answered from the runs, refused with line and suggestion where they name nothing, and no part of a run."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trialbook.analysis.compare.claims import ClaimResult, answer_claims, claim_text
from trialbook.analysis.compare.compare import Comparison, compare
from trialbook.analysis.compare.effects import Design
from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan
from trialbook.errors import ExperimentErrors
from trialbook.planning.planner import make_plan
from trialbook.plugins.json_schema import experiment_json_schema
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.query import open_index

Write = Callable[..., Path]
Record = Callable[..., Plan]
METRIC = "found/i2t@1"
CLAIM = {"factor": "std", "level": 0.02, "metric": METRIC, "direction": "lower"}


def a_design(effect: Callable[[int, float, str], float], seeds: int = 4) -> tuple[Design, dict[str, dict[int, float]]]:
    """Cells of ``std`` {1.0, 0.02, 0.5} × ``pool`` {mean, max}; ``effect(seed, std, pool)`` is the value."""
    factors = {"std": (1.0, 0.02, 0.5), "pool": ("mean", "max")}
    cells: dict[tuple[int, ...], dict[int, int]] = {}
    values: dict[int, float] = {}
    for a, std in enumerate(factors["std"]):
        for b, pool in enumerate(factors["pool"]):
            for seed in range(seeds):
                cells.setdefault((a, b), {})[seed] = len(values)
                values[len(values)] = effect(seed, float(std), str(pool))
    return Design(factors, cells), {METRIC: values}


def answer(effect: Callable[[int, float, str], float], seeds: int = 4, **claim: Any) -> tuple[ClaimResult, list[str]]:
    design, values = a_design(effect, seeds)
    (result,), notes = answer_claims([{**CLAIM, **claim}], design, values)
    return result, notes


def drop(size: float, spread: float = 0.01) -> Callable[[int, float, str], float]:
    """Values that are lower by ``size`` at std 0.02."""
    draw = random.Random(4)
    return lambda seed, std, pool: 0.5 - (size if std == 0.02 else 0) + draw.gauss(0, spread)


@pytest.mark.parametrize(
    ("size", "claim", "verdict"),
    [
        (0.2, {}, "supported"),
        (-0.2, {}, "not supported"),
        (0.0, {}, "undecided"),
        (0.2, {"direction": "higher"}, "not supported"),
        (0.2, {"at_least": 0.1}, "supported"),
        (0.2, {"at_least": 0.4}, "not supported"),  # it is lower, but not by so much
        (0.0, {"at_least": 0.2}, "not supported"),
        (0.2, {"at_least": 0.2}, "undecided"),
        (0.2, {"against": [1, 0.5]}, "supported"),
        (0.2, {"against": 1}, "supported"),
    ],
)
def test_a_claim_is_held_against_the_smallest_difference_that_counts(
    size: float, claim: dict[str, Any], verdict: str
) -> None:
    result, notes = answer(drop(size), **claim)
    assert (result.verdict, notes) == (verdict, [])


def test_the_answer_is_the_t_test_of_scipy() -> None:
    scipy_stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    numpy = pytest.importorskip("numpy")
    design, values = a_design(drop(0.1), 5)
    table = numpy.array(list(values[METRIC].values())).reshape(3, 2, 5)  # std, pool, seed
    (result,), _ = answer_claims([{**CLAIM, "at_least": 0.05}], design, values)
    contrast = table[1].mean(0) - table[[0, 2]].mean((0, 1))
    oracle = scipy_stats.ttest_1samp(contrast, -0.05)  # that it is lower by just the least that counts
    close = {"rel": 1e-8, "abs": 1e-12}  # the same sums in another order
    assert result.estimate is not None
    assert result.estimate.mean == pytest.approx(contrast.mean(), **close)
    interval = scipy_stats.ttest_1samp(contrast, 0).confidence_interval(0.95)
    assert (result.estimate.low, result.estimate.high) == pytest.approx((interval.low, interval.high), **close)
    assert result.p == pytest.approx(oracle.pvalue, **close)
    assert result.against == (1.0, 0.5)
    (at_mean, at_max) = result.conditional
    assert (at_mean.factors, at_mean.levels, at_max.levels) == (("std", "pool"), (0.02, "mean"), (0.02, "max"))
    for place, own in enumerate((at_mean, at_max)):
        single = scipy_stats.ttest_1samp(table[1, place] - table[[0, 2], place].mean(0), 0)
        assert own.p == pytest.approx(single.pvalue, **close)


def test_claims_are_corrected_together_and_their_single_levels_among_themselves() -> None:
    draw = random.Random(6)
    design, values = a_design(lambda seed, std, pool: std * 0.05 + draw.gauss(0, 0.02), 5)
    claims = [{**CLAIM, "level": level} for level in (0.02, 0.5, 1)]
    results, _ = answer_claims(claims, design, values)
    for family in (results, [effect for result in results for effect in result.conditional]):
        ordered = sorted((one.p, one.p_holm) for one in family if one.p is not None and one.p_holm is not None)
        running = 0.0
        for rank, (p, corrected) in enumerate(ordered):
            running = max(running, min(1.0, p * (len(ordered) - rank)))
            assert corrected == pytest.approx(running)


def test_an_effect_that_turns_round_is_seen_at_the_single_levels() -> None:
    draw = random.Random(2)
    result, _ = answer(
        lambda seed, std, pool: (0.3 if (std == 0.02) == (pool == "max") else 0.0) + draw.gauss(0, 0.01), 5
    )
    assert result.verdict == "undecided"
    assert [(effect.levels[1], effect.verdict) for effect in result.conditional] == [
        ("mean", "lowers"),
        ("max", "raises"),
    ]


def test_undecided_claims_say_how_many_seeds_would_do() -> None:
    result, _ = answer(drop(0.01, spread=0.02), 3)
    assert result.verdict == "undecided"
    assert result.seeds_to_decide is not None
    assert result.seeds_to_decide > 3


@pytest.mark.parametrize(
    ("effect", "seeds", "note"),
    [
        (lambda seed, std, pool: 0.1 if std == 0.02 else 0.5, 4, "all seeds show the same difference, so they are no repetition"),
        (lambda seed, std, pool: 0.5, 4, "all seeds show the same difference"),
        (lambda seed, std, pool: math.nan if std == 0.02 else 0.5, 4, "is not finite in every run that it takes"),
        (lambda seed, std, pool: 0.5 - std * seed, 1, ""),
    ],
)  # fmt: skip
def test_what_shows_nothing_leaves_a_claim_undecided(effect: Any, seeds: int, note: str) -> None:
    """A spread of zero is no certainty, a run that broke is no small value, and one seed is no repetition."""
    result, notes = answer(effect, seeds)
    assert (result.verdict, result.seeds_to_decide) == ("undecided", None)
    assert [note in one for one in notes] == ([True] if note else [])


@pytest.mark.parametrize(
    ("claim", "note"),
    [
        ({"metric": "never"}, "no run recorded never"),
        ({"factor": "lr"}, "lr is the same in all runs shown"),
        ({"level": 7}, "levels of std that no run shown has"),
        ({"against": [1, 7]}, "levels of std that no run shown has"),
    ],
)
def test_a_claim_about_what_is_not_there_is_not_answered(claim: dict[str, Any], note: str) -> None:
    result, notes = answer(drop(0.2), **claim)
    assert (result.estimate, result.verdict) == (None, "undecided")
    assert note in notes[0]


def test_seeds_that_lack_a_run_are_left_out_and_counted() -> None:
    design, values = a_design(drop(0.2), 5)
    del values[METRIC][design.cells[1, 0][2]]
    (result,), notes = answer_claims([CLAIM], design, values)
    assert result.estimate is not None
    assert result.estimate.n == 4
    assert notes == [f"the claim that {claim_text(result)} rests on 4 of 5 seeds: others lack a run"]
    assert claim_text(result) == f"std = 0.02 (against 1.0, 0.5) lowers {METRIC}"


# --- in a file ----------------------------------------------------------------------------------------------------

GRID = "[grid]\n'train.lr' = [1e-3, 2e-3]\n'encoder.text.width' = [8, 16, 32]\n'projector.image.bias' = [true, false]\n"
FACTS = "metric = 'found/i2t@1'\ndirection = 'lower'\n"
ARMS = ('[arm.deep.projector.image]\nuse = "deep"\ndepth = 2\n', "[arm.deep.dataset]\nseed = 8\n")


def complaints(file: Path, toys: SchemaBook, **options: Any) -> list[str]:
    try:
        make_plan(load_experiment(file, **options), toys)
    except ExperimentErrors as error:
        return str(error).replace(f"{file}:", "").splitlines()
    return []


@pytest.mark.parametrize(
    "claim",
    [
        "factor = 'train.lr'\nlevel = 2e-3\n",
        "factor = 'encoder.text.width'\nlevel = 16\nagainst = [8, 32]\nat_least = 0.1\ntext = 'Sixteen is too few.'\n",
        "factor = 'encoder.text.width'\nlevel = 16.0\nagainst = 8\n",
        "factor = 'projector.image.bias'\nlevel = false\n",
        "factor = 'arm'\nlevel = 'deep'\n",
    ],
)
@pytest.mark.parametrize("header", ["[claim]", "[[claim]]"])
def test_a_claim_stands_as_one_table_or_one_of_several(
    toy_file: Write, toys: SchemaBook, header: str, claim: str
) -> None:
    assert complaints(toy_file(ARMS, append=f"{GRID}{header}\n{claim}{FACTS}"), toys) == []


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("factor = 'trian.lr'\nlevel = 1e-3\n", "45: [claim] 'trian.lr' is no key of the grid; did you mean 'train.lr'?"),
        ("factor = 'seed'\nlevel = 1\n", "45: [claim] 'seed' is no key of the grid; there are arm, train.lr, encoder.text"),
        ("factor = 'train.lr'\nlevel = 3e-3\n", "46: [claim] 'train.lr' is never 0.003; it is 0.001 or 0.002"),
        ("factor = 'projector.image.bias'\nlevel = 1\n", "46: [claim] 'projector.image.bias' is never 1; it is true or false"),
        ("factor = 'arm'\nlevel = 'depe'\n", "46: [claim] 'arm' is never 'depe'; did you mean 'deep'?"),
        ("factor = 'arm'\nlevel = 'deep'\nagainst = 'falt'\n", "47: [claim] 'arm' is never 'falt'; did you mean 'flat'?"),
        ("factor = 'encoder.text.width'\nlevel = 8\nagainst = [16, 9]\n", "47: [claim] 'encoder.text.width' is never 9; it is"),
        ("factor = 'encoder.text.width'\nlevel = 8\nagainst = [16, 8]\n", "47: [claim] 'against' names the level itself"),
        ("factor = 'arm'\nlevel = 'deep'\nagainst = []\n", "47: [claim] 'against' is empty; leave it out to compare"),
        ("factor = 'train.lr'\nlevel = 1e-3\nat_least = -1\n", "47: [claim] 'at_least' (-1) is the size of a difference"),
        ("factor = 'train.lr'\n", "44: [claim] missing key 'level'"),
        ("factor = 'train.lr'\nlevle = 1e-3\n", "46: [claim] unknown key 'levle'; did you mean 'level'?"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("header", ["[claim]", "[[claim]]"])
def test_a_mistake_in_a_claim_is_the_only_problem(
    toy_file: Write, toys: SchemaBook, header: str, claim: str, expected: str
) -> None:
    found = complaints(toy_file(ARMS, append=f"{GRID}{header}\n{claim}{FACTS}"), toys)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


def test_all_mistakes_of_a_claim_come_out_at_once(toy_file: Write, toys: SchemaBook) -> None:
    claim = f"[claim]\nfactor = 'train.lr'\nlevel = 3e-3\nat_lest = 1\n{FACTS.replace('lower', 'lwoer').replace('@1', '@2')}"
    found = complaints(toy_file(ARMS, append=GRID + claim), toys)
    assert [int(problem.partition(":")[0]) for problem in found] == [46, 47, 48, 49]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("'lower'", "'less'", "48: [claim] 'direction' must be one of 'higher', 'lower', not 'less'"),
        ("'lower'", "'hihger'", "48: [claim] 'direction' must be one of 'higher', 'lower', not 'hihger'; did you mean 'higher'?"),
        ("i2t@1", "i2t@2", "47: [claim] nothing records 'found/i2t@2'; did you mean 'found/i2t@1'?"),
    ],
)  # fmt: skip
def test_directions_and_metrics_must_be_known(
    toy_file: Write, toys: SchemaBook, old: str, new: str, expected: str
) -> None:
    claim = "[claim]\nfactor = 'train.lr'\nlevel = 1e-3\n" + FACTS.replace(old, new)
    assert complaints(toy_file(ARMS, append=GRID + claim), toys) == [expected]


def test_a_claim_needs_something_to_compare(toy_file: Write, toys: SchemaBook) -> None:
    claim = f"[claim]\nfactor = 'train.lr'\nlevel = 1e-3\n{FACTS}"
    bare = ("[arm.flat]\n" + ARMS[0], ""), ('baseline = "flat"\n', "")
    (problem,) = complaints(toy_file(*bare, append=claim), toys)
    assert "[claim] a claim is about a [grid] or several arms, and the file has neither" in problem
    (problem,) = complaints(toy_file(append=f"[grid]\n'train.lr' = [1e-3]\n{claim}"), toys)
    assert "[claim] 'train.lr' has one value only: there is nothing to compare it with" in problem
    assert complaints(toy_file(("seeds =", "claim = 3\nseeds =")), toys) == [
        "3: 'claim' is a table: write [claim], or [[claim]] above each of several"
    ]


def test_a_misspelt_grid_is_the_only_problem_of_a_file_with_a_claim(toy_file: Write, toys: SchemaBook) -> None:
    claim = f"[claim]\nfactor = 'train.lr'\nlevel = 1e-3\n{FACTS}"
    (problem,) = complaints(toy_file(append=GRID.replace("[grid]", "[gird]") + claim), toys)
    assert problem.endswith("unknown table [gird]; did you mean 'grid'?")


def test_an_arm_or_a_claim_in_the_wrong_place_is_refused(toy_file: Write, toys: SchemaBook) -> None:
    (problem,) = complaints(toy_file(append=f"[arm.flat.claim]\nfactor = 'arm'\nlevel = 'deep'\n{FACTS}"), toys)
    assert "[arm.flat] table [claim] cannot stand in an arm" in problem


def test_a_profile_or_set_that_holds_the_factor_leaves_the_claim_unasked(toy_file: Write, toys: SchemaBook) -> None:
    claim = f"[claim]\nfactor = 'train.lr'\nlevel = 1e-3\n{FACTS}[profile.quick.train]\nlr = 5e-3\n"
    file = toy_file(ARMS, append=GRID + claim)
    assert complaints(file, toys) == []
    assert complaints(file, toys, profile="quick") == []
    assert complaints(file, toys, sets=("train.lr=1e-3",)) == []


def test_a_profile_may_change_what_a_claim_asks_for(toy_file: Write, toys: SchemaBook) -> None:
    claim = f"[claim]\nfactor = 'train.lr'\nlevel = 1e-3\n{FACTS}[profile.full.claim]\nat_least = 0.3\n"
    plan = make_plan(load_experiment(toy_file(ARMS, append=GRID + claim), profile="full"), toys)
    (told,) = plan.runs[0].info.claims
    assert (told["factor"], told["at_least"]) == ("train.lr", 0.3)


def test_editors_know_claims(toys: SchemaBook) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    editor = jsonschema.Draft202012Validator(experiment_json_schema(toys))
    for claim in (CLAIM, [CLAIM, {**CLAIM, "level": [1, 2], "against": True, "at_least": 0.1, "text": "x"}]):
        assert not list(editor.iter_errors({"claim": claim}))
    for wrong in ({**CLAIM, "direction": "up"}, [{"factor": "std"}], {**CLAIM, "levels": 1}, 3):
        assert list(editor.iter_errors({"claim": wrong}))
    assert list(editor.iter_errors({"arm": {"a": {"claim": CLAIM}}}))


def test_a_claim_changes_no_run(toy_file: Write, toys: SchemaBook) -> None:
    without = make_plan(load_experiment(toy_file(ARMS, append=GRID)), toys)
    claim = f"[claim]\nfactor = 'train.lr'\nlevel = 1e-3\n{FACTS}"
    with_claim = make_plan(load_experiment(toy_file(ARMS, append=GRID + claim)), toys)
    assert [run.id for run in with_claim.runs] == [run.id for run in without.runs]
    assert with_claim.runs[0].info.claims == (
        {"factor": "train.lr", "level": 1e-3, "metric": METRIC, "direction": "lower"},
    )


# --- through the registry -----------------------------------------------------------------------------------------


def compared(tmp_path: Path, **options: Any) -> Comparison:
    with open_index(tmp_path / "runs" / "registry.db") as index:
        return compare(index, **options)


def test_the_registry_answers_claims_about_arms_and_grids(toy_file: Write, record_plan: Record, tmp_path: Path) -> None:
    claims = "".join(
        f"[[claim]]\n{claim}metric = 'found/i2t@1'\ndirection = 'higher'\n"
        for claim in ("factor = 'arm'\nlevel = 'deep'\n", "factor = 'encoder.text.width'\nlevel = 16\n")
    )
    grid = "[grid]\n'encoder.text.width' = [8, 16]\n"
    file = toy_file(("seeds = [0, 1]", "seeds = [0, 1, 2]"), append=grid + claims)
    draw = random.Random(0)
    plan = record_plan(
        file, lambda spec: {METRIC: (spec.base_arm == "deep") - 0.01 * spec.point["encoder.text.width"] + draw.gauss(0, 1e-3)}
    )  # fmt: skip
    for comparison in (compared(tmp_path), compared(tmp_path, plan=plan, metrics=["found/i2t@1"])):
        arm, width = comparison.claims
        assert (arm.against, arm.verdict) == (("flat",), "supported")
        assert (width.against, width.verdict) == ((8,), "not supported")
        assert [effect.levels for effect in width.conditional] == [(16, "flat"), (16, "deep")]
    one = compared(tmp_path, where=["encoder.text.width=16"])
    assert one.claims[0].verdict == "supported"
    assert one.claims[1].estimate is None
    assert any("width is the same in all runs shown" in note for note in one.notes)
