"""Pictures of embeddings: cosines of pairs that belong together and of others, and where rows lie (t-SNE)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trialbook.reports.plots.canvas import (
    INK,
    MARKERS,
    PALETTE,
    Frame,
    add_legend,
    axis_label,
    clipped,
    draw,
    grid_lines,
)
from trialbook.reports.plots.plot import Undrawable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arrays = Mapping[str, NDArray[Any]]
#: Rows of each modality that similarities are taken of, and points of a t-SNE in all.
MOST_ROWS, MOST_POINTS = 1024, 260
#: Classes with a colour of their own.
_MOST_CLASSES = len(PALETTE) - 1
_BINS = 200


@dataclass(frozen=True)
class Similarity:
    """Cosines of two modalities.

    Args:
        matching, other: densities over ``_BINS`` cosines from −1 to 1.
        means: of positive and of negative pairs.
        above: how often a matching pair is more alike than another one (a tie counts half).
    """

    matching: NDArray[np.float64]
    other: NDArray[np.float64]
    means: tuple[float, float]
    above: float


def modality_pairs(arrays: Arrays) -> list[tuple[str, str]]:
    """Pairs of modalities whose embeddings are there."""
    return list(combinations([name.partition(".")[2] for name in arrays if name.startswith("embeddings.")], 2))


def measure_similarity(arrays: Arrays, pair: tuple[str, str]) -> Similarity:
    """Cosines of positive and of negative pairs of two modalities.

    Raises:
        Undrawable: no row of one belongs to a row of the other, or all do, or rows are not finite.
    """
    (x, own), (y, others) = (_units(arrays, name) for name in pair)
    same = own[:, None] == others
    if not same.any() or same.all():
        raise Undrawable(
            f"no {'negative' if same.size and same.all() else 'positive'} pairs of {pair[0]} and {pair[1]} were kept"
        )
    cosines = np.clip(x @ y.T, -1, 1)
    matching, other = cosines[same], np.sort(cosines[~same])
    below = np.searchsorted(other, matching, "left") + np.searchsorted(other, matching, "right")
    means = (float(matching.mean()), float(other.mean()))
    return Similarity(_density(matching), _density(other), means, float(below.mean() / (2 * len(other))))


def draw_similarity(panels: Mapping[str, Similarity], *, png: bool = False) -> tuple[str, bytes]:
    """Densities of positive and of negative pairs, a panel each; titles are the keys."""
    count = len(panels)
    names = ["positive pairs", "negative pairs"]
    if count == 1:
        frame = Frame([1.8], names=names, left=0.2)
    else:
        frame = Frame([0.85] * math.ceil(count / 2), 2, names=names, left=0.2, top=0.24, share="x")
    cosines = (np.arange(_BINS) + 0.5) * 2 / _BINS - 1

    def paint(figure: Figure) -> None:
        handles: list[Artist] = []
        every = frame.axes(figure, count)
        for axes, (title, one) in zip(every, panels.items(), strict=True):
            axes.set_title(clipped(title, 30) if count > 1 else "", fontsize=8, fontweight="normal", pad=4)
            handles = [_area(axes, cosines, one.matching, PALETTE[0], 0.4), _area(axes, cosines, one.other, INK, 0.2)]
            axes.set_ylim(bottom=0)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            grid_lines(axes, "x")
        used = [cosines[(one.matching > 1e-3) | (one.other > 1e-3)] for one in panels.values()]
        every[0].set_xlim(min(own.min() for own in used) - 0.02, max(own.max() for own in used) + 0.02)
        axis_label(figure, frame, "cosine of the two embeddings", "bottom")
        add_legend(figure, frame, handles)

    return draw(frame, paint, png=png)


@dataclass(frozen=True)
class Map:
    """Places of rows in the plane [R, 2], with the modality, the class (−1 for none) and the group of each."""

    places: NDArray[np.float64]
    modality: NDArray[np.int64]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]


def make_map(arrays: Arrays) -> Map:
    """A t-SNE of the first row of each modality of evenly chosen groups.

    Raises:
        Undrawable: too few groups, or rows that are not finite.
    """
    names = [name.partition(".")[2] for name in arrays if name.startswith("embeddings.")]
    rows = [_units(arrays, name, math.inf) for name in names]
    shared = sorted(set.intersection(*(set(groups.tolist()) for _, groups in rows))) if rows else []
    chosen = shared[:: max(1, math.ceil(len(shared) * len(names) / MOST_POINTS))]
    if len(chosen) * len(names) < 8:
        raise Undrawable(f"{len(chosen)} groups are too few to draw")
    first = [{int(g): i for i, g in reversed(list(enumerate(groups)))} for _, groups in rows]
    points = np.concatenate(
        [units[[at[group] for group in chosen]] for (units, _), at in zip(rows, first, strict=True)]
    )
    groups = np.tile(np.array(chosen), len(names))
    classes = arrays["classes"].astype(np.int64) if "classes" in arrays else np.zeros(0, np.int64)
    known = classes[groups] if len(classes) > groups.max() else np.full(len(groups), -1)
    return Map(_place(points), np.repeat(np.arange(len(names)), len(chosen)), known, groups)


def _place(points: NDArray[Any]) -> NDArray[np.float64]:
    """Rows [R, D] to places in the plane [R, 2]; the same rows give the same places."""
    from sklearn.manifold import TSNE  # late: slow to import

    start = (
        "pca" if np.ptp(points, axis=0).max() > 1e-6 else "random"
    )  # of rows that are all alike there are no components
    made = TSNE(perplexity=min(30.0, (len(points) - 1) / 3), init=start, max_iter=500, random_state=0, n_jobs=1)
    places: NDArray[np.float64] = made.fit_transform(points).astype(np.float64)
    return places


def draw_maps(maps: Mapping[str, Map], modalities: Sequence[str], *, png: bool = False) -> tuple[str, bytes]:
    """Points of each map, marked by modality and coloured by class, or by modality where there is none."""
    found = np.concatenate([one.classes for one in maps.values()])
    known, counts = np.unique(found[found >= 0], return_counts=True)
    frequent = known[np.argsort(-counts, kind="stable")][:_MOST_CLASSES].tolist() if len(known) > 1 else []
    legend = [
        *modalities,
        *(f"class {one}" for one in frequent),
        *(["other classes"] if len(known) > len(frequent) > 0 else []),
    ]
    single = len(maps) == 1
    rows = [2.9] if single else [1.55] * math.ceil(len(maps) / 2)
    frame = Frame(
        rows,
        1 if single else 2,
        names=legend,
        left=0.1,
        bottom=0.12,
        top=0.12 if single else 0.26,
        across=0.14,
        down=0.26,
    )

    def paint(figure: Figure) -> None:
        for axes, (title, one) in zip(frame.axes(figure, len(maps)), maps.items(), strict=True):
            axes.set_title(clipped(title, 30) if not single else "", fontsize=8, fontweight="normal", pad=4)
            _scatter(axes, one, frequent, 4 if single else 3)
        add_legend(figure, frame, _map_handles(modalities, frequent, len(legend)))

    return draw(frame, paint, png=png)


def _scatter(axes: Axes, one: Map, frequent: Sequence[int], size: float) -> None:
    together = one.places.reshape(one.modality.max() + 1, -1, 2).transpose(1, 0, 2)  # [groups, modalities, 2]
    chains = np.pad(together, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan).reshape(-1, 2)
    axes.plot(*chains.T, color=INK, linewidth=0.4, alpha=0.12, zorder=0)
    for index in np.unique(one.modality):
        own = one.modality == index
        kinds = [(one.classes == c, PALETTE[i]) for i, c in enumerate(frequent)] or [
            (own, PALETTE[index % len(PALETTE)])
        ]
        if frequent:
            kinds.append((~np.isin(one.classes, frequent), INK))
        for chosen, colour in kinds:
            points = one.places[own & chosen]
            axes.plot(
                *points.T, MARKERS[index % len(MARKERS)], color=colour, markersize=size, markeredgewidth=0,
                alpha=0.35 if colour == INK else 0.85,
            )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    for spine in axes.spines.values():
        spine.set(visible=True, alpha=0.3)


def _map_handles(modalities: Sequence[str], frequent: Sequence[int], count: int) -> list[Artist]:
    from matplotlib.lines import Line2D

    shades = [INK if frequent else PALETTE[i % len(PALETTE)] for i in range(len(modalities))]
    handles: list[Artist] = [
        Line2D([], [], linestyle="none", marker=MARKERS[i % len(MARKERS)], color=shade)
        for i, shade in enumerate(shades)
    ]
    handles += [Line2D([], [], linestyle="none", marker="s", color=PALETTE[i]) for i in range(len(frequent))]
    handles += [Line2D([], [], linestyle="none", marker="s", color=INK, alpha=0.35)] * (count - len(handles))
    return handles


def _area(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], colour: str, fill: float) -> Artist:
    shown = y > 1e-3
    axes.plot(x[shown], y[shown], color=colour, linewidth=1.2, alpha=1.0 if colour != INK else 0.7)
    return axes.fill_between(x[shown], y[shown], color=colour, alpha=fill, linewidth=0)


def _units(arrays: Arrays, name: str, most: float = MOST_ROWS) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Normalised rows of a modality and their groups; a row of zeros stays one."""
    rows, groups = arrays[f"embeddings.{name}"].astype(np.float32), arrays[f"groups.{name}"]
    if not np.isfinite(rows).all():
        raise Undrawable(f"embeddings of {name} are not finite")
    step = max(1, math.ceil(len(rows) / most))
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    units: NDArray[np.float32] = (rows / np.where(sizes == 0, 1, sizes)).astype(np.float32)
    return units[::step], groups[::step]


def _density(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """A Gaussian kernel density over ``_BINS`` cosines, its width after Silverman, at least two bins."""
    counts, _ = np.histogram(values, _BINS, (-1, 1))
    spread = min(float(values.std()), float(np.subtract(*np.percentile(values, [75, 25]))) / 1.34 or 1.0)
    width = max(0.9 * spread * len(values) ** -0.2 * _BINS / 2, 2.0)
    reach = math.ceil(4 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    smooth = np.convolve(counts.astype(np.float64), kernel / kernel.sum())[reach:-reach]
    density: NDArray[np.float64] = smooth / smooth.sum() * _BINS / 2
    return density
