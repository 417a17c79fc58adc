"""Values of a metric that also says what each sample gave."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray


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
