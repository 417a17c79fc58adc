"""How often a comparison is wrong, and how often it finds what is there: simulated through ``compare`` on a real registry.

Every run records hundreds of metrics, and every metric, or handful of them, is one simulated comparison. The draws are fixed,
so a rate is the same every time; that it is one of a fair draw is what the allowance says. Of 1,000 comparisons that each err
with a probability of 4%, the level at which verdicts are given, 5% or more err in one draw of fifteen.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from trialbook.analysis.compare.compare import Comparison, compare
from trialbook.analysis.statistics import ALPHA
from trialbook.config.experiment import Experiment
from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.runspec import Plan, RunSpec
from trialbook.config.toml import Document
from trialbook.contracts.records import Record
from trialbook.registry.query import Registry, open_index
from trialbook.registry.recorder import Recorder

#: What is promised.
MOST_WRONG, LEAST_FOUND = 0.05, 0.80
#: Metrics are spread over this many experiments, so that no run has too many.
EXPERIMENTS = 8
SEEDS = 8
ARMS, POINTS = ("a", "b", "c", "d"), tuple({"x": x, "y": y} for x, y in product((1, 2), (1, 2)))
#: Arms of the table of arms, and those of the table of effects.
FACTORS = {"x": [1, 2], "y": [1, 2]}


def spec_of(experiment: str, arm: str, seed: int, point: Mapping[str, int], info: ExperimentInfo) -> RunSpec:
    label = ",".join([arm, *(f"{key}={value}" for key, value in point.items())])
    return RunSpec(
        experiment=experiment, arm=label, base_arm=arm, point=point, seed=seed, config={}, sources={}, id="0" * 8, info=info
    )  # fmt: skip


def arms_info(count: int) -> ExperimentInfo:
    return ExperimentInfo(baseline="a", arms=ARMS[:count], seeds=list(range(SEEDS)), changes={arm: [] for arm in ARMS})


def two_arms(experiment: str) -> list[RunSpec]:
    return [spec_of(experiment, arm, seed, {}, arms_info(2)) for arm in ARMS[:2] for seed in range(SEEDS)]


def four_arms(experiment: str) -> list[RunSpec]:
    return [spec_of(experiment, arm, seed, {}, arms_info(4)) for arm in ARMS for seed in range(5)]


def grid(experiment: str) -> list[RunSpec]:
    runs = [spec_of(experiment, "main", seed, point, ExperimentInfo()) for point in POINTS for seed in range(SEEDS)]
    arms = list(dict.fromkeys(run.arm for run in runs))
    info = ExperimentInfo(factors=FACTORS, arms=arms, seeds=list(range(SEEDS)), changes={"main": []})
    return [replace(run, info=info) for run in runs]


def noise(draw: random.Random, spec: RunSpec) -> float:
    """A metric as good in every run."""
    return draw.gauss(0.5, 0.1)


def hits(draw: random.Random, spec: RunSpec) -> float:
    """Recall at chance: the share of 512 queries that hit, one being expected."""
    gaps = itertools.accumulate(draw.expovariate(1) for _ in range(30))  # 30 hits never happen
    return sum(gap < 1 for gap in gaps) / 512


def failing(draw: random.Random, spec: RunSpec) -> float:
    """Training that fails in a run of three, in every arm."""
    return draw.gauss(0.5, 0.02) if draw.random() < 2 / 3 else 1 / 512


def apart(draw: random.Random, spec: RunSpec) -> float:
    """A true difference of two standard deviations of a single run, and as much for a factor of a grid."""
    return draw.gauss(0.5, 0.1) + (0.2 if spec.base_arm == "b" or spec.point.get("x") == 2 else 0)


#: Name of the experiments -> their runs, and of each kind of metric how many there are in all.
SIMULATED: dict[str, tuple[Callable[[str], list[RunSpec]], dict[Callable[..., float], int]]] = {
    "two": (two_arms, {noise: 1000, apart: 400}),
    "odd": (two_arms, {hits: 1000, failing: 1000}),
    "four": (four_arms, {noise: 2000}),
    "grid": (grid, {noise: 2000, apart: 400}),
}


@pytest.fixture(scope="module")
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The registry of the simulated experiments that a test names."""
    root, (runs, kinds) = tmp_path_factory.mktemp("runs"), SIMULATED[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)  # nothing here needs to outlive the power
        for number in range(EXPERIMENTS):
            for spec in runs(f"{request.param}{number}"):
                write_run(root, spec, kinds)
    with open_index(root / "registry.db") as index:
        yield index


