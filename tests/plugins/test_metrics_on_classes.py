"""Metrics that compare embeddings with classes, against independent implementations."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_windows import LOSS, WindowSplit, run_folder, run_windows
from numpy.typing import NDArray
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from trialbook.contracts.datasets import Modality
from trialbook.contracts.files import read_json
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.testing import MadeUpDataset, check_component
from trialbook_plugins.metrics._agreement import (
    adjusted_rand_index,
    matched_accuracy,
    normalized_mutual_information,
)
from trialbook_plugins.metrics.clustering import Clustering
from trialbook_plugins.metrics.label_retrieval import LabelRetrieval
from trialbook_plugins.metrics.linear_probe import LinearProbe
from trialbook_plugins.metrics.series_statistics import SeriesStatistics, statistics
from trialbook_plugins.metrics.zero_shot import ZeroShot
from trialbook_plugins.tasks._tags import Classes, row_tags

WINDOWS = {"sensor": Modality("series", (16, 2)), "text": Modality("vector", (4,))}


def blobs(seed: int, groups: int = 60, kinds: int = 4, noise: float = 0.6) -> dict[str, Any]:
    """Two modalities around a direction for each class, with two texts a group; what metrics are handed."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(kinds, 8))
    classes = random.integers(0, kinds, groups)
    of = {"sensor": np.arange(groups), "text": np.repeat(np.arange(groups), 2)}
    rows = {name: centres[classes[own]] + random.normal(0, noise, (len(own), 8)) for name, own in of.items()}
    return {
        "embeddings": {name: torch.from_numpy(x).float() for name, x in rows.items()},
        "groups": {name: torch.from_numpy(own) for name, own in of.items()},
        "classes": torch.from_numpy(classes),
        "content": {name: torch.arange(len(own)) for name, own in of.items()},
    }


def only(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names}


FOR_LABELS = ("embeddings", "groups", "classes")
FOR_ZERO = (*FOR_LABELS, "content")


def unit(x: torch.Tensor) -> NDArray[np.float64]:
    rows = x.double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("kind", "name", "options"), [
    ("label_retrieval", "LabelRetrieval", {"k": [1, 3]}), ("label_retrieval", "LabelRetrieval", {"own": False, "chunk": 2}),
    ("zero_shot", "ZeroShot", {}), ("zero_shot", "ZeroShot", {"captions": "train"}),
    ("clustering", "Clustering", {"clusters": 2, "steps": 2, "heads": 1, "restarts": 1}),
    ("clustering", "Clustering", {"method": ["k-means"], "restarts": 1}),
    ("linear_probe", "LinearProbe", {}), ("linear_probe", "LinearProbe", {"c": 1.0}),
])  # fmt: skip
def test_it_conforms(kind: str, name: str, options: dict[str, Any]) -> None:
    check_component(f"trialbook_plugins.metrics.{kind}:{name}", "metric", options=options)


# --- groups without a class ---------------------------------------------------------------------------------------------


def with_unlabelled(given: dict[str, Any], more: int = 9) -> dict[str, Any]:
    """The same with groups behind it that have no class."""
    random, groups = torch.Generator().manual_seed(1), len(given["classes"])
    extra = torch.arange(groups, groups + more)
    return {
        "embeddings": {name: torch.cat([x, torch.randn(more, 8, generator=random)]) for name, x in given["embeddings"].items()},
        "groups": {name: torch.cat([own, extra]) for name, own in given["groups"].items()},
        "classes": torch.cat([given["classes"], torch.full((more,), -1)]),
        "content": {name: torch.cat([one, 10**6 + extra]) for name, one in given["content"].items()},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "needs"),
    [
        (LabelRetrieval(k=[1, 5]), FOR_LABELS), (LabelRetrieval(k=[2], own=False), FOR_LABELS), (ZeroShot(), FOR_ZERO),
        (ZeroShot(captions="train"), (*FOR_ZERO, "train")), (Clustering(method=["k-means"]), FOR_LABELS),
        (LinearProbe(c=1.0), (*FOR_LABELS, "train")),
    ],
)  # fmt: skip
def test_groups_without_a_class_change_no_metric_on_classes(metric: Any, needs: tuple[str, ...]) -> None:
    given, train = blobs(3, noise=1.2), blobs(4, noise=1.2)
    plain = metric.compute(**only({**given, "train": train}, *needs))
    found = metric.compute(**only({**with_unlabelled(given), "train": with_unlabelled(train)}, *needs))
    assert found == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("metric", [LabelRetrieval(), Clustering(method=["k-means"])])
