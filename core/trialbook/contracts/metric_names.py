"""Names of values, from the templates that tasks and metrics declare."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


def expand_produces(
    templates: Sequence[str],
    options: Mapping[str, Any],
    modalities: Sequence[str],
    losses: Sequence[str] = (),
    probes: Sequence[str] = (),
) -> list[str]:
    """The names that ``produces`` templates stand for.

    Args:
        templates: e.g. ``("{pair}@{k}",)``.
        options: the component's options, defaults included; an array stands for each of its values, None for no name.
            Whole numbers are written without a point, others as ``format(value, "g")`` does: ``r2@1``, ``r2@0.1``.
        modalities: of the task, for ``{pair}`` (both directions of every two), ``{couple}`` (every two once:
            ``image-text``) and ``{modality}``.
        losses: names of the losses, for ``{loss}``.
        probes: names of the values of all probes, for ``{probe.figure}``.
    Returns:
        The names; a ``*`` in one stands for whatever the run will meet (layers of a model, say).
    """
    from trialbook.contracts.datasets import pair_names  # late: imports numpy

    values: dict[str, Any] = {
        **options, "pair": list(pair_names(modalities).values()), "modality": list(modalities), "loss": list(losses),
        "couple": [f"{a}-{b}" for a, b in itertools.combinations(modalities, 2)], "probe.figure": list(probes),
    }  # fmt: skip
    names: list[str] = []
    for template in templates:
        keys = list(dict.fromkeys(re.findall(r"\{([\w.]+)\}", template)))
        rows = itertools.product(*(_as_list(values.get(key)) for key in keys))
        names += [_fill(template, dict(zip(keys, row, strict=True))) for row in rows]
    return list(dict.fromkeys(names))


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is None else [value]


def _fill(template: str, values: Mapping[str, Any]) -> str:
    return re.sub(r"\{([\w.]+)\}", lambda match: _spell(values[match[1]]), template)


def _spell(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


#: What a metric's own interval is recorded under, behind its name.
ENDS = ("low", "high")


#: References that stand behind a metric's name: the best that can be reached there, and what knows nothing (features in another
#: order, noise, the mean picture, the 95% quantile of random pairings).
CEILINGS, FLOORS = ("oracle", "true", "latents"), ("shuffled", "random", "mean", "null")
#: References that stand beside a metric whose last part begins so: guessing, and the most frequent class.
_CHANCE, _OF_CHANCE = ("chance", "majority"), ("accuracy", "score", "precision@")


def references(metric: str) -> dict[str, str]:
    """Names under which ceilings and floors of a metric may be recorded, to the reference: ``best/boxes/iou/oracle``."""
    stem, _, last = metric.rpartition("/")
    found = {f"{metric}/{one}": one for one in (*CEILINGS, *FLOORS)}
    if stem and last.startswith(_OF_CHANCE):
        found |= {f"{stem}/{one}": one for one in _CHANCE}
    if stem:
        found[f"{stem}/mean-box/{last}"] = "mean-box"
    return found


def is_ceiling(reference: str) -> bool:
    """Return whether a reference is the best that can be reached, and not what is reached without knowing anything."""
    return reference in CEILINGS


def fitting(names: Iterable[str], metric: str) -> list[str]:
    """The values that a gate's metric means: itself, or all that its pattern fits, but for ends of intervals and references."""
    known = list(names)
    if "*" not in metric:
        return [metric] if metric in known else []
    beside = {one for name in known for one in (*with_ends(name)[1:], *references(name))}
    return sorted(name for name in known if fnmatchcase(name, metric) and name not in beside)


def with_ends(metric: str) -> list[str]:
    """A metric and the names of its interval's ends."""
    return [metric, *(f"{metric}/{end}" for end in ENDS)]


def is_recorded(metric: str, known: Iterable[str]) -> bool:
    """Tell whether a metric, or pattern of metrics, is among the names known, which may be patterns as well."""
    return any(
        metric == name
        or ("*" in name and fnmatchcase(metric.replace("*", "x"), name))
        or ("*" in metric and fnmatchcase(name.replace("*", "x"), metric))
        for name in known
    )
