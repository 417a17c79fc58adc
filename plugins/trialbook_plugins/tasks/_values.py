"""Values handed to losses, metrics and probes, and the values that these give."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from trialbook import TrialbookError
from trialbook.contracts import Builder, Handover, Probe, Probed, checked_values
from trialbook_plugins.tasks._tags import Known, handed


def compute(
    builder: Builder, name: str, metric: Any, known: Known, modalities: Sequence[str] = ()
) -> tuple[dict[str, float], Mapping[str, float]]:
    """The values of a metric by the names of records (``retrieval/i2t@1``), and what it returned.

    Raises:
        TrialbookError: it needs something that is not there, changes what it was given, or gives other values than it declares.
    """
    who = f"metric '{name}'"
    with known.to(who):
        found = metric.compute(**handed(known, metric.needs, who))
    values = checked_values(who, found, declared(builder, "metric", name, metric, modalities))
    return {f"{name}/{key}": value for key, value in values.items()}, found


def fit(
    name: str, probe: Probe, train: Probed, others: Mapping[str, Probed], seed: int, names: Sequence[str] = ("*",)
) -> dict[str, dict[str, float]]:
    """The values of a probe by split.

    Args:
        name: of the probe.
        probe, train, others, seed: as for ``Probe.measure``.
        names: of the values that it declares, or patterns of them.
    Raises:
        TrialbookError: it changes what it was given, gives values of other splits, or others than it declares.
    """
    who = f"probe '{name}'"
    with watching(who, train, *others.values()):
        found = probe.measure(train, others, seed)
    if not isinstance(found, Mapping) or set(found) != set(others):
        raise TrialbookError(f"{who} must give values by split ({', '.join(others)}), not {found!r}")
    return {split: checked_values(who, values, names, complete=False) for split, values in found.items()}


@contextmanager
def watching(who: str, *data: Probed) -> Iterator[None]:
    """A context in which a component works with data whose tensors it may not change.

    Raises:
        TrialbookError: it does.
    """
    handover = Handover()
    for one in data:
        handover.give("features", one.features)
        handover.give("images", one.images)
    with handover.to(who):
        yield


def declared(builder: Builder, kind: str, name: str, part: Any, modalities: Sequence[str] = ()) -> list[str]:
    """Names that a metric or probe declares; patterns of them where the builder does not know its options."""
    if hasattr(builder, "declared"):
        return list(builder.declared(kind, name, modalities))
    return [re.sub(r"\{[^}]*\}", "*", template) for template in part.produces]
