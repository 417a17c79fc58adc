"""The origin of tokens, tried on a model as it is, for models that mix tokens by means that cannot be switched off.

Order is tried in two steps. On the vision side, images that are black but for one bright cell go through the model: their
difference to a black one must be largest at that cell. Language models mix tokens (and, where they are causal, only
forward), so there the connector's output is changed at the token of one cell: what the layer shows must have changed most
at that cell. Both steps together say where a token of the language model comes from in the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trialbook.contracts import OrderResult, to_device
from trialbook_plugins.vlms.architecture import Area
from trialbook_plugins.vlms.layer_hooks import LayerHook
from trialbook_plugins.vlms.layer_reader import LayerReader
from trialbook_plugins.vlms.rounding import rounding

_CELLS = 36
"""Cells that are tried at most: the corners, and others by chance."""
_SHARE = 0.9
"""Cells that must be found. Mixing may hide one; an order that is wrong moves nearly all of them."""
_BRIGHT = (30.0, 1.0)
"""Multiples of the difference between black and white by which the bright cell differs: so much that it drowns what it changes in
other tokens, and, for points that this does not place (a norm right behind an overlapping convolution), once. One that
places the cells is proof enough: an order that is wrong would not be met by chance.
"""
_PUSH = 100.0
"""Distance by which a token of the connector is moved, in multiples of its length."""


def check_by_perturbation(
    reader: LayerReader, hooks: Sequence[LayerHook], rows: int, device: torch.device
) -> dict[str, OrderResult]:
    """Check whether the tokens of ``hooks``, which have a place in the picture, stand where they are said to stand."""
    seen = [hook for hook in hooks if hook.area.rows != "sequence"]
    said = [hook for hook in hooks if hook.area.rows == "sequence"]
    link = reader.connector
    results: dict[str, OrderResult] = {}
    with torch.no_grad():
        wanted = [*seen, *([link] if said and link is not None else [])]
        for strength in _BRIGHT:
            waiting = [hook for hook in wanted if hook.name not in results or not results[hook.name].passed]
            results |= _by_bright_cells(reader, waiting, strength, rows, device)
        if said and link is not None:
            base = results.pop(link.name)
            results |= _by_moved_tokens(reader, link, said, rows, device)
            if not base.passed:
                results |= {hook.name: base for hook in said}
    return results


def _by_bright_cells(
    reader: LayerReader, hooks: Sequence[LayerHook], strength: float, rows: int, device: torch.device
) -> dict[str, OrderResult]:
    black = np.zeros((1, 3, *reader.family.size), dtype=np.uint8)
    base_inputs = to_device(reader.prepare(black), device)
    base = reader.tokens(base_inputs, hooks) if hooks else {}
    results = {}
    kinds = {hook.name: (tuple(base[hook.name].shape[1:3]), hook.area.overlap) for hook in hooks}
    for grid, overlap in sorted(set(kinds.values())):
        group = [hook for hook in hooks if kinds[hook.name] == (grid, overlap)]
        cells = _cells(grid)
        energies: dict[str, list[Tensor]] = {hook.name: [] for hook in group}
        for start in range(0, len(cells), rows):
            images = _bright(cells[start : start + rows], grid, 0.0 if overlap else 0.5, reader.family.size)
            inputs = to_device(reader.prepare(images), device)
            key = reader.family.pixels
            inputs[key] = base_inputs[key] + strength * (inputs[key] - base_inputs[key])
            for name, tokens in reader.tokens(inputs, group).items():
                energies[name].append(_energy(tokens, base[name]))
        for hook in group:
            results[hook.name] = _judged(torch.cat(energies[hook.name]), cells, hook.area)
    return results


def _by_moved_tokens(
    reader: LayerReader, link: LayerHook, hooks: Sequence[LayerHook], rows: int, device: torch.device
) -> dict[str, OrderResult]:
    black = np.zeros((rows, 3, *reader.family.size), dtype=np.uint8)
    inputs = to_device(reader.prepare(black), device)
    output = reader.outputs(inputs, [link])[link.name]
    places = torch.arange(output.numel() // output.shape[-1], device=device).view(*output.shape[:-1], 1)
    index = reader.placed(link, places, inputs)[..., 0]  # [B, H, W]: which row of the output each cell is
    base = reader.tokens(inputs, hooks)
    generator = torch.Generator().manual_seed(0)
    push = torch.randn(output.shape[-1], generator=generator).to(output)
    push = push / push.norm() * output.norm(dim=-1).mean() * _PUSH
    results: dict[str, OrderResult] = {}
    grids = {hook.name: tuple(base[hook.name].shape[1:3]) for hook in hooks}
    grid = tuple(index.shape[1:])
    cells = _cells(grid)
    energies: dict[str, list[Tensor]] = {name: [] for name in grids}
    for start in range(0, len(cells), rows):
        some = cells[start : start + rows]
        moved = torch.stack([index[row, r, c] for row, (r, c) in enumerate(some)])

        def change(value: Tensor, moved: Tensor = moved) -> Tensor:
            flat = value.reshape(-1, value.shape[-1]).clone()
            flat[moved] += push.to(flat)
            return flat.view_as(value)

        for name, tokens in reader.tokens(inputs, hooks, (link.path, change)).items():
            energies[name].append(_energy(tokens, base[name])[: len(some)])
    for hook in hooks:
        if grids[hook.name] == grid:
            results[hook.name] = _judged(torch.cat(energies[hook.name]), cells, hook.area)
        else:
            what = f"its grid {grids[hook.name]} is not the connector's, {grid}"
            results[hook.name] = OrderResult(False, 0.0, len(cells), what)
    return results


def _energy(tokens: Tensor, base: Tensor) -> Tensor:
    """Return how much tokens [B, H, W, D] differ from those of a black picture [1 or B, H, W, D]: [B, H, W]; 0 for rounding."""
    found = (tokens.float() - base.float()).square().sum(-1)
    least = (rounding(base.dtype) * base.float().norm(dim=-1)).square()
    return found.masked_fill(found <= least, 0.0).cpu()


def _cells(grid: Sequence[int]) -> list[tuple[int, int]]:
    """Corners first, then others in an order that chance has made once."""
    height, width = grid
    corners = list(dict.fromkeys((r, c) for r in (0, height - 1) for c in (0, width - 1)))
    rest = [(r, c) for r in range(height) for c in range(width) if (r, c) not in corners]
    order = np.random.default_rng(0).permutation(len(rest))
    return [*corners, *(rest[i] for i in order)][:_CELLS]


def _bright(cells: Sequence[tuple[int, int]], grid: Sequence[int], centre: float, size: tuple[int, int]) -> np.ndarray:
    """Black images [K, 3, H, W] with one white cell each, around where the cell's token looks."""
    images = np.zeros((len(cells), 3, *size), dtype=np.uint8)
    for image, cell in zip(images, cells, strict=True):
        (top, bottom), (left, right) = (
            [max(round(side * (place + centre + edge) / count), 0) for edge in (-0.5, 0.5)]
            for side, place, count in zip(size, cell, grid, strict=True)
        )
        image[:, top:bottom, left:right] = 255
    return images


