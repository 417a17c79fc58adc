"""A model with the places that are read: from pictures to tokens by row and column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import device_of, to_device
from trialbook.contracts.datasets import Raw
from trialbook_plugins.hub import first_line
from trialbook_plugins.vlms.architecture import Architecture
from trialbook_plugins.vlms.family import PLACES, Family, Prompt, image_size
from trialbook_plugins.vlms.layer_hooks import LayerHook, read
from trialbook_plugins.vlms.layer_names import connector, resolve
from trialbook_plugins.vlms.pictures import Pictures
from trialbook_plugins.vlms.tokens import arrange

_POSITIONS = "mm_token_type_ids"
"""Without it, models with positions in two dimensions continue as if an image were a line of text."""


class LayerReader(nn.Module):
    """A model, how its inputs are made, and the places that are read.

    Args:
        model: of ``architecture``.
        architecture: its table.
        family: makes its inputs.
        pictures: makes pixels.
        prompt: tokens around the image's.
        layers: points, or ``in:`` and ``out:`` with module paths, or ``all``.

    Raises:
        TrialbookError: a point does not exist or holds no image tokens.
    """

    def __init__(
        self, model: nn.Module, architecture: Architecture, family: Family, pictures: Pictures, prompt: Prompt,
        layers: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.architecture, self.family, self.pictures, self.prompt = (
            model, architecture, family, pictures, prompt,
        )  # fmt: skip
        self.hooks = resolve(model, architecture, layers)
        self.connector = connector(model, architecture)
        self._count = self._counted()

    def prepare(self, raw: Raw, pictures: Pictures | None = None) -> dict[str, Tensor]:
        """Images to the model's inputs, rows first; by ``pictures`` if they are given.

        Raises:
            TrialbookError: an input does not say where the image's tokens are: the model would continue with other positions.
        """
        made = self.family.prepare(raw, self.pictures if pictures is None else pictures)
        if self.connector is None:
            return made
        made |= self.family.sequence(self.prompt, self._count, len(raw))
        if _POSITIONS in self._wanted and _POSITIONS in made and not _marks_image(made[_POSITIONS], made.get(PLACES)):
            raise TrialbookError(
                f"'{_POSITIONS}' does not mark the image's tokens, so their positions would be a line's"
            )
        return made

    def outputs(
        self,
        prepared: Mapping[str, Tensor],
        hooks: Sequence[LayerHook],
        change: tuple[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Return what passes at ``hooks``, as the modules gave it, in one forward pass."""
        return read(self.model, hooks, self.arguments(prepared), change)

    def tokens(
        self,
        prepared: Mapping[str, Tensor],
        hooks: Sequence[LayerHook] | None = None,
        change: tuple[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Tokens [B, H, W, D] at ``hooks``, or at all, in one forward pass."""
        wanted = self.hooks if hooks is None else hooks
        found = self.outputs(prepared, wanted, change)
        return {hook.name: self.placed(hook, found[hook.name], prepared) for hook in wanted}

    def placed(self, hook: LayerHook, output: Tensor, prepared: Mapping[str, Tensor]) -> Tensor:
        """A module's output by row and column; it moves numbers and computes none."""
        rows = len(prepared[self.family.pixels])
        places = prepared.get(PLACES)
        return arrange(output, hook.area, self.family.layout, rows, places, hook.where)

    def arguments(self, prepared: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return what the model is called with.

        Raises:
            TrialbookError: an input is missing without which the model would silently compute something else.
        """
        made = self.family.arguments(prepared)
        for name in self._wanted if self.connector is not None else ():
            if name not in made:
                raise TrialbookError(
                    f"the inputs lack '{name}': {self.architecture.name} would continue with other positions or another mask"
                )
        return _typed(self.model, {**made, **self._places()})

    @property
    def _wanted(self) -> list[str]:
        """Inputs without which the model would silently compute something else."""
        inner = getattr(self.model, "model", self.model)
        return [*self.family.extra, *([_POSITIONS] if hasattr(inner, "get_rope_index") else [])]

    def _places(self) -> dict[str, bool]:
        """Return what tells a plain encoder that images have another size than its table of positions: it is interpolated."""
        own = image_size(self.model.config)
        asks = "interpolate_pos_encoding" in signature(self.model.forward).parameters
        plain = self.connector is None and asks and own not in (None, self.family.size)
        return {"interpolate_pos_encoding": True} if plain else {}

    def _counted(self) -> int:
        """Places that an image takes in the sequence, counted by sending one through the vision side."""
        if self.connector is None:
            return 0
        raw = np.zeros((1, 3, *self.family.size), dtype=np.uint8)
        made = {**self.family.prepare(raw, self.pictures), **self.family.sequence(self.prompt, 0, 1)}
        prepared = to_device(made, device_of(self.model))
        try:
            with torch.no_grad():
                found = read(self.model, [self.connector], _typed(self.model, self.family.arguments(prepared)))
        except RuntimeError as error:  # InternVL and Idefics3 shuffle pixels of square images only
            height, width = self.family.size
            raise TrialbookError(
                f"{self.architecture.name} cannot see images of {height} x {width} (image_size): {first_line(error)}"
            ) from error
        tokens = found[self.connector.name]
        return self.family.count(tokens.numel() // tokens.shape[-1])


def _marks_image(kinds: Tensor, places: Tensor | None) -> bool:
    return (
        places is not None and bool((kinds.gather(1, places) == 1).all()) and int((kinds == 1).sum()) == places.numel()
    )


def _typed(model: nn.Module, arguments: Mapping[str, Any]) -> dict[str, Any]:
    kind = next(p.dtype for p in model.parameters() if p.is_floating_point())
    return {name: _as(kind, value) for name, value in arguments.items()}


def _as(dtype: torch.dtype, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, list):
        return [_as(dtype, one) for one in value]
    return value
