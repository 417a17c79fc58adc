"""Effects of factors against scipy and statsmodels on the same numbers, and what they rest on when runs are missing."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trialbook.analysis.compare.compare import Comparison, compare
from trialbook.analysis.compare.effects import Design, Effect, change, find_effects
from trialbook.config.kinds import place_of
from trialbook.config.runspec import Plan, RunSpec
from trialbook.registry.query import open_index

Write = Callable[..., Path]
Record = Callable[..., Plan]
#: Agreement with the oracles: the same sums in another order, on values of order 1.
CLOSE = {"rel": 1e-8, "abs": 1e-12}
METRIC = "found/i2t@1"


def make_cells(
    levels: Mapping[str, tuple[Any, ...]], seeds: int, draw: Callable[..., float]
) -> tuple[Design, dict[int, float]]:
    """A full design, and a value for the run of every cell and seed: ``draw(seed, *levels)``."""
    cells: dict[tuple[int, ...], dict[int, int]] = {}
    values: dict[int, float] = {}
    for places in itertools.product(*(range(len(own)) for own in levels.values())):
        for seed in range(seeds):
            run = len(values)
            cells.setdefault(places, {})[seed] = run
            own = [values_of[place] for values_of, place in zip(levels.values(), places, strict=True)]
            values[run] = draw(seed, *own)
    return Design(dict(levels), cells), values


def by_name(effects: list[Effect] | tuple[Effect, ...]) -> dict[tuple[Any, ...], Effect]:
    return {(effect.factors, effect.levels): effect for effect in effects}


def a_design(seeds: int = 5) -> tuple[Design, dict[int, float]]:
    """2 × 3 × 2 cells; half of those of one arm are at chance, with no spread at all."""
    draw = random.Random(3)

    def value(seed: int, arm: str, lr: float, pool: bool) -> float:
        if arm == "deep" and pool:
            return 1 / 512
        return 0.2 + 0.1 * lr + (0.15 * lr if pool else 0) + 0.02 * seed + draw.gauss(0, 0.03 * (1 + lr))

    return make_cells({"arm": ("flat", "deep"), "train.lr": (0.1, 1.0, 2.0), "pool": (False, True)}, seeds, value)


def test_effects_are_the_paired_t_test_of_scipy() -> None:
    scipy_stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    numpy = pytest.importorskip("numpy")
    design, values = a_design()
    found = by_name(find_effects(design, {METRIC: values}))
    table = numpy.array(list(values.values())).reshape(2, 3, 2, 5)  # arm, lr, pool, seed
    contrasts = {
        (("arm",), ("deep",)): table[1].mean((0, 1)) - table[0].mean((0, 1)),
        (("train.lr",), (2.0,)): table[:, 2].mean((0, 1)) - table[:, 0].mean((0, 1)),
        (("pool",), (True,)): table[:, :, 1].mean((0, 1)) - table[:, :, 0].mean((0, 1)),
        (("arm", "train.lr"), ("deep", 1.0)): (
            (table[1, 1] - table[0, 1]).mean(0) - (table[1, 0] - table[0, 0]).mean(0)
        ),
        (("train.lr", "pool"), (2.0, True)): (
            (table[:, 2, 1] - table[:, 0, 1]).mean(0) - (table[:, 2, 0] - table[:, 0, 0]).mean(0)
        ),
    }
    assert len(found) == (1 + 2 + 1) + (2 + 1 + 2)
    for name, contrast in contrasts.items():
        oracle, own = scipy_stats.ttest_1samp(contrast, 0), found[name]
        assert own.estimate is not None
        assert own.estimate.n == 5
        assert own.estimate.mean == pytest.approx(contrast.mean(), **CLOSE)
        interval = oracle.confidence_interval(0.95)
        assert (own.estimate.low, own.estimate.high) == pytest.approx((interval.low, interval.high), **CLOSE)
        assert own.p == pytest.approx(oracle.pvalue, **CLOSE)


def test_effects_are_the_coefficients_of_an_ordinary_regression_on_cell_means() -> None:
    formula = pytest.importorskip("statsmodels.formula.api", reason="statsmodels is the oracle")
    pandas = pytest.importorskip("pandas")
    design, values = a_design()
    rows = [
        {"arm": arm, "lr": str(lr), "pool": str(pool), "y": math.fsum(values[run] for run in runs.values()) / len(runs)}
        for ((a, b, c), runs) in design.cells.items()
        for arm, lr, pool in [(design.factors["arm"][a], design.factors["train.lr"][b], design.factors["pool"][c])]
    ]
    table, found = pandas.DataFrame(rows), by_name(find_effects(design, {METRIC: values}))
    # A model of main effects alone, coded against the references: in a balanced design its coefficients are ours.
    main = formula.ols(
        "y ~ C(arm, Treatment('flat')) + C(lr, Treatment('0.1')) + C(pool, Treatment('False'))", table
    ).fit()
    for name, key in (
        ("C(arm, Treatment('flat'))[T.deep]", (("arm",), ("deep",))),
        ("C(lr, Treatment('0.1'))[T.1.0]", (("train.lr",), (1.0,))),
        ("C(lr, Treatment('0.1'))[T.2.0]", (("train.lr",), (2.0,))),
        ("C(pool, Treatment('False'))[T.True]", (("pool",), (True,))),
    ):
        assert found[key].estimate.mean == pytest.approx(main.params[name], **CLOSE)  # type: ignore[union-attr]
    # With two-way terms, those are our interactions: the convention is that of treatment coding, not halved.
    crossed = formula.ols(
        "y ~ (C(arm, Treatment('flat')) + C(lr, Treatment('0.1')) + C(pool, Treatment('False')))**2", table
    ).fit()
    for name, key in (
        ("C(arm, Treatment('flat'))[T.deep]:C(lr, Treatment('0.1'))[T.2.0]", (("arm", "train.lr"), ("deep", 2.0))),
        ("C(arm, Treatment('flat'))[T.deep]:C(pool, Treatment('False'))[T.True]", (("arm", "pool"), ("deep", True))),
        ("C(lr, Treatment('0.1'))[T.1.0]:C(pool, Treatment('False'))[T.True]", (("train.lr", "pool"), (1.0, True))),
    ):
        assert found[key].estimate.mean == pytest.approx(crossed.params[name], **CLOSE)  # type: ignore[union-attr]


def test_p_values_are_those_of_a_repeated_measures_analysis_of_variance() -> None:
    anova = pytest.importorskip("statsmodels.stats.anova", reason="statsmodels is the oracle")
    pandas = pytest.importorskip("pandas")
    draw = random.Random(8)
    levels = {"a": (0, 1), "b": (0, 1), "c": (0, 1)}
    design, values = make_cells(
        levels, 6, lambda seed, a, b, c: 0.1 * seed + 0.3 * a + a * b * 0.2 + draw.gauss(0, 0.1)
    )
    rows = [
        {"a": a, "b": b, "c": c, "seed": seed, "y": values[run]}
        for (a, b, c), runs in design.cells.items()
        for seed, run in runs.items()
    ]
    table = anova.AnovaRM(pandas.DataFrame(rows), "y", "seed", within=["a", "b", "c"]).fit().anova_table
    found = find_effects(design, {METRIC: values})
    assert len(found) == 6
    for effect in found:  # with two levels F = t², on 1 and n − 1 degrees of freedom
        assert effect.p == pytest.approx(table.loc[":".join(effect.factors), "Pr > F"], **CLOSE)


def test_all_effects_of_a_table_are_corrected_together() -> None:
    design, values = a_design()
    other = {run: value * (1 + run % 3) for run, value in values.items()}
    found = find_effects(design, {METRIC: values, "other": other})
    known = sorted((effect.p, effect.p_holm) for effect in found if effect.p is not None and effect.p_holm is not None)
    running = 0.0
    for rank, (p, corrected) in enumerate(known):
        running = max(running, min(1.0, p * (len(known) - rank)))
        assert corrected == pytest.approx(running)
    verdicts = {effect.verdict for effect in found}
    assert verdicts <= {"raises", "lowers", "undecided"}
    assert all((effect.verdict == "undecided") == (effect.p_holm is None or effect.p_holm >= 0.04) for effect in found)


def test_a_seed_that_lacks_a_run_is_left_out_of_the_effects_that_take_it_alone() -> None:
    design, values = a_design()
    lost = design.cells[0, 1, 0][3]  # flat, lr 1.0, pool false, seed 3
    found = by_name(find_effects(design, {METRIC: {run: value for run, value in values.items() if run != lost}}))
    counts = {name: effect.estimate.n for name, effect in found.items() if effect.estimate}
    assert counts[("train.lr",), (1.0,)] == counts[("arm",), ("deep",)] == 4
    assert counts[("train.lr",), (2.0,)] == counts[("train.lr", "pool"), (2.0, True)] == 5


def test_one_seed_gives_estimates_without_intervals_and_decides_nothing() -> None:
    design, values = make_cells({"a": (1, 2)}, 1, lambda seed, a: a * 0.5)
    (effect,) = find_effects(design, {METRIC: values})
    assert effect.estimate is not None
    assert (effect.estimate.n, effect.estimate.mean, effect.estimate.low) == (1, 0.5, None)
    assert (effect.p, effect.p_holm, effect.verdict) == (None, None, "undecided")


def test_two_seeds_decide_nothing_however_alike_they_are() -> None:
    design, values = make_cells({"a": (1, 2)}, 2, lambda seed, a: a * 0.5 + (1e-6 * seed if a == 1 else 0))
    (effect,) = find_effects(design, {METRIC: values})
    assert effect.p is not None
    assert effect.p < 1e-4
    assert effect.verdict == "undecided"


def test_rounding_is_no_effect() -> None:
    """0.1 + 0.2 is not 0.3 to the last digit, and three such zeros with a hair of spread would be a discovery."""
    thirds = (0.1, 0.2, 0.3)

    def value(seed: int, a: int, b: int) -> float:
        return sum(thirds[: b + 1]) + seed if a else math.fsum(thirds[: b + 1]) + seed

    design, values = make_cells({"a": (0, 1), "b": (0, 1, 2)}, 4, value)
    found = by_name(find_effects(design, {METRIC: values}))
    effect = found[("a",), (1,)]
    assert effect.estimate is not None
    assert (effect.estimate.mean, effect.p, effect.verdict) == (0.0, 1.0, "undecided")


def test_seeds_that_change_nothing_decide_no_effect() -> None:
    design, values = make_cells({"a": (0, 1)}, 5, lambda seed, a: 0.3 + a * 0.2)
    (effect,) = find_effects(design, {METRIC: values})
    assert (effect.p, effect.verdict) == (None, "undecided")


def test_not_a_number_gives_no_effect() -> None:
    design, values = make_cells(
        {"a": (0, 1), "b": (0, 1)}, 4, lambda seed, a, b: math.nan if a and seed == 1 else seed + b
    )
    found = by_name(find_effects(design, {METRIC: values}))
    effect = found[("a",), (1,)]
    assert effect.estimate is not None
    assert math.isnan(effect.estimate.mean)
    assert (effect.estimate.low, effect.p, effect.verdict) == (None, None, "undecided")


def test_levels_are_told_apart_as_they_are_written() -> None:
    assert place_of(1.0, [0.02, 1]) == 1
    assert place_of(1, [0.02, 1.0]) == 1
    assert place_of(True, [0, 1]) is None
    assert place_of(1, [False, True]) is None
    assert place_of([8, 16], [[4], [8, 16]]) == 1
    assert place_of("1", [1]) is None


def test_weights_compare_a_level_with_the_mean_of_others() -> None:
    assert change(2, [0, 1]) == {0: -0.5, 1: -0.5, 2: 1.0}


# --- through the registry -----------------------------------------------------------------------------------------

GRID = """
[grid]
"train.lr" = [1e-3, 2e-3, 4e-3]
"projector.image.bias" = [true, false]
"""
#: Both arms are of a component that has a bias.
ARMS = ('[arm.deep.projector.image]\nuse = "deep"\ndepth = 2\n', "[arm.deep.encoder.text]\nwidth = 8\n")


def compare_plan(tmp_path: Path, plan: Plan | None = None, **options: Any) -> Comparison:
    with open_index(tmp_path / "runs" / "registry.db") as index:
        return compare(index, plan=plan, **options)


def figures(spec: RunSpec) -> dict[str, float]:
    draw = random.Random(f"{spec.arm} {spec.seed}")
    lr, bias = spec.point["train.lr"], spec.point["projector.image.bias"]
    value = 50 * lr + (0.1 if bias else 0) + (0.2 if spec.base_arm == "deep" else 0) + draw.gauss(0, 0.001)
    return {METRIC: value, "found/t2i@1": -value}


@pytest.fixture
def grid_file(toy_file: Write) -> Path:
    return toy_file(ARMS, ("seeds = [0, 1]", "seeds = [0, 1, 2, 3]\nheadline = ['found/i2t@1']"), append=GRID)


def test_a_grid_is_compared_by_its_factors_in_the_order_of_the_file(
    grid_file: Path, record_plan: Record, tmp_path: Path
) -> None:
    plan = record_plan(grid_file, figures)
    for comparison in (compare_plan(tmp_path, plan), compare_plan(tmp_path)):  # as the file says, as the registry says
        effects = comparison.effects
        assert [effect.factors for effect in effects if len(effect.factors) == 1] == [
            ("arm",), ("train.lr",), ("train.lr",), ("projector.image.bias",),
        ]  # fmt: skip
        found = by_name(effects)
        for name, reference, mean in (
            ((("arm",), ("deep",)), "flat", 0.2), ((("train.lr",), (0.004,)), 0.001, 0.15),
            ((("projector.image.bias",), (False,)), True, -0.1),
        ):  # fmt: skip
            effect = found[name]
            assert effect.references == (reference,)
            assert effect.estimate is not None
            assert effect.estimate.n == 4
            assert effect.estimate.mean == pytest.approx(
                mean, abs=0.003
            )  # of 12 and 24 draws with a deviation of 0.001
        assert found[("arm",), ("deep",)].verdict == "raises"
        assert found[("projector.image.bias",), (False,)].verdict == "lowers"
        assert {effect.metric for effect in effects} == {METRIC}


def test_effects_are_of_the_metrics_that_are_asked_for(grid_file: Path, record_plan: Record, tmp_path: Path) -> None:
    plan = record_plan(grid_file, figures)
    comparison = compare_plan(tmp_path, plan, metrics=["found/t2i@1"], at="step:20")
    assert {effect.metric for effect in comparison.effects} == {"found/t2i@1"}
    assert by_name(comparison.effects)[("arm",), ("deep",)].verdict == "lowers"
    nowhere = compare_plan(tmp_path, plan, metrics=["found/t2i@1"], at="step:3")
    assert {effect.estimate for effect in nowhere.effects} == {None}


def test_a_factor_that_the_runs_shown_do_not_vary_in_is_none(
    grid_file: Path, record_plan: Record, tmp_path: Path
) -> None:
    plan = record_plan(grid_file, figures)
    comparison = compare_plan(tmp_path, plan, where=["train.lr<3e-3", "arm!=x", "base_arm=flat"])
    assert {effect.factors for effect in comparison.effects} == {
        ("train.lr",), ("projector.image.bias",), ("train.lr", "projector.image.bias"),
    }  # fmt: skip
    assert comparison.missing == ()
    assert [effect.levels for effect in comparison.effects if effect.factors == ("train.lr",)] == [(0.002,)]


def test_a_level_without_any_run_is_missed_and_not_passed_over(
    grid_file: Path, record_plan: Record, tmp_path: Path
) -> None:
    plan = record_plan(grid_file, lambda spec: None if spec.point["train.lr"] == 4e-3 else figures(spec))
    found = by_name(compare_plan(tmp_path, plan).effects)
    assert found[("train.lr",), (0.004,)].estimate is None
    assert found[("arm",), ("deep",)].estimate is None  # it would be over other learning rates than the file says
    assert found[("train.lr",), (0.002,)].verdict == "raises"


def test_a_plan_of_some_arms_has_the_effects_of_the_rest(grid_file: Path, record_plan: Record, tmp_path: Path) -> None:
    plan = record_plan(grid_file, lambda spec: figures(spec) if spec.base_arm == "deep" else None).only(["deep"])
    found = by_name(compare_plan(tmp_path, plan).effects)
    assert {factors for factors, _ in found} == {
        ("train.lr",), ("projector.image.bias",), ("train.lr", "projector.image.bias"),
    }  # fmt: skip
    assert found[("train.lr",), (0.004,)].verdict == "raises"


def test_what_effects_rest_on_is_said(grid_file: Path, record_plan: Record, tmp_path: Path) -> None:
    plan = record_plan(
        grid_file, lambda spec: None if spec.seed == 2 and spec.point["train.lr"] == 2e-3 else figures(spec)
    )
    notes = compare_plan(tmp_path, plan).notes
    assert "effects rest on 3 to 4 of 4 seeds: a seed that lacks a run of an effect is left out of it" in notes


def test_runs_of_an_older_grid_are_left_out_and_named(
    grid_file: Path, record_plan: Record, toy_file: Write, tmp_path: Path
) -> None:
    record_plan(grid_file, figures)
    wider = toy_file(ARMS, ("seeds = [0, 1]", "seeds = [0]"), append=GRID.replace("[1e-3, 2e-3, 4e-3]", "[1e-3, 9e-3]"))
    record_plan(wider, figures)
    comparison = compare_plan(tmp_path, metrics=[METRIC])
    assert [effect.levels for effect in comparison.effects if effect.factors == ("train.lr",)] == [(0.009,)]
    (note,) = [note for note in comparison.notes if "not in the newest plan" in note]
    assert "flat,lr=0.004,bias=true" in note


def test_there_are_no_effects_without_a_grid_nor_by_another_key(
    toy_file: Write, grid_file: Path, record_plan: Record, tmp_path: Path
) -> None:
    plan = record_plan(grid_file, figures)
    assert compare_plan(tmp_path, plan, by="train.lr").effects == ()
    plain = toy_file(("seeds", 'name = "plain"\nseeds'), name="plain.toml")
    record_plan(plain, lambda spec: {METRIC: float(spec.seed)})
    with open_index(tmp_path / "runs" / "registry.db") as index:
        assert compare(index, ["plain"]).effects == ()
        assert compare(index, ["plain", "toy"]).effects == ()


def test_the_baseline_is_the_reference_of_arms(grid_file: Path, record_plan: Record, tmp_path: Path) -> None:
    grid_file.write_text(grid_file.read_text().replace('baseline = "flat"', 'baseline = "deep"'))
    found = by_name(compare_plan(tmp_path, record_plan(grid_file, figures)).effects)
    assert found[("arm",), ("flat",)].verdict == "lowers"