def test_a_metric_on_classes_is_refused_where_nothing_has_one(metric: Any) -> None:
    given = blobs(3)
    with pytest.raises(TrialbookError, match="class"):
        metric.compute(**only({**given, "classes": torch.full_like(given["classes"], -1)}, *FOR_LABELS))


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ([2, -1, 5, 2], [0, -1, 1, 0]), ([-100, 0, 3, 0], [-1, 0, 1, 0]), ([-1, 1, 1, -1], [0, 1, 1, 0]),
        ([0.0, math.nan, 2.0, -1.0], [0, -1, 1, -1]), (["b", "", "a", " "], [1, -1, 0, -1]),
        ([None, "a", "b", "a"], [-1, 0, 1, 0]),
        ([None, 3, -1, 7], [-1, 0, -1, 1]),
    ],
)  # fmt: skip
def test_what_says_no_class_is_none(values: list[Any], numbers: list[int]) -> None:
    splits = MadeUpDataset({"text": Modality("vector", (2,))}, {"label": values}, groups=4).splits()
    classes = Classes(splits)
    assert classes.demand("train", "a metric").tolist() == numbers
    tags = row_tags(["classes"], splits["train"], "text", classes.of("train"))["classes"]
    assert [tag for tag in tags.tolist() if tag >= 0] == [number for number in numbers if number >= 0]
    assert len(set(tags[tags < 0].tolist())) == numbers.count(-1)  # a loss takes no two of them for the same class


def test_a_split_without_any_class_has_none() -> None:
    splits = MadeUpDataset({"text": Modality("vector", (2,))}, {"label": [-1] * 4}, groups=4).splits()
    assert Classes(splits).of("train") is None


# --- retrieval by label ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
def test_retrieval_by_label_is_that_of_rankings_made_by_hand(own: bool) -> None:
    given = blobs(0)
    figures = LabelRetrieval(k=[1, 5], own=own, chunk=7).compute(**only(given, *FOR_LABELS))
    for pair, a, b in (("s2t", "sensor", "text"), ("t2s", "text", "sensor")):
        cosines = unit(given["embeddings"][a]) @ unit(given["embeddings"][b]).T
        truth = given["classes"].numpy()[given["groups"][a]], given["classes"].numpy()[given["groups"][b]]
        precision, recall, average, chance = [], [], [], []
        for query in range(len(cosines)):
            keep = np.ones(cosines.shape[1], bool)
            if not own:
                keep = given["groups"][b].numpy() != given["groups"][a].numpy()[query]
            right = (truth[1] == truth[0][query])[keep]
            first = right[np.argsort(-cosines[query][keep])[:5]]
            precision.append(first.mean())
            recall.append(first.any())
            average.append(reference.average_precision_score(right, cosines[query][keep]))
            chance.append(right.mean())
        assert figures[f"{pair}/precision@5"] == pytest.approx(np.mean(precision), abs=1e-12)
        assert figures[f"{pair}/recall@5"] == pytest.approx(np.mean(recall), abs=1e-12)
        assert figures[f"{pair}/map"] == pytest.approx(np.mean(average), abs=1e-12)
        assert figures[f"{pair}/chance"] == pytest.approx(np.mean(chance), abs=1e-12)


