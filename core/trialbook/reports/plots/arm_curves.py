"""Plots of what the runs of an experiment recorded on the way and left at the end: curves and embeddings, arms overlaid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trialbook.reports.document.blocks import Picture
from trialbook.reports.plots.arm_metrics import told_means
from trialbook.reports.plots.arms import Arms
from trialbook.reports.plots.curves import Lines, draw_curves
from trialbook.reports.plots.embeddings import draw_maps, draw_similarity, make_map, measure_similarity, modality_pairs
from trialbook.reports.plots.layout import Layout
from trialbook.reports.plots.matryoshka import KEPT, draw_sizes, find_sizes, is_cut
from trialbook.reports.plots.plot import Drawn, picture, told_chance, told_ends
from trialbook.reports.plots.run_data import Curve, RunData

#: Plots of curves of metrics on a page; arms whose embeddings are drawn.
_MOST_CURVES, _MOST_MAPS, _MOST_DENSITIES = 2, 6, 16
_SPREAD = "Line: mean over seeds; band: from the lowest to the highest seed."


def curve_plots(arms: Arms, *, png: bool = False) -> list[Picture]:
    """Plot the records and arrays of an experiment's runs."""
    split = arms.one.curve_split
    found = picture("sizes", "Embeddings cut to their first dimensions", lambda: _sizes(arms, png))
    found += picture("loss", "Loss in training", lambda: _loss(arms, "loss", png))
    found += picture("loss-evaluated", f"Loss on {split}", lambda: _loss(arms, f"{split}/loss", png))
    if len(arms.layout.panels) > 1:
        found += picture("lr", "Learning rate", lambda: _rate(arms, png))
    found += _progress(arms, split, png)
    found += picture("similarity", "Similarity of pairs", lambda: _similarity(arms, png))
    return found + picture("tsne", "t-SNE of the embeddings", lambda: _tsne(arms, png))


def _loss(arms: Arms, name: str, png: bool) -> Drawn | None:
    curves = arms.curves(name)
    if not curves:
        return None
    chance = {arm: level for arm, own in arms.runs.items() if own and (level := own[0].chance(name)) is not None}
    rates = arms.curves("lr") if name == "loss" else {}
    below = Lines("learning rate", rates) if rates else None
    label = "loss in training" if name == "loss" else name
    image = draw_curves(arms.layout, Lines(label, curves, chance, wide=True), below, png=png)
    caption = _SPREAD + told_chance(chance.values())
    if below and len(arms.layout.panels) == 1:
        caption += " Below: the learning rate."
    return Drawn(image, caption + _left_out(arms.layout), f"{label}: {_told(curves)}.")


def _rate(arms: Arms, png: bool) -> Drawn | None:
    curves = arms.curves("lr")
    if not curves:
        return None
    image = draw_curves(arms.layout, Lines("learning rate", curves), png=png)
    return Drawn(image, f"As it was in training.{_left_out(arms.layout)}", f"Learning rate: {_told(curves)}.")


def _progress(arms: Arms, split: str, png: bool) -> list[Picture]:
    stems: dict[str, str] = {}
    for name in arms.names:
        if not is_cut(name) and any(len(c[0]) > 1 for own in arms.curves(f"{split}/{name}").values() for c in own):
            stems.setdefault(name.rpartition("@")[0] or name, name)
    found: list[Picture] = []
    for number, name in enumerate(list(stems.values())[:_MOST_CURVES]):
        found += picture(f"progress-{number + 1}", f"{name} over steps", lambda n=name: _curve(arms, split, n, png))  # type: ignore[misc]
    return found


def _curve(arms: Arms, split: str, name: str, png: bool) -> Drawn:
    curves = arms.curves(f"{split}/{name}")
    image = draw_curves(arms.layout, Lines(name, curves), png=png)
    return Drawn(
        image, f"Measured on split '{split}' on the way. {_SPREAD}{_left_out(arms.layout)}", f"{name}: {_told(curves)}."
    )


def _told(curves: Mapping[str, Sequence[Curve]]) -> str:
    return told_ends({arm: own[0] for arm, own in list(curves.items())[:12]})


def _left_out(layout: Layout) -> str:
    return f" {layout.left_out} more panels are left out." if layout.left_out else ""


def _sizes(arms: Arms, png: bool) -> Drawn | None:
    found = find_sizes(name for name in arms.one.metrics if not name.startswith(f"{arms.one.curve_split}/"))
    chosen = [*[s for s in found if KEPT not in s][:2], *[s for s in found if KEPT in s][:2]]
    if not chosen:
        return None
    values = {stem: {size: arms.values(name) for size, name in found[stem].items()} for stem in chosen}
    panels = {
        _size_label(stem): {arm: {size: own.get(arm, []) for size, own in sizes.items()} for arm in arms.runs}
        for stem, sizes in values.items()
    }
    caption = "Metrics of embeddings cut to their first dimensions and normalised again: mean over seeds with its 95% interval."
    if any(KEPT in stem for stem in chosen):
        caption += " 'Kept' is the share of what the widest size has."
    alt = "; ".join(told_means(arms, list(found[stem].values())) for stem in chosen[:1])
    return Drawn(draw_sizes(arms.layout, panels, png=png), caption, alt)


def _size_label(stem: str) -> str:
    plain = stem.replace(KEPT, "").rpartition("/")[2]
    return f"{plain}, kept" if KEPT in stem else plain


def _firsts(arms: Arms, most: int) -> dict[str, RunData]:
    """The first run of each arm, where they are few enough and have embeddings."""
    found = {arm: own[0] for arm, own in arms.runs.items() if own and own[0].modalities}
    return found if len(found) <= most else {}


def _similarity(arms: Arms, png: bool) -> Drawn | None:
    runs = _firsts(arms, _MOST_DENSITIES)
    pairs = modality_pairs(next(iter(runs.values())).arrays) if runs else []
    if not pairs:
        return None
    a, b = pairs[0]
    found = {arm: measure_similarity(run.arrays, (a, b)) for arm, run in runs.items()}
    said = "; ".join(f"{arm} {one.above:.1%}" for arm, one in found.items())
    if len(found) > _MOST_MAPS:
        low, high = (pick(found, key=lambda arm: found[arm].above) for pick in (min, max))
        said = f"from {found[low].above:.1%} ({low}) to {found[high].above:.1%} ({high})"
    seeds = ", ".join(map(str, sorted({run.seed for run in runs.values()})))
    caption = (
        f"Cosines of {a} and {b} on split '{arms.one.final_split}', seed {seeds}. How often a matching pair is more alike than "
        f"another one: {said}."
    )
    return Drawn(draw_similarity(found, png=png), caption, caption)


def _tsne(arms: Arms, png: bool) -> Drawn | None:
    runs = _firsts(arms, _MOST_MAPS)
    if not runs:
        return None
    maps = {arm: make_map(run.arrays) for arm, run in runs.items()}
    first = next(iter(runs.values()))
    classes = any(len(set(one.classes.tolist()) - {-1}) > 1 for one in maps.values())
    caption = (
        f"t-SNE of normalised embeddings of split '{first.final_split}', one seed of each arm; markers tell the modality, colour "
        f"the {'class' if classes else 'modality'}, lines join what belongs together. Distances between far groups mean little."
    )
    return Drawn(draw_maps(maps, first.modalities, png=png), caption, caption)
