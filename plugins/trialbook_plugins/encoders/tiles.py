"""Encoder ``tiles``: large pages as a grid of crops and the whole, each read by another encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Features, Prepared, device_of, places_of, to_device
from trialbook.contracts.datasets import Modality, Raw
from trialbook_plugins.encoders.letterbox import Picture, fitted_size, letterbox

#: Tiles that the inner encoder reads at once.
_AT_ONCE = 64


class Tiles(nn.Module):
    """A page as the whole, made small, and a grid of crops of it, so that small print can be read: [B, T N, D].

    A page is scaled to fit a grid of rows × columns crops of ``size`` pixels, without changing its proportions; what is left over
    is filled with the colour of its edges. Of all grids of at most ``tiles`` crops that is taken which shows most pixels of the
    page, and of those that show as many the smallest. A page that one crop shows whole is not cut at all. Its tokens are those of
    the whole, then those of the crops row by row. Where pages differ in size they differ in their number of crops, and the
    mask says which tokens are there; where all have one size, there is no mask.

    Args:
        modality: of kind ``image``, of any sizes.
        of: the encoder that reads each crop; table ``of``.
        size: width and height of a crop in pixels: what the encoder reads (384 for ``siglip-so400m-patch14-384``).
        tiles: crops of a page at most, beside the whole.
        places: append to each token where its crop lies: left, top, right and bottom edge, from the middle of the page in halves
            of its longer side. Without it crops are known by their order alone, and a 2 × 3 grid looks like a 3 × 2 one.

    Raises:
        TrialbookError: a value is out of its range, or ``of`` reads no images or has another width than it says.

    Source: the choice of the grid by effective resolution, then by waste, of LLaVA-NeXT (Liu et al. 2024, "AnyRes",
    ``select_best_resolution``), over all grids as in InternVL 1.5 (Chen et al. 2024, section 3.3). Deviations: nothing is cut
    where one crop shows all; the whole keeps its proportions; ``places`` says where a crop lies, where LLaVA-NeXT puts the
    crops' tokens together row by row and ends each row with a learned token.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image",)
    parts: ClassVar[Mapping[str, str]] = {"of": "encoder"}

    def __init__(self, modality: Modality, of: nn.Module, /, *, size: int, tiles: int = 4, places: bool = True) -> None:
        super().__init__()
        for name, value in {"size": size, "tiles": tiles}.items():
            if value < 1:
                raise TrialbookError(f"{name} ({value}) must be at least 1")
        if "image" not in of.accepts:
            raise TrialbookError(f"of: {type(of).__name__} reads no images")
        self.of, self.size, self.tiles, self.places = of, size, tiles, places
        self.dim: int = of.dim + (4 if places else 0)  # type: ignore[operator]
        self.shape = modality.shape
        self.fixed = len(self.shape) == 3 and all(self.shape)  # all pages have one size
        with torch.no_grad():
            blank = of(to_device(of.prepare(np.zeros((1, 3, size, size), np.uint8)), device_of(of)))  # type: ignore[operator]
        self.block: int = blank.tokens.shape[1]
        most = best_grid(*self.shape[1:], size, tiles) if self.fixed else (1, tiles)
        self.max_length = self.block * tile_count(*most)

    @staticmethod
    def offered_to_parts(injected: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inner encoder sees crops, all of one size."""
        side = int(options.get("size", 0))
        return {**injected, "modality": Modality("image", (3, side, side))}

    def blocks(self, raw: Raw) -> list[int]:
        """Number of tiles of each picture."""
        return [tile_count(*best_grid(*image.shape[1:], self.size, self.tiles)) for image in raw]

    def prepare(self, raw: Raw) -> dict[str, Prepared]:
        """B pictures: ``tiles`` [B, T, …] as the inner encoder wants them, ``places`` [B, T, 4]; ``real`` [B, T] (on the CPU)."""
        if self.fixed and (other := [image.shape for image in raw if tuple(image.shape) != tuple(self.shape)]):
            raise TrialbookError(f"the encoder was made for images of shape {list(self.shape)}, not {list(other[0])}")
        cut = [cut_tiles(image, self.size, self.tiles) for image in raw]
        counts = np.array([len(tiles) for tiles, _ in cut])
        real = np.arange(counts.max()) < counts[:, None]
        inner = self.of.prepare(np.stack([tile for tiles, _ in cut for tile in tiles]))  # type: ignore[operator]
        places = torch.from_numpy(np.concatenate([places for _, places in cut]))
        return {"tiles": _each(inner, lambda x: _spread(x, real)), "places": _spread(places, real), "real": real}

    def forward(self, prepared: Mapping[str, Prepared]) -> Features:
        """Prepared pages to tokens [B, T N, D], with a mask where pages differ in size."""
        real: NDArray[np.bool_] = prepared["real"]
        tiles = _each(prepared["tiles"], lambda x: _picked(x, real))
        found = [self.of(part) for part in _chunks(tiles, int(real.sum()))]
        tokens = torch.cat([one.tokens for one in found])
        if self.places:
            beside = _picked(prepared["places"], real).to(tokens.dtype).unsqueeze(1).expand(-1, tokens.shape[1], -1)
            tokens = torch.cat([tokens, beside], dim=-1)
        masks = [one.mask for one in found if one.mask is not None]
        mask = _spread(torch.cat(masks), real) if masks else _everywhere(real, tokens)
        all_there = self.fixed and not masks
        return Features(_spread(tokens, real).flatten(1, 2), None if all_there else mask.flatten(1, 2))

    def identity(self) -> dict[str, str]:
        """Return what the inner encoder's tokens depend on beside weights and options."""
        told: Callable[[], Mapping[str, str]] = getattr(self.of, "identity", dict)
        return {f"of.{key}": value for key, value in told().items()}

    def aliases(self) -> dict[str, str]:
        """Names of the inner encoder's tensors where it stood alone, to their own: it may start from such a run."""
        return {name: f"of.{name}" for name in self.of.state_dict()}


def tile_count(rows: int, columns: int) -> int:
    """Tiles of a page: its crops and the whole; only the whole where that is the only crop."""
    return 1 + rows * columns if rows * columns > 1 else 1


def best_grid(height: int, width: int, size: int, tiles: int) -> tuple[int, int]:
    """Rows and columns of crops of ``size`` pixels, at most ``tiles`` together, for a page of these pixels.

    That which shows most pixels of the page when it is scaled to fit, no more than it has; then the smallest.
    """
    every = ((rows, columns) for rows in range(1, tiles + 1) for columns in range(1, tiles // rows + 1))

    def merit(grid: tuple[int, int]) -> tuple[int, int]:
        rows, columns = grid
        high, wide = fitted_size(height, width, rows * size, columns * size)
        return min(high * wide, height * width), -rows * columns

    return max(every, key=merit)


def cut_tiles(image: Picture, size: int, tiles: int) -> tuple[list[Picture], NDArray[np.float32]]:
    """The whole and the crops of a page [3, H, W], each [3, S, S], and their places [T, 4]."""
    rows, columns = best_grid(*image.shape[1:], size, tiles)
    cut, places = [], []
    for high, wide in dict.fromkeys([(1, 1), (rows, columns)]):
        frame, left, top, width, height = letterbox(image, high * size, wide * size)
        for y, x in np.ndindex(high, wide):
            cut.append(np.ascontiguousarray(frame[:, y * size : (y + 1) * size, x * size : (x + 1) * size]))
            edges = (x * size - left, y * size - top, (x + 1) * size - left, (y + 1) * size - top)
            places.append([(2 * edges[i] - (width, height)[i % 2]) / max(width, height) for i in range(4)])
    return cut, np.array(places, dtype=np.float32)


def _each(prepared: Prepared, change: Callable[[Any], Any]) -> Any:
    """Every tensor and array of prepared rows changed, however they are nested."""
    if isinstance(prepared, Tensor | np.ndarray):
        return change(prepared)
    if isinstance(prepared, Mapping):
        return {key: _each(value, change) for key, value in prepared.items()}
    return type(prepared)(*(_each(value, change) for value in prepared))


def _spread(rows: Any, real: NDArray[np.bool_]) -> Any:
    """Rows [K, …] to their places [B, T, …], in order; zeros elsewhere."""
    if isinstance(rows, np.ndarray):
        spread = np.zeros((*real.shape, *rows.shape[1:]), rows.dtype)
        spread[real] = rows
        return spread
    every = rows.new_zeros(real.size, *rows.shape[1:]).index_copy(0, places_of(real, rows.device), rows)
    return every.unflatten(0, real.shape)


def _picked(spread: Any, real: NDArray[np.bool_]) -> Any:
    """Rows [K, …] from their places [B, T, …], in order."""
    if isinstance(spread, np.ndarray):
        return spread[real]
    return spread.flatten(0, 1).index_select(0, places_of(real, spread.device))


def _everywhere(real: NDArray[np.bool_], tokens: Tensor) -> Tensor:
    """Mask [B, T, N] of tiles [K, N, D] whose tokens are all real."""
    there: Tensor = to_device(torch.from_numpy(real), tokens.device)
    return there.unsqueeze(-1).expand(-1, -1, tokens.shape[1])


def _chunks(prepared: Prepared, count: int) -> Sequence[Any]:
    """Prepared tiles, some at a time."""
    starts = range(0, count, _AT_ONCE)
    return [_each(prepared, lambda x, at=at: x[at : at + _AT_ONCE]) for at in starts]  # type: ignore[misc]
