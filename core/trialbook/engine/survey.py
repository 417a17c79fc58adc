"""Making the parts of a run only to see whether they fit together, and how large they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trialbook.config.options import stages_of
from trialbook.config.runspec import RunSpec
from trialbook.contracts import Features, FeatureTable, LayerEncoder, Task, Trainable, to_device
from trialbook.engine.builder import RunBuilder, encode_rows, parameter_count
from trialbook.engine.stages import plan_stages
from trialbook.errors import ExperimentErrors, Problem, TrialbookError
from trialbook.planning.components import named_key
from trialbook.registry.ranks import world_size

if TYPE_CHECKING:
    from torch import Tensor, nn


class SurveyBuilder(RunBuilder):
    """Makes the parts of a run as :class:`trialbook.engine.builder.RunBuilder` does, but stores no features.

    Where a task asks for the features of a split, the first row alone is encoded and stands for all rows: the shapes are
    those of the run.
    """

    def features(self, name: str, encoder: nn.Module, dataset: Any, split: str, modality: str) -> FeatureTable:
        """Tokens [R, N, D] of the first row, repeated without memory."""
        part = dataset.splits()[split]
        rows = len(part.groups(modality))
        with self._located("encoder", name, {}), self.on_device(encoder) as device:
            found = encode_rows(encoder, part.read(modality, np.zeros(1, np.int64)), device)
        return _repeated(found, rows)

    def layer_features(
        self, name: str, encoder: nn.Module, dataset: Any, split: str, modality: str
    ) -> dict[str, FeatureTable]:
        """Tokens [R, H, W, D] of every point for the first row, repeated without memory."""
        if not isinstance(encoder, LayerEncoder):
            raise TrialbookError(f"[encoder.{name}] has no points whose layers can be read (no 'encode_layers')")
        part = dataset.splits()[split]
        rows = len(part.groups(modality))
        with self._located("encoder", name, {}), self.on_device(encoder) as device:
            found = encoder.encode_layers(
                to_device(encoder.prepare(part.read(modality, np.zeros(1, np.int64))), device)
            )
        return {point: _repeated(Features(tokens), rows) for point, tokens in found.items()}


def trained_by_stage(task: Task, spec: RunSpec) -> dict[str, int]:
    """Stage to the number of parameters that the optimiser gets in it; empty for a task that trains nothing.

    Raises:
        ExperimentErrors: a stage trains nothing, or its batch is larger than its data: at the key that says so.
    """
    if not isinstance(task, Trainable):
        return {}
    module, numbers = task.module(), {}
    for index, stage in enumerate(stages_of(dict(spec.config))):
        place = ("stage", index) if spec.config.get("stage") else ("train",)
        try:
            (planned,) = plan_stages(task, module, [stage], world_size())
        except TrialbookError as error:
            key = named_key(str(error), vars(stage)) or ("train" if stage.train else None)
            own = spec.positions.get((*place, str(key))) or spec.positions.get(("train", str(key)))
            where = own or spec.positions.get(place)
            raise ExperimentErrors([Problem.at(where, place[0], str(error))]) from error
        parameters = dict(module.named_parameters())
        numbers[stage.name] = sum(parameter_count(parameters[name]) for name in planned.trained)
    return numbers


def _repeated(features: Features, rows: int) -> FeatureTable:
    """Features of one row as a table of ``rows`` rows that takes the memory of one."""
    tokens, mask = features.tokens.float(), features.mask
    return FeatureTable.of(Features(_expanded(tokens, rows), None if mask is None else _expanded(mask, rows)))


def _expanded(values: Tensor, rows: int) -> Tensor:
    return values.expand(rows, *values.shape[1:])