def test_tied_rows_count_as_the_mean_over_all_their_orders() -> None:
    """Seven texts on three places, of three classes: every order of the tied is gone through."""
    places, kinds = [0, 0, 0, 1, 1, 1, 2], [0, 1, 0, 1, 1, 0, 2]
    texts = torch.eye(3)[places] + torch.tensor([3.0, 2.0, 1.0])[places][:, None] * torch.tensor([0.2, 0.1, 0.0])
    sensors = torch.tensor([[1.0, 0.5, 0.2]]).repeat(3, 1)
    classes = torch.tensor([0, 1, 2, *kinds])
    figures = LabelRetrieval(k=[1, 2, 4]).compute(
        embeddings={"sensor": sensors, "text": texts},
        groups={"sensor": torch.arange(3), "text": torch.arange(3, 10)}, classes=classes,
    )  # fmt: skip
    cosines = (unit(sensors) @ unit(texts).T)[0]
    blocks = [[i for i in range(7) if places[i] == place] for place in sorted(range(3), key=lambda p: -cosines[p * 3])]
    orders = [
        list(itertools.chain(*parts)) for parts in itertools.product(*(itertools.permutations(b) for b in blocks))
    ]
    for k in (1, 2, 4):
        found = [[np.array(kinds)[order[:k]] == query for order in orders] for query in range(3)]
        assert figures[f"s2t/precision@{k}"] == pytest.approx(np.mean(found), abs=1e-12)
        assert figures[f"s2t/recall@{k}"] == pytest.approx(np.mean(np.any(found, axis=2)), abs=1e-12)
    average = []
    for query in range(3):
        for order in orders:
            right = np.array(kinds)[order] == query
            average.append((np.cumsum(right) / np.arange(1, 8))[right].mean())
    assert figures["s2t/map"] == pytest.approx(np.mean(average), abs=1e-12)


def test_a_collapsed_model_retrieves_by_label_at_chance() -> None:
    given = blobs(1)
    given["embeddings"] = {name: torch.ones_like(x) for name, x in given["embeddings"].items()}
    figures = LabelRetrieval(k=[1, 5]).compute(**only(given, *FOR_LABELS))
    assert figures["s2t/precision@1"] == pytest.approx(figures["s2t/chance"], abs=1e-12)
    assert figures["s2t/precision@5"] == pytest.approx(figures["s2t/chance"], abs=1e-12)


def test_an_embedding_that_is_not_finite_makes_figures_nan() -> None:
    given = blobs(1)
    given["embeddings"]["text"][3, 2] = float("nan")
    assert all(math.isnan(value) for value in LabelRetrieval().compute(**only(given, *FOR_LABELS)).values())
    assert all(math.isnan(value) for value in ZeroShot().compute(**only(given, *FOR_ZERO)).values())
    figures = Clustering(method=["k-means"]).compute(**only(given, *FOR_LABELS))
    assert math.isnan(figures["text/k-means/ari"])
    assert not math.isnan(figures["sensor/k-means/ari"])


# --- zero-shot ------------------------------------------------------------------------------------------------------


def by_prototypes(
    queries: NDArray[Any], rows: NDArray[Any], kinds: NDArray[Any], content: NDArray[Any]
) -> NDArray[Any]:
    """The nearest class of every query, with loops."""
    prototypes = []
    for kind in np.unique(kinds):
        distinct = {content[i]: rows[i] for i in np.flatnonzero(kinds == kind)[::-1]}
        prototypes.append(np.mean(list(distinct.values()), axis=0))
    near = queries @ np.array([p / np.linalg.norm(p) for p in prototypes]).T
    return np.unique(kinds)[near.argmax(axis=1)]


