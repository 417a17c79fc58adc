"""What task ``probe`` says of its figures, so that pages draw them layer by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trialbook.contracts import Builder, Probe
from trialbook.contracts.metric_names import expand_produces
from trialbook.contracts.plots import Profile

#: Which references a figure stands between.
_CEILING, _BASELINE, _FLOOR = ("oracle",), ("pixels",), ("shuffled", "random")
#: Figures of a probe that are drawn.
_MOST = 5


def probe_profiles(
    layers: Sequence[str], probes: Mapping[str, Probe], references: Sequence[str], builder: Builder
) -> list[Profile]:
    """A plot for each probe: its main figure, and those that have an interval."""
    return [
        Profile(
            name=name, title=f"Probe '{name}' by layer", places=list(layers),
            metrics={figure: f"{{place}}/{name}/{figure}" for figure in _figures(name, probe, builder)},
            ceiling=[one for one in _CEILING if one in references],
            baseline=[one for one in _BASELINE if one in references],
            floor=[one for one in _FLOOR if one in references],
            chosen=["best_layers", name],
        )
        for name, probe in probes.items()
    ]  # fmt: skip


def _figures(name: str, probe: Probe, builder: Builder) -> list[str]:
    keys = {key for template in probe.produces for key in re.findall(r"\{(\w+)\}", template)}
    known = expand_produces(probe.produces, {key: builder.option("probe", name, key) for key in keys}, [])
    ranged = [figure for figure in known if f"{figure}/low" in known]
    return list(dict.fromkeys([probe.main, *ranged]))[:_MOST]
