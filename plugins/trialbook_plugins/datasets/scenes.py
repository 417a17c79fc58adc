"""Generated pictures of coloured shapes, each with several captions and the boxes of its objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality, content_hash
from trialbook_plugins.datasets._captioned import describe_pair
from trialbook_plugins.datasets._generated import GeneratedDataset, split_sizes
from trialbook_plugins.datasets._scene_captions import GRIDS, TEMPLATES, write_captions
from trialbook_plugins.datasets._scene_shapes import COLOURS, SHAPES, SIZES, Layout, draw_layouts, draw_pictures
from trialbook_plugins.datasets._splits import (
    Pool,
    PoolSplit,
    array_column,
    joined,
    text_column,
)

_SMALLEST_CELL = 8  # pixels
_ROUNDS = 20  # how often repeated pictures are drawn again before giving up


class Scenes(GeneratedDataset):
    """Pictures (``image``) of coloured shapes on grey, with sentences (``text``) that name every object in them.

    Shapes (circle, square, triangle, diamond, cross, ring) of 8 colours and 2 sizes lie in different cells of a
    grid. Every sentence about a scene names size, colour, shape and place of each object, in an order and in words of
    its own. No picture occurs twice. A sentence may well be true of two scenes; its content hash is therefore taken
    together with its picture's, and the check for leaks between splits is one of pictures.

    Annotations of a split, a value for each scene: ``boxes`` (x0, y0, x1, y1 in pixels, float32 [n, 4]), ``classes``,
    ``colours`` and ``sizes`` (int64 [n], indices into ``class_names``, ``colour_names`` and ``size_names``).

    Args:
        train: scenes of the train split.
        val: scenes of the val split; 0 leaves it out.
        test: scenes of the test split; 0 leaves it out.
        size: width and height of a picture in pixels.
        grid: cells a side, 2 or 3.
        captions: sentences about each scene, up to 4.
        min_objects: fewest objects in a scene.
        max_objects: most objects in a scene, up to 3; n objects are n times as likely as one.
        jitter: how far objects may lie from the middle of their cells: 0 not at all, 1 up to the cell's edge.
        seed: draws other scenes. Every split has its own stream: more training scenes leave the test scenes alone.
    Raises:
        TrialbookError: an option is out of its range, or (on first reading) there are not so many different pictures.
    """

    modalities = {"image": "image", "text": "text"}
    counted = {"train": "train", "val": "val", "test": "test"}
    class_names = tuple(SHAPES)
    colour_names = tuple(COLOURS)
    size_names = tuple(SIZES)

    def __init__(
        self,
        *,
        train: int = 4096,
        val: int = 512,
        test: int = 512,
        size: int = 32,
        grid: int = 3,
        captions: int = 4,
        min_objects: int = 1,
        max_objects: int = 3,
        jitter: float = 0.8,
        seed: int = 0,
    ) -> None:
        self.sizes = split_sizes(train, val, test)
        if grid not in GRIDS:
            raise TrialbookError(f"grid ({grid}) must be one of {', '.join(map(str, GRIDS))}")
        if size < (least := grid * _SMALLEST_CELL):
            raise TrialbookError(f"size ({size}) must be at least {least} pixels, or shapes cannot be told apart")
        if not 1 <= captions <= len(TEMPLATES):
            raise TrialbookError(f"captions ({captions}) must be from 1 to {len(TEMPLATES)}")
        if not 1 <= min_objects <= max_objects <= 3:
            raise TrialbookError(f"min_objects ({min_objects}) and max_objects ({max_objects}) must ascend from 1 to 3")
        if not 0 <= jitter <= 1:
            raise TrialbookError(f"jitter ({jitter}) is from 0 to 1")
        self.size = size
        self.grid = grid
        self.captions = captions
        self.objects = (min_objects, max_objects)
        self.jitter = jitter
        self.seed = seed
        self._seen: set[str] = set()

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image`` or ``text``."""
        return describe_pair(modality, self.size, self.splits)

    def draw_split(self, name: str, count: int, rng: np.random.Generator) -> PoolSplit:
        """Draw scenes and write their captions."""
        layout, pictures, hashes = self._unseen(rng, count)
        captions = write_captions(rng, layout, self.captions)
        return self._pool(layout, pictures, hashes, captions).split(name)

    def _unseen(self, rng: np.random.Generator, count: int) -> tuple[Layout, NDArray[np.uint8], list[str]]:
        """``count`` scenes whose pictures differ from each other and from all that were drawn before."""
        layout = draw_layouts(rng, count, self.size, self.grid, self.objects, self.jitter)
        pictures = draw_pictures(layout, self.size)
        hashes = [content_hash(picture) for picture in pictures]
        repeated = _claim(hashes, range(count), self._seen)
        for _ in range(_ROUNDS):
            if not repeated:
                return layout, pictures, hashes
            again = draw_layouts(rng, len(repeated), self.size, self.grid, self.objects, self.jitter)
            layout.replace(repeated, again)
            pictures[repeated] = draw_pictures(again, self.size)
            for scene in repeated:
                hashes[scene] = content_hash(pictures[scene])
            repeated = _claim(hashes, repeated, self._seen)
        total = sum(self.sizes.values())
        raise TrialbookError(
            f"there are hardly {total} different pictures of this kind; ask for fewer, or raise jitter"
        )

    def _pool(self, layout: Layout, pictures: NDArray[np.uint8], hashes: list[str], captions: list[list[str]]) -> Pool:
        owner = np.repeat(np.arange(len(pictures)), self.captions)
        image = array_column(pictures, hashes=hashes)
        text = text_column([sentence for said in captions for sentence in said], owner)
        columns = {"image": image, "text": joined(text, image.content)}
        labels: dict[str, Sequence[NDArray[Any]]] = {
            "boxes": [layout.boxes(scene) for scene in range(len(pictures))],
            "classes": _ragged(layout.shape, layout.count),
            "colours": _ragged(layout.colour, layout.count),
            "sizes": _ragged(layout.size, layout.count),
        }
        return Pool(len(pictures), columns, labels)


def _claim(hashes: list[str], scenes: range | list[int], seen: set[str]) -> list[int]:
    """Add the hashes of ``scenes`` to ``seen``; return the scenes whose hash was there already."""
    repeated = []
    for scene in scenes:
        if hashes[scene] in seen:
            repeated.append(scene)
        seen.add(hashes[scene])
    return repeated


def _ragged(values: NDArray[np.int64], count: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The first ``count`` values of each row."""
    return [row[:n] for row, n in zip(values, count, strict=True)]
