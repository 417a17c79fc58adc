"""Measures of similarity against independent implementations, their definitions, and noise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial
import scipy.stats
import torch
from linear_similarity import linear_similarity
from sklearn.linear_model import Ridge as SkRidge
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.neighbors import NearestNeighbors

from trialbook.errors import TrialbookError
from trialbook_plugins.probes.cka import (
    LinearSimilarity,
    PairSums,
)
from trialbook_plugins.probes.pairwise import overlap_chance
from trialbook_plugins.probes.regression import folds_of, r2_interval, ridge_r2
from trialbook_plugins.probes.resampling import bootstrap_interval, centred_interval, half_samples, permutations_of
from trialbook_plugins.probes.ridge import Ridge, RidgeSums, one_hot
from trialbook_plugins.probes.similarity import PairedSets


def related(n: int, p: int, q: int, seed: int = 0, noise: float = 1.0, offset: float = 3.0):
    """Two sets [n, p] and [n, q] that share 3 directions, far from the origin."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 3))
    x = shared @ rng.standard_normal((3, p)) + noise * rng.standard_normal((n, p)) + offset
    y = shared @ rng.standard_normal((3, q)) + noise * rng.standard_normal((n, q)) - offset
    return x, y


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC₁ of Song et al. with the Gram matrices written out."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    value = (
        np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 * (one @ k @ m @ one) / (n - 2)
    )
    return value / (n * (n - 3))


@pytest.mark.parametrize(("p", "q", "chunk"), [(5, 9, 7), (40, 3, 64), (90, 70, 13)])
def test_unbiased_cka_in_one_pass_is_its_definition_whatever_the_chunks(p: int, q: int, chunk: int) -> None:
    """Within 1e-10 relative: both are float64, and the definition does not shift the samples first."""
    x, y = related(60, p, q)
    expected = by_definition(x, y) / np.sqrt(by_definition(x, x) * by_definition(y, y))
    assert linear_similarity(x, y, chunk=chunk).cka()["x", "y"] == pytest.approx(expected, rel=1e-10)
    sums = PairSums(p, q)
    sums.add(torch.from_numpy(x), torch.from_numpy(y))
    assert sums.hsic() == pytest.approx(by_definition(x, y), rel=1e-10)


def test_cka_agrees_with_ckatorch() -> None:
    """Within 1e-12: float64 in both, on samples near the origin so that neither loses digits."""
    core, hsic = pytest.importorskip("ckatorch.core"), pytest.importorskip("ckatorch.hsic")
    x, y = (torch.from_numpy(rows) for rows in related(80, 30, 20, offset=0.0))
    grams = [(rows @ rows.T)[None] for rows in (x, y)]
    own = [float(hsic.hsic1(gram, gram)) for gram in grams]
    expected = float(hsic.hsic1(*grams)) / (own[0] * own[1]) ** 0.5
    assert linear_similarity(x, y).cka()["x", "y"] == pytest.approx(expected, abs=1e-12)
    assert linear_similarity(x, y).biased_cka()["x", "y"] == pytest.approx(float(core.cka_base(x, y)), abs=1e-12)