def _judged(energy: Tensor, cells: Sequence[tuple[int, int]], area: Area) -> OrderResult:
    """Energy [K, H, W] of the differences that a stimulus at each cell made.

    Where tokens overlap, each that sees the stimulus answers, the middle one not always most: there the middle of the
    neighbourhood that answers most counts, too.
    """
    found = [_found(energy, cells, area.order)]
    if area.overlap:
        around = functional.avg_pool2d(energy[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]
        found.append(_found(around, cells, area.order))
    return max(found, key=lambda result: result.share)


def _found(energy: Tensor, cells: Sequence[tuple[int, int]], order: str) -> OrderResult:
    """Count how many of the cells are where the energy is largest.

    A token that changes whatever is changed (a register that a model made of a patch) has its mean over the stimuli
    taken off, so that it does not hide the cell.
    """
    if not energy.any():
        return OrderResult(False, 0.0, len(cells), "the tokens are the same whatever the picture shows")
    share = energy / energy.flatten(1).sum(1).clamp_min(torch.finfo(energy.dtype).tiny).view(-1, 1, 1)
    if len(cells) > 2:
        share = share - share.mean(0)
    width = energy.shape[2]
    peaks = share.flatten(1).argmax(1).tolist()
    hits = sum(peak == r * width + c for peak, (r, c) in zip(peaks, cells, strict=True)) / len(cells)
    if hits >= _SHARE:
        return OrderResult(True, hits, len(cells))
    (r, c), peak = next((cell, p) for cell, p in zip(cells, peaks, strict=True) if p != cell[0] * width + cell[1])
    return OrderResult(
        False, hits, len(cells),
        f"tokens do not stand in the order '{order}': {hits:.0%} of {len(cells)} cells are where it says; what was "
        f"changed at row {r}, column {c} shows at row {peak // width}, column {peak % width}",
    )  # fmt: skip
