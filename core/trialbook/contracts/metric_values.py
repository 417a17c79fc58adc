"""Values of a metric that also says what each sample gave."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from trialbook.contracts.metric_names import ENDS, is_recorded
from trialbook.errors import TrialbookError, suggest


class MetricValues(dict[str, float]):
    """Values of a split and of its samples, which ``Metric.compute`` may return in place of a plain mapping.

    Runs record the samples' values of their final split, so that later work can resample the samples without the model.

    Args:
        values: name to value, as a plain mapping would hold them.
        per_sample: some of these names to one value for each sample, float64 [n], in the order in which the task hands over
            the samples (predictions; rows of the modality that asks). A sample that does not count is NaN; the mean of the
            others is the value.
    """

    def __init__(
        self, values: Mapping[str, float], per_sample: Mapping[str, NDArray[np.float64]] = MappingProxyType({})
    ) -> None:
        super().__init__(values)
        self.per_sample = dict(per_sample)


def per_sample_of(metric: str, values: Mapping[str, float]) -> dict[str, NDArray[np.float64]]:
    """Values of the samples under the names that records use (``retrieval/i2t@1``); none where a metric gives none.

    Args:
        metric: name of the metric.
        values: what its ``compute`` returned.
    """
    given = values.per_sample if isinstance(values, MetricValues) else {}
    return {f"{metric}/{name}": np.asarray(each, dtype=np.float64) for name, each in given.items()}


def checked_values(who: str, found: object, declared: Collection[str], *, complete: bool = True) -> dict[str, float]:
    """The values of a metric or probe, if they are numbers under the names that it declares.

    Args:
        who: the component: ``metric 'retrieval'``.
        found: what it returned.
        declared: names, or patterns of names; the ends of an interval (``/low``, ``/high``) need not be declared.
        complete: all names that are declared must be there.
    Raises:
        TrialbookError: it gave something else, nothing, a value that is no number or was not declared, or one too few.
    """
    if not isinstance(found, Mapping) or not found:
        raise TrialbookError(f"{who} must give numbers by name ({_listed(declared)}), not {found!r}")
    for name in found:
        plain = str(name)
        if not any(is_recorded(one, declared) for one in (plain, *(plain.removesuffix(f"/{end}") for end in ENDS))):
            hint = suggest(plain, declared)
            meant = f"; did you mean '{hint}'?" if hint else ""
            raise TrialbookError(
                f"{who} gives '{plain}', which its 'produces' does not declare ({_listed(declared)}){meant}"
            )
    if complete and (lacking := [name for name in declared if "*" not in name and name not in found]):
        raise TrialbookError(
            f"{who} declares '{lacking[0]}' in 'produces', but does not give it; NaN says that it has no value"
        )
    values = {}
    for name, value in found.items():
        try:
            values[str(name)] = float(value)
        except (TypeError, ValueError):
            raise TrialbookError(f"'{name}' of {who} must be a number, not {value!r}") from None
    return values


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "it declares none"
