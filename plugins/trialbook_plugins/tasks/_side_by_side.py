"""Pictures of several sources in one file, a line for each source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.plots import Shown

_GAP, _MARGIN, _LARGEST = 4, 90, 160


def shown_frames(clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Clips [n, T, 3, H, W] as pictures [m, 3, H, W]: of each the first, middle and last frame, or the only one."""
    frames = clips.shape[1]
    chosen = sorted({0, frames // 2, frames - 1})
    return clips[:, chosen].reshape(-1, *clips.shape[2:])


def write_side_by_side(file: Path, lines: Mapping[str, NDArray[np.uint8]]) -> None:
    """A PNG: a line of pictures for each name, the name before it.

    Args:
        file: where.
        lines: name to clips uint8 [n, T, 3, H, W], as many for each.
    """
    from PIL import Image, ImageDraw

    pictures = {name: shown_frames(clips) for name, clips in lines.items()}
    count, _, height, width = next(iter(pictures.values())).shape
    scale = min(1.0, _LARGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    whole = Image.new(
        "RGB", (_MARGIN + count * (size[0] + _GAP), len(pictures) * (size[1] + _GAP) + _GAP), (255, 255, 255)
    )
    draw: Any = ImageDraw.Draw(whole)
    for row, (name, line) in enumerate(pictures.items()):
        top = _GAP + row * (size[1] + _GAP)
        draw.text((_GAP, top + size[1] // 2 - 5), name, fill=(0, 0, 0))
        for column, picture in enumerate(line):
            image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
            whole.paste(image.resize(size, Image.Resampling.BILINEAR), (_MARGIN + column * (size[0] + _GAP), top))
    whole.save(file, format="PNG")


def shown_by(name: str, run: Path | None, arrays: str, originals: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pictures that an earlier run made of the same originals, uint8 [n, T, 3, H, W].

    Args:
        name: of the run's arm.
        run: its directory; None where it is not among what is needed.
        arrays: name of the arrays that hold its pictures: ``original`` and ``made``.
        originals: pictures that both must have seen.
    Raises:
        TrialbookError: there are none, or they are of other pictures.
    """
    from safetensors.numpy import load_file

    file = None if run is None else run / "arrays" / f"{arrays}.safetensors"
    if file is None or not file.is_file():
        raise TrialbookError(f"baseline: no reconstructions of '{name}' are there; name it in 'needs' of the arm")
    found = load_file(file)
    if not np.array_equal(found["original"], originals):
        raise TrialbookError(f"baseline: '{name}' shows other pictures; give both runs the same data and 'shown'")
    return found["made"]


def about_lines(file: str, lines: Sequence[str], layer: str) -> Shown:
    """Describe the pictures for a page; clips are shown by their first, middle and last frame."""
    said = {"original": "the true pictures", "latents": "what the decoder makes of the true latents, the ceiling",
            "made": f"what the adapter makes of the tokens of {layer}"}  # fmt: skip
    told = "; ".join(f"{line}: {said.get(line, 'what that arm makes of its own')}" for line in lines)
    return Shown(
        file=file, title="Reconstructions", caption=f"{told}.",
        alt=f"Rows of pictures of the final split: {', '.join(lines)}.",
    )  # fmt: skip