def simulated(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("registry", [name], indirect=True)


def write_run(root: Path, spec: RunSpec, kinds: Mapping[Callable[..., float], int]) -> None:
    draw = random.Random(f"{spec.experiment} {spec.arm} {spec.seed}")
    figures = {
        f"{kind.__name__}/{index}": kind(draw, spec)
        for kind, count in kinds.items()
        for index in range(count // EXPERIMENTS)
    }
    with Recorder(root / spec.relative_path, None) as recorder:
        recorder.start(spec, {}, {})
        recorder.add(Record(1, figures))
        recorder.finish({})


def tables(name: str, kind: Callable[..., float], size: int = 1) -> Iterator[tuple[str, list[str]]]:
    """Experiments, each with so many of its metrics at a time; every metric once."""
    count = SIMULATED[name][1][kind] // EXPERIMENTS
    for number in range(EXPERIMENTS):
        for start in range(0, count - size + 1, size):
            yield f"{name}{number}", [f"{kind.__name__}/{start + index}" for index in range(size)]


def winners(comparison: Comparison) -> int:
    return sum(row.verdict in ("better", "worse") for row in comparison.rows)


def rate(what: str, hit: list[bool], say: Callable[[str], None]) -> float:
    share = sum(hit) / len(hit)
    say(f"{what}: {share:.1%} of {len(hit)}")
    return share


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints past pytest's capturing, so that the rates are in every report."""

    def show(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="")

    return show


@simulated("two")
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_between_equal_arms_a_winner_is_declared_in_at_most_5_percent(
    registry: Registry, seeds: int, say: Callable[[str], None]
) -> None:
    found = [
        winners(compare(registry, [name], metrics=metrics, where=[f"seed<{seeds}"])) > 0
        for name, metrics in tables("two", noise)
    ]
    assert len(found) == 1000
    share = rate(f"winners between 2 equal arms, {seeds} seeds", found, say)
    assert share <= MOST_WRONG
    # No test that never decides: three standard deviations of a binomial below its level.
    assert share >= ALPHA - 3 * (ALPHA * (1 - ALPHA) / len(found)) ** 0.5


@pytest.mark.slow
@simulated("odd")
@pytest.mark.parametrize("kind", [hits, failing])
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_a_winner_between_equal_arms_is_as_rare_where_figures_are_not_normal(
    registry: Registry, kind: Callable[..., float], seeds: int, say: Callable[[str], None]
) -> None:
    found = [
        winners(compare(registry, [name], metrics=metrics, where=[f"seed<{seeds}"])) > 0
        for name, metrics in tables("odd", kind)
    ]
    share = rate(f"winners between 2 equal arms, {kind.__name__}, {seeds} seeds", found, say)
    assert share <= MOST_WRONG


@pytest.mark.slow
@simulated("four")
def test_a_whole_table_of_equal_arms_has_a_winner_in_at_most_5_percent(
    registry: Registry, say: Callable[[str], None]
) -> None:
    found = [winners(compare(registry, [name], metrics=metrics)) > 0 for name, metrics in tables("four", noise, 2)]
    assert rate("tables of 4 equal arms × 2 metrics with any winner, 5 seeds", found, say) <= MOST_WRONG


def asking(experiment: str, metrics: list[str]) -> Plan:
    """A plan of a grid that claims of every metric that x = 2 makes it higher."""
    claims = [{"factor": "x", "level": 2, "metric": metric, "direction": "higher"} for metric in metrics]
    runs = [replace(run, info=replace(run.info, claims=claims)) for run in grid(experiment)]
    return Plan(Experiment(Path("grid.toml"), experiment, "", Document()), tuple(runs))


@pytest.mark.slow
@simulated("grid")
def test_of_factors_that_do_nothing_no_effect_is_found_and_no_claim_answered_in_more_than_5_percent(
    registry: Registry, say: Callable[[str], None]
) -> None:
    answers = [
        compare(registry, metrics=metrics, plan=asking(name, metrics)) for name, metrics in tables("grid", noise, 2)
    ]
    assert {len(one.effects) for one in answers} == {6}  # 2 main effects and their interaction, on 2 metrics
    effects = [any(effect.verdict != "undecided" for effect in one.effects) for one in answers]
    claims = [any(claim.verdict != "undecided" for claim in one.claims) for one in answers]
    single = [any(e.verdict != "undecided" for claim in one.claims for e in claim.conditional) for one in answers]
    assert rate("tables of 6 effects of nothing with any found, 8 seeds", effects, say) <= MOST_WRONG
    assert rate("pairs of claims about nothing with any answer, 8 seeds", claims, say) <= MOST_WRONG
    assert rate("their 4 differences at single levels with any found", single, say) <= MOST_WRONG


@simulated("two")
def test_a_true_difference_of_two_standard_deviations_is_found_with_8_seeds_in_at_least_80_percent(
    registry: Registry, say: Callable[[str], None]
) -> None:
    rows = [compare(registry, [name], metrics=metrics).rows for name, metrics in tables("two", apart)]
    found = [any(row.verdict == "better" for row in table) for table in rows]
    assert not any(row.verdict == "worse" for table in rows for row in table)
    assert rate("a difference of 2 standard deviations found, 8 seeds", found, say) >= LEAST_FOUND


@pytest.mark.slow
@simulated("grid")
def test_a_true_effect_of_two_standard_deviations_is_found_and_a_claim_of_it_supported(
    registry: Registry, say: Callable[[str], None]
) -> None:
    answers = [
        compare(registry, metrics=metrics, plan=asking(name, metrics)) for name, metrics in tables("grid", apart)
    ]
    found = [one.effects[0].verdict == "raises" for one in answers]
    supported = [one.claims[0].verdict == "supported" for one in answers]
    assert rate("a main effect of 2 standard deviations found, 2 × 2 cells × 8 seeds", found, say) >= LEAST_FOUND
    assert rate("a claim of it supported", supported, say) >= LEAST_FOUND
    assert not any(one.claims[0].verdict == "not supported" for one in answers)
