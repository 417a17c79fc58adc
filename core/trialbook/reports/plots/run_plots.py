"""The plots of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trialbook.reports.document.blocks import Picture
from trialbook.reports.plots.bars import Series, draw_bars
from trialbook.reports.plots.curves import Lines, draw_curves
from trialbook.reports.plots.declared import run_declared
from trialbook.reports.plots.embeddings import draw_maps, draw_similarity, make_map, measure_similarity, modality_pairs
from trialbook.reports.plots.layout import MOST_LINES, Layout, Member, Panel
from trialbook.reports.plots.matryoshka import KEPT, draw_sizes, find_sizes, is_cut
from trialbook.reports.plots.plot import Drawn, final_figures, find_stems, last_values, picture, told_chance, told_ends
from trialbook.reports.plots.run_data import RunData
from trialbook.reports.tables import show_number

#: Plots of one kind on a page.
_MOST = 3


def run_plots(run: RunData, *, png: bool = False) -> list[Picture]:
    """Everything that its records give a plot of."""
    plots: list[tuple[str, str, Callable[[RunData, bool], Drawn | None]]] = [
        ("loss", "Loss and learning rate", _loss),
        ("losses", "Losses by name", _losses),
        ("progress", f"Metrics on {run.curve_split} over steps", _progress),
        ("at-k", f"Metrics at k on {run.final_split}", _at_k),
        ("sizes", "Embeddings cut to their first dimensions", _sizes),
        ("similarity", "Similarity of pairs", _similarity),
        ("tsne", "t-SNE of the embeddings", _tsne),
    ]
    own = [one for name, title, make in plots for one in picture(name, title, lambda make=make: make(run, png))]  # type: ignore[misc]
    return [*own, *run_declared(run, png=png)]


def _one_panel(names: Sequence[str], said: Callable[[str], str] = str) -> Layout:
    return Layout((Panel("", tuple(Member(name, said(name), i) for i, name in enumerate(names))),))


def _loss(run: RunData, png: bool) -> Drawn | None:
    names = [name for name in ("loss", f"{run.curve_split}/loss") if name in run.curves]
    if not names:
        return None
    layout = _one_panel(names, lambda name: "in training" if name == "loss" else f"on {run.curve_split}")
    chance = {name: level for name in names if (level := run.chance(name)) is not None}
    rate = Lines("learning rate", {names[0]: [run.curves["lr"]]}) if "lr" in run.curves else None
    image = draw_curves(
        layout, Lines("loss", {name: [run.curves[name]] for name in names}, chance, wide=True), rate, png=png
    )
    caption = f"Above: the loss, {' and '.join(m.name for m in layout.panels[0].members)}."
    caption += told_chance(chance.values())
    caption += " Below: the learning rate." if rate else ""
    return Drawn(image, caption, f"Loss over steps: {told_ends({name: run.curves[name] for name in names})}.")


def _losses(run: RunData, png: bool) -> Drawn | None:
    names = [f"{name}/loss" for name in run.losses if f"{name}/loss" in run.curves][:MOST_LINES]
    if len(names) < 2:
        return None
    curves = {name: run.curves[name] for name in names}
    layout = _one_panel(names, lambda name: name.removesuffix("/loss"))
    image = draw_curves(layout, Lines("loss, before weighting", {name: [c] for name, c in curves.items()}), png=png)
    return Drawn(image, "Each loss of the file on the batches of training.", f"Losses over steps: {told_ends(curves)}.")


def _progress(run: RunData, png: bool) -> Drawn | None:
    prefix = f"{run.curve_split}/"
    names = [prefix + name for name in final_figures(run) if len(run.curves.get(prefix + name, ((), ()))[0]) > 1]
    shares = [name for name in names if "@" in name and not is_cut(name) and not name.endswith(("/low", "/high"))]
    names = (shares or names[:1])[:MOST_LINES]
    if not names:
        return None
    curves = {name: run.curves[name] for name in names}
    layout = _one_panel(names, lambda name: name.removeprefix(prefix))
    label = "value" if shares else names[0]
    image = draw_curves(layout, Lines(label, {name: [curve] for name, curve in curves.items()}), png=png)
    return Drawn(image, f"Measured on split '{run.curve_split}' on the way.", f"Over steps: {told_ends(curves)}.")


def _at_k(run: RunData, png: bool) -> Drawn | None:
    stems = dict(list(find_stems(final_figures(run)).items())[:MOST_LINES])
    ks = sorted({k for own in stems.values() for k in own})
    if not stems:
        return None
    series = [
        Series(stem, i, [last_values([run], own[k]) if k in own else [] for k in ks])
        for i, (stem, own) in enumerate(stems.items())
    ]
    said = "; ".join(
        f"{name} {show_number(value, 3)}"
        for own in stems.values()
        for name in own.values()
        for value in last_values([run], name)
    )
    image = draw_bars("value at k", [str(k) for k in ks], series, "k", png=png)
    return Drawn(image, f"On split '{run.final_split}', at the end.", f"{said}.")


def _sizes(run: RunData, png: bool) -> Drawn | None:
    found = find_sizes(name for name in run.metrics if not name.startswith(f"{run.curve_split}/"))
    panels = {}
    for label, kept in (("metric", False), ("share kept", True)):
        stems = [stem for stem in found if (KEPT in stem) == kept][:MOST_LINES]
        if stems:
            panels[label] = {
                stem.replace(KEPT, ""): {size: last_values([run], name) for size, name in found[stem].items()}
                for stem in stems
            }
    if not panels:
        return None
    stems = list(dict.fromkeys(stem for curves in panels.values() for stem in curves))
    image = draw_sizes(_one_panel(stems), panels, png=png)
    caption = "Each metric with embeddings cut to their first dimensions and normalised again"
    return Drawn(image, caption + ("; below, as a share of the widest." if len(panels) > 1 else "."), caption)


def _similarity(run: RunData, png: bool) -> Drawn | None:
    pairs = modality_pairs(run.arrays)[:_MOST]
    if not pairs:
        return None
    found = {f"{a} and {b}": measure_similarity(run.arrays, (a, b)) for a, b in pairs}
    said = [
        f"{name}: positive pairs have a mean cosine of {show_number(one.means[0], 3)}, others of {show_number(one.means[1], 3)}; "
        f"a matching pair is the more alike one in {one.above:.1%} of cases"
        for name, one in found.items()
    ]
    text = f"On split '{run.final_split}'. {'. '.join(said)}."
    return Drawn(draw_similarity(found, png=png), text, text)


def _tsne(run: RunData, png: bool) -> Drawn | None:
    if not run.modalities:
        return None
    made = make_map(run.arrays)
    image = draw_maps({run.arm: made}, run.modalities, png=png)
    classes = len(set(made.classes.tolist()) - {-1})
    colour = f"colour tells the class ({classes} of them)" if classes > 1 else "colour tells the modality"
    caption = (
        f"t-SNE of {len(made.places)} normalised embeddings of split '{run.final_split}'; markers tell the modality, {colour}, "
        "lines join what belongs together. Distances between far groups mean little."
    )
    return Drawn(image, caption, caption)