@pytest.mark.slow
def test_independent_noise_is_told_from_a_relation_only_by_the_unbiased_estimate() -> None:
    """The widths and the number of samples of a published study, whose biased metric noise alone reproduces."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((360, width), dtype=np.float32) for width in (3584, 8192))
    sums = linear_similarity(x, y, chunk=360)
    assert abs(sums.cka()["x", "y"]) < 0.01
    assert sums.biased_cka()["x", "y"] == pytest.approx(0.93, abs=0.01)


def test_many_sets_in_one_pass_are_each_pair_by_itself() -> None:
    x, y = related(50, 12, 8)
    sums = LinearSimilarity({"a": 12, "b": 4}, {"c": 8})
    for part in (slice(0, 17), slice(17, 50)):
        sums.add({"a": x[part], "b": x[part, :4]}, {"c": y[part]})
    assert sums.cka() == {
        ("a", "c"): pytest.approx(linear_similarity(x, y).cka()["x", "y"], abs=1e-12),
        ("b", "c"): pytest.approx(linear_similarity(x[:, :4], y).cka()["x", "y"], abs=1e-12),
    }
    with pytest.raises(TrialbookError, match="different numbers of samples"):
        sums.add({"a": x, "b": x[:, :4]}, {"c": y[:-1]})


def test_a_rotated_copy_is_the_same_and_a_constant_set_has_no_similarity() -> None:
    x, _ = related(40, 6, 6)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]
    sums = linear_similarity(x, 5 * x @ turn + 2)
    assert sums.cka()["x", "y"] == pytest.approx(1, abs=1e-10)
    assert sums.procrustes()["x", "y"] == pytest.approx(0, abs=1e-10)
    assert np.isnan(linear_similarity(x, np.ones((40, 3))).cka()["x", "y"])


def test_procrustes_is_scipys_disparity() -> None:
    x, y = related(50, 7, 7, noise=3.0)
    expected = scipy.spatial.procrustes(x, y)[2]
    assert linear_similarity(x, y, chunk=9).procrustes()["x", "y"] == pytest.approx(expected, abs=1e-12)


def test_effective_rank_is_the_entropy_of_singular_values() -> None:
    x, y = related(50, 7, 60, noise=0.1)
    left, right = linear_similarity(x, y).effective_rank()
    for found, rows in ((left["x"], x), (right["y"], y)):
        expected = np.exp(scipy.stats.entropy(scipy.linalg.svdvals(rows - rows.mean(0))))
        assert found == pytest.approx(expected, rel=1e-5)  # singular values are roots of eigenvalues


def test_rsa_is_scipys_spearman_of_scipys_distances() -> None:
    x, y = related(60, 8, 5)
    x[5] = x[9]  # a tie at distance 0
    expected = scipy.stats.spearmanr(scipy.spatial.distance.pdist(x), scipy.spatial.distance.pdist(y)).statistic
    assert PairedSets(x, y).rsa()[0].value == pytest.approx(expected, abs=1e-12)


def test_neighbourhood_overlap_is_that_of_sklearns_neighbours() -> None:
    x, y = related(70, 8, 5, noise=0.3)
    near = [NearestNeighbors(n_neighbors=5).fit(rows).kneighbors(return_distance=False) for rows in (x, y)]
    expected = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(*near, strict=True)])
    assert PairedSets(x, y).overlap(5)[0].value == pytest.approx(expected, abs=1e-12)


def test_a_collapsed_set_overlaps_at_chance_only() -> None:
    """Ties must not count as shared neighbours: two sets of equal rows have no neighbourhoods."""
    x, _ = related(50, 8, 5)
    assert PairedSets(np.ones((50, 4)), np.ones((50, 3))).overlap(7)[0].value == pytest.approx(overlap_chance(7, 50))
    assert PairedSets(x, np.ones((50, 3))).overlap(7)[0].value == pytest.approx(overlap_chance(7, 50))


@pytest.mark.parametrize(("n", "p"), [(80, 12), (30, 90)])
def test_ridge_and_its_leave_one_out_errors_agree_with_sklearn(n: int, p: int) -> None:
    x, y = related(n, p, 4)
    alphas = [0.1, 1.0, 30.0]
    oracle = RidgeCV(alphas=alphas, store_cv_results=True).fit(x, y)
    ridge = Ridge(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(ridge.errors(alphas), oracle.cv_results_.mean(0).T, rtol=1e-8)
    assert ridge.best(alphas) == oracle.alpha_
    np.testing.assert_allclose(ridge.fit(oracle.alpha_).weight.T, oracle.coef_, atol=1e-8)
    np.testing.assert_allclose(ridge.fit(oracle.alpha_).bias, oracle.intercept_, atol=1e-8)


def test_ridge_left_out_is_each_sample_predicted_without_it() -> None:
    x, y = (torch.from_numpy(rows) for rows in related(12, 30, 2))
    ridge = Ridge(x, y)
    for i in range(12):
        kept = [j for j in range(12) if j != i]
        alone = Ridge(x[kept], y[kept]).fit(2.0)(x[i])
        torch.testing.assert_close(ridge.left_out(2.0)[i], alone, rtol=0, atol=1e-9)


def test_ridge_from_sums_is_ridge_from_samples() -> None:
    x, y = (torch.from_numpy(rows) for rows in related(200, 10, 3))
    sums = RidgeSums(10, 3)
    for part in (slice(0, 70), slice(70, 200)):
        sums.add(x[part], y[part])
    found, alpha = sums.fit()
    expected = Ridge(x, y).fit(alpha)
    torch.testing.assert_close(found.weight, expected.weight, rtol=0, atol=1e-8)
    torch.testing.assert_close(found.bias, expected.bias, rtol=0, atol=1e-8)


def test_classification_by_ridge_agrees_with_sklearn() -> None:
    from sklearn.linear_model import RidgeClassifierCV

    x, y = related(90, 8, 3, noise=0.5)
    classes = y.argmax(1)
    oracle = RidgeClassifierCV(alphas=[0.1, 1.0, 10.0], scoring="neg_mean_squared_error").fit(x, classes)
    ridge = Ridge(torch.from_numpy(x), one_hot(torch.from_numpy(classes)))
    found = ridge.fit(oracle.alpha_)(torch.from_numpy(x)).argmax(1).numpy()
    np.testing.assert_array_equal(found, oracle.predict(x))


def test_ridge_r2_in_folds_agrees_with_sklearn_under_both_names() -> None:
    x, y = related(100, 12, 5)
    found = ridge_r2(x, y, alpha=3.0, folds=4)
    predicted = np.empty_like(y)
    for held in folds_of(100, 4):
        kept = np.setdiff1d(np.arange(100), held)
        predicted[held] = SkRidge(alpha=3.0).fit(x[kept], y[kept]).predict(x[held])
    assert found.uniform == pytest.approx(r2_score(y, predicted), abs=1e-8)
    assert found.variance_weighted == pytest.approx(r2_score(y, predicted, multioutput="variance_weighted"), abs=1e-8)


def test_r2_of_noise_is_not_above_0_and_its_interval_knows() -> None:
    rng = np.random.default_rng(0)
    found = ridge_r2(rng.standard_normal((200, 300)), rng.standard_normal((200, 6)))
    assert found.uniform < 0.01
    intervals = r2_interval(found)
    assert intervals["uniform"].low <= found.uniform <= intervals["uniform"].high


def test_clusters_are_not_cut_by_folds() -> None:
    clusters = np.repeat(np.arange(12), 5)
    for held in folds_of(60, 3, clusters):
        kept = np.setdiff1d(np.arange(60), held)
        assert not set(clusters[held]) & set(clusters[kept])


def test_a_relation_is_significant_and_noise_is_not() -> None:
    x, y = related(120, 10, 8)
    noise = np.random.default_rng(3).standard_normal((120, 8))
    for name in ("cka", "rsa", "overlap"):
        interval, null = getattr(PairedSets(x, y), name)()
        assert null.p == 1 / 200, name
        assert interval.low > null.upper, name
        _, null = getattr(PairedSets(x, noise), name)(permutations=99)
        assert null.p > 0.05, name


def test_the_null_of_noise_is_calibrated() -> None:
    """p is uniform under the null: at most 5% below 0.05, here within 4 standard errors of 200 trials."""
    rng = np.random.default_rng(0)
    below = [PairedSets(rng.standard_normal((24, 40)), rng.standard_normal((24, 30))).cka(39, 8)[1].p <= 0.05
             for _ in range(200)]  # fmt: skip
    assert np.mean(below) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)


def test_the_interval_of_cka_covers_the_truth() -> None:
    """The truth is from 4,000 samples; 95% intervals of 100 draws of 150 samples cover it at least 86% of the time."""
    x, y = related(4_000 + 100 * 150, 6, 6, noise=2.0)
    truth = linear_similarity(x[:4_000], y[:4_000]).cka()["x", "y"]
    hits = 0
    for i in range(100):
        part = slice(4_000 + 150 * i, 4_000 + 150 * (i + 1))
        interval, _ = PairedSets(x[part], y[part]).cka(permutations=1 + 1, replicates=200)
        hits += interval.low <= truth <= interval.high
    assert 0.86 <= hits / 100 <= 1


def test_the_bootstrap_of_clusters_is_wider_than_that_of_samples_that_share_them() -> None:
    values = np.repeat(np.random.default_rng(0).standard_normal(20), 30)
    alone, whole = bootstrap_interval(values), bootstrap_interval(values, np.repeat(np.arange(20), 30))
    assert whole.high - whole.low > 3 * (alone.high - alone.low)
    assert whole.value == pytest.approx(values.mean())


def test_halves_vary_as_the_whole_does() -> None:
    values = np.random.default_rng(0).standard_normal(200)
    replicates = [values[half].mean() for half in half_samples(200, replicates=4000)]
    interval = centred_interval(values.mean(), replicates)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std(ddof=1) / 200**0.5, rel=0.05)


def test_clusters_change_places_whole() -> None:
    clusters = np.repeat(np.arange(6), 4)
    for drawn in permutations_of(24, clusters, permutations=5):
        assert sorted(drawn) == list(range(24))
        assert all(len(set(clusters[drawn[clusters == c]])) == 1 for c in range(6))
    with pytest.raises(TrialbookError, match="cannot change places"):
        permutations_of(6, [0, 1, 1, 2, 2, 2])


def test_sets_that_do_not_pair_are_refused() -> None:
    with pytest.raises(TrialbookError, match="5 and 6 samples"):
        linear_similarity(np.ones((5, 2)), np.ones((6, 2))).cka()["x", "y"]
    with pytest.raises(TrialbookError, match="at least 4"):
        linear_similarity(np.ones((3, 2)), np.ones((3, 2))).cka()["x", "y"]
