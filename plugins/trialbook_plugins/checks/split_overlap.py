"""Check ``split-overlap``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding, Severity

#: Share of a split whose pairs are in the other from which on its metrics say something else than they seem to; below the
#: second, it is a handful of duplicates.
MUCH, SOME = 0.01, 0.001
#: Where one modality alone repeats: rows of the later split for each different content, from which on it repeats by nature,
#: as short captions and names of classes do.
BY_NATURE = 1.2
#: Share of a split whose rows of one modality stand in the other, too, though they do not repeat by nature: photos that were
#: dealt out by caption.
ONE_MODALITY = 0.05


def check(chart: RunEvidence) -> Iterable[Finding]:
    """Content that stands in two splits: whole pairs are an error, a modality that repeats by nature is none."""
    between: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in chart.data.get("overlaps", ()):
        if isinstance(one, Mapping):
            between.setdefault((one["first"], one["second"]), []).append(one)
    groups = chart.data.get("dataset", {}).get("splits", {})
    for (first, second), found in between.items():
        size = groups.get(second, 0)
        judged = _judged(chart, first, found, size) if size else None
        if not judged:
            continue
        severity, what = judged
        rows = {f"rows of {one['modality']}": one["rows"] for one in found}
        yield Finding(
            "split-overlap", severity, f"{first}+{second}", f"'{first}' and '{second}' overlap: {what}",
            {**rows, f"groups in {second}": size},
            f"take the rows out of '{first}' or deal groups by their content (trialbook.contracts.assign_splits), and keep near "
            "duplicates together; metrics of a split that was trained on say how well it was learned by heart",
        )  # fmt: skip


def _judged(chart: RunEvidence, first: str, found: list[Mapping[str, Any]], size: int) -> tuple[Severity, str] | None:
    """Say how bad it is and what is shared; None where it is nothing."""
    modalities = max(len(chart.config.get("encoder", {})), len({one["modality"] for one in found}), 1)
    if "use" in chart.config.get("encoder", {}):
        modalities = 1
    least = min(found, key=lambda one: one["rows"])
    share = min(1.0, least["rows"] / size)
    worst: Severity = "error" if first == "train" else "warning"
    if len(found) >= modalities:
        if share < SOME:
            return ("note", f"{least['rows']} of {size} groups")
        return (worst if share >= MUCH else "warning", f"{share:.1%} of its groups, in every modality")
    single = [one for one in found if one["rows"] < BY_NATURE * one["count"]]
    telling = max(single, key=lambda one: one["rows"], default=None)
    if telling is None or telling["rows"] < ONE_MODALITY * size:
        return None
    rows = f"{telling['rows']} rows of '{telling['modality']}' ({min(1.0, telling['rows'] / size):.1%} of its groups)"
    return ("warning" if first == "train" else "note", f"{rows}, with other partners")