@pytest.mark.parametrize("captions", ["split", "train"])
def test_zero_shot_takes_every_distinct_caption_once_and_agrees_with_scikit_learn(captions: Any) -> None:
    given, train = blobs(2, noise=1.5), blobs(3, noise=1.5)
    for one in (given, train):  # some captions stand several times, with the same embedding
        one["content"]["text"][10:40] = one["content"]["text"][10]
        one["classes"][5:20] = one["classes"][5]
        one["embeddings"]["text"][10:40] = one["embeddings"]["text"][10].clone()
    told = given if captions == "split" else train
    more = {} if captions == "split" else {"train": train}
    figures = ZeroShot(captions=captions).compute(**only(given, *FOR_ZERO), **more)
    truth = given["classes"].numpy()
    predicted = by_prototypes(
        unit(given["embeddings"]["sensor"]), unit(told["embeddings"]["text"]),
        told["classes"].numpy()[told["groups"]["text"]], told["content"]["text"].numpy(),
    )  # fmt: skip
    assert figures["s2t/accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted), abs=1e-12)
    assert figures["s2t/macro_f1"] == pytest.approx(reference.f1_score(truth, predicted, average="macro"), abs=1e-12)
    assert figures["s2t/majority"] == pytest.approx(np.bincount(truth).max() / len(truth), abs=1e-12)
    assert figures["s2t/chance"] == 0.25
    assert 0.3 < figures["s2t/accuracy"] < 1


def test_a_collapsed_model_classifies_at_chance() -> None:
    given = blobs(4)
    given["embeddings"] = {name: torch.ones_like(x) for name, x in given["embeddings"].items()}
    figures = ZeroShot().compute(**only(given, *FOR_ZERO))
    assert figures["s2t/accuracy"] == pytest.approx(figures["s2t/chance"], abs=1e-12)


# --- clustering -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kinds", "clusters"), [(3, 3), (3, 5), (5, 3), (1, 3), (4, 1), (1, 1)])
def test_agreement_of_partitions_is_that_of_scikit_learn(kinds: int, clusters: int) -> None:
    random = np.random.default_rng(kinds * 10 + clusters)
    for _ in range(5):
        truth, found = random.integers(0, kinds, 60) * 7, random.integers(0, clusters, 60)
        found = np.where(random.random(60) < 0.5, truth // 7 % clusters, found)
        nmi, ari = reference.normalized_mutual_info_score(truth, found), reference.adjusted_rand_score(truth, found)
        assert normalized_mutual_information(truth, found) == pytest.approx(nmi, abs=1e-12)
        assert adjusted_rand_index(truth, found) == pytest.approx(ari, abs=1e-12)
        names = [*np.unique(truth), *[-1] * clusters]  # a cluster may stand for no class
        best = max(
            sum(int(((found == cluster) & (truth == name)).sum()) for cluster, name in enumerate(chosen))
            for chosen in set(itertools.permutations(names, clusters))
        )
        assert matched_accuracy(truth, found) == pytest.approx(best / 60, abs=1e-12)
    assert matched_accuracy(truth, truth) == 1
    assert normalized_mutual_information(truth, truth) == pytest.approx(1, abs=1e-12)
    assert adjusted_rand_index(truth, truth) == 1


@pytest.mark.parametrize("method", ["k-means", "scan"])
def test_clusters_that_lie_apart_are_found_and_noise_is_not(method: Any) -> None:
    found = Clustering(method=[method]).compute(**only(blobs(5, groups=200, noise=0.2), *FOR_LABELS))
    assert found[f"sensor/{method}/accuracy"] > 0.97
    assert found[f"text/{method}/ari"] > 0.95
    lost = blobs(5, groups=200)
    lost["embeddings"] = {name: torch.randn(x.shape) for name, x in lost["embeddings"].items()}
    assert Clustering(method=[method]).compute(**only(lost, *FOR_LABELS))[f"sensor/{method}/nmi"] < 0.1


@pytest.mark.parametrize("method", ["k-means", "scan"])
def test_clusters_depend_on_no_random_numbers_of_the_run(method: Any) -> None:
    given = only(blobs(6, noise=1.0), *FOR_LABELS)
    torch.manual_seed(1)
    one = Clustering(method=[method]).compute(**given)
    state = torch.get_rng_state()
    other = Clustering(method=[method]).compute(**given)
    assert one == other
    assert torch.equal(state, torch.get_rng_state())


def test_a_collapsed_model_has_no_clusters() -> None:
    given = only(blobs(6), *FOR_LABELS)
    given["embeddings"] = {name: torch.ones_like(x) for name, x in given["embeddings"].items()}
    figures = Clustering().compute(**given)
    assert abs(figures["sensor/k-means/ari"]) < 1e-9
    assert abs(figures["text/scan/ari"]) < 0.05


def test_too_few_rows_for_the_clusters_are_refused() -> None:
    with pytest.raises(TrialbookError, match=r"'sensor' has 10 rows, too few for 20 clusters"):
        Clustering(clusters=20).compute(**only(blobs(6, groups=10), *FOR_LABELS))


# --- probes ---------------------------------------------------------------------------------------------------------


def test_the_probe_is_scikit_learn_s_regression_fitted_on_the_train_split() -> None:
    given, train = blobs(7, noise=1.5), blobs(8, groups=90, noise=1.5)
    figures = LinearProbe(c=0.1).compute(**only(given, *FOR_LABELS), train=train)
    for name in ("sensor", "text"):
        rows, known = train["embeddings"][name].double().numpy(), train["classes"].numpy()[train["groups"][name]]
        scale = StandardScaler().fit(rows)
        model = LogisticRegression(C=0.1, max_iter=1000).fit(scale.transform(rows), known)
        predicted = model.predict(scale.transform(given["embeddings"][name].double().numpy()))
        truth = given["classes"].numpy()[given["groups"][name]]
        assert figures[f"{name}/accuracy"] == pytest.approx((predicted == truth).mean(), abs=1e-12)
        score = reference.f1_score(truth, predicted, average="macro")
        assert figures[f"{name}/macro_f1"] == pytest.approx(score, abs=1e-12)


def test_what_the_penalty_is_depends_on_the_train_split_alone() -> None:
    train = blobs(8, groups=90, noise=1.5)
    scored = [blobs(seed, noise=1.5) for seed in (7, 9)]
    chosen = [LinearProbe().compute(**only(one, *FOR_LABELS), train=train) for one in scored]
    for one, found in zip(scored, chosen, strict=True):
        fixed = [LinearProbe(c=c).compute(**only(one, *FOR_LABELS), train=train) for c in (0.01, 0.1, 1.0, 10.0)]
        assert found in fixed
    with pytest.raises(TrialbookError, match="one class only"):
        LinearProbe().compute(
            **only(scored[0], *FOR_LABELS), train={**train, "classes": torch.zeros_like(train["classes"])}
        )


def test_statistics_of_a_window_are_those_of_numpy() -> None:
    random = np.random.default_rng(0)
    windows = random.normal(size=(5, 20, 3)).astype(np.float32)
    windows[2, :, 1] = 4.0  # a constant channel
    time = np.arange(20)
    windows[3, :, 0] = np.sin(2 * np.pi * 3 / 20 * time)
    found = statistics(windows)
    for row, window in zip(found, windows.astype(np.float64), strict=True):
        expected = [
            window.mean(0), window.std(0), window.min(0), window.max(0), np.quantile(window, 0.25, axis=0),
            np.median(window, axis=0), np.quantile(window, 0.75, axis=0), (window**2).mean(0),
        ]  # fmt: skip
        assert row[:24] == pytest.approx(np.concatenate(expected), abs=1e-12)
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found[0, -3:] == pytest.approx([np.corrcoef(windows[0].T.astype(float))[i, j] for i, j in pairs], abs=1e-12)
    assert found[2, -3] == found[2, -1] == found[2, 25] == 0
    assert found[3, 24] == pytest.approx(3 / 20)
    lengths = [windows[0], windows[1][:7]]
    assert statistics(lengths)[0] == pytest.approx(found[0], abs=1e-12)
    assert statistics(lengths).shape == (2, 30)


def test_statistics_are_of_exactly_the_windows_of_the_splits() -> None:
    split, learned = WindowSplit("test", True), WindowSplit("train", True)
    metric = SeriesStatistics(WINDOWS, series="sensor", c=1.0)
    train = {"split": learned, "classes": torch.from_numpy(learned.numbers)}
    figures = metric.compute(classes=torch.from_numpy(split.numbers), split=split, train=train)
    scale = StandardScaler().fit(statistics(learned.rows["sensor"]))
    model = LogisticRegression(C=1.0, max_iter=1000)
    model.fit(scale.transform(statistics(learned.rows["sensor"])), learned.numbers)
    predicted = model.predict(scale.transform(statistics(split.rows["sensor"])))
    assert figures["sensor/accuracy"] == pytest.approx((predicted == split.numbers).mean(), abs=1e-12)
    assert figures["sensor/majority"] == pytest.approx(1 / 3)
    inputs = {"classes": torch.from_numpy(split.numbers), "split": split, "train": train}
    check_component(
        SeriesStatistics, "metric", injected={"modalities": WINDOWS}, options={"series": "sensor"}, inputs=inputs
    )
    split.rows["sensor"][5, 3] = np.nan
    with pytest.raises(TrialbookError, match="row 5 of 'sensor' in split 'test' has a value that is not finite"):
        SeriesStatistics(WINDOWS, series="sensor").compute(**inputs)
    with pytest.raises(ValueError, match=r"series \(text\) is of kind vector"):
        SeriesStatistics(WINDOWS, series="text")
    with pytest.raises(ValueError, match=r"series \(wrist\) names no modality; there are sensor, text"):
        SeriesStatistics(WINDOWS, series="wrist")


# --- in a run -------------------------------------------------------------------------------------------------------

METRICS = """
[[metric]]
use = "label-retrieval"
k = [1]
[[metric]]
use = "zero-shot"
[[metric]]
use = "zero-shot"
name = "by-train"
captions = "train"
[[metric]]
use = "clustering"
steps = 50
[[metric]]
use = "linear-probe"
[[metric]]
use = "series-statistics"
series = "sensor"
"""


def test_a_run_records_probe_and_baseline_side_by_side(tmp_path: Path) -> None:
    top = 'headline = ["linear-probe/sensor/accuracy", "series-statistics/sensor/accuracy", "by-train/s2t/accuracy"]'
    (outcome,) = run_windows(tmp_path, LOSS + METRICS, top=top)
    assert outcome.state == "finished", outcome.message
    found = read_json(run_folder(tmp_path) / "results.json")["metrics"]
    last = {name: summary["last"] for name, summary in found.items()}
    assert last["series-statistics/sensor/accuracy"] > 0.9
    assert last["linear-probe/sensor/accuracy"] > 0.5
    assert last["by-train/s2t/chance"] == pytest.approx(1 / 3)
    assert last["val/zero-shot/s2t/chance"] == pytest.approx(1 / 2)
    assert last["val/zero-shot/s2t/majority"] == pytest.approx(1 / 2)  # val has two of the three classes
    assert last["clustering/text/k-means/accuracy"] > 0.6


@pytest.mark.parametrize("name", ["label-retrieval", "zero-shot", "clustering", "linear-probe"])
def test_data_without_classes_are_refused_before_training(name: str, tmp_path: Path) -> None:
    (outcome,) = run_windows(tmp_path, f'{LOSS}\n[[metric]]\nuse = "{name}"', dataset="labelled = false")
    assert outcome.state == "failed"
    assert f"metric '{name}' needs a class of every group, but split" in outcome.message
    assert not (run_folder(tmp_path) / "metrics.jsonl").read_bytes()


def test_a_series_that_the_data_do_not_have_is_refused_at_its_line(tmp_path: Path) -> None:
    (outcome,) = run_windows(tmp_path, f'{LOSS}\n[[metric]]\nuse = "series-statistics"\nseries = "wrist"')
    assert "series (wrist) names no modality" in outcome.message
    assert "windows.toml:" in outcome.message


def test_a_figure_that_a_metric_does_not_give_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentErrors, match="did you mean 'clustering/sensor/scan/nmi'"):
        run_windows(tmp_path, LOSS + METRICS, top='headline = ["clustering/sensor/scan/nmy"]')
