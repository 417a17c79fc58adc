"""Generated clips of a shape that moves right, left, down or up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets._generated import GeneratedDataset, drawn_column, split_sizes
from trialbook_plugins.datasets._shape_drawing import SHAPES, Scene, draw_scene
from trialbook_plugins.datasets._splits import Pool, PoolSplit, unknown_modality

DIRECTIONS = ("right", "left", "down", "up")
_STEPS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
_TRIES = 200


@dataclass(frozen=True)
class _Clip:
    """A scene whose object is moved by ``step`` pixels (right, down) from frame to frame."""

    scene: Scene
    step: tuple[int, int]
    direction: int

    def frame(self, t: int) -> Scene:
        """The scene at frame ``t``."""
        moved = tuple(one.moved(self.step[0] * t, self.step[1] * t) for one in self.scene.objects)
        return Scene(moved, self.scene.grey, self.scene.clutter)


class MovingShapes(GeneratedDataset):
    """Clips (``video``) of one shape that moves in one of four directions, and the frame in their middle (``image``).

    Rows of ``video`` are uint8 [B, T, 3, S, S], drawn when they are read; the shape stays within the picture. No clip occurs
    twice.

    Annotations of a split, a value for each clip: ``direction`` (int64, index into ``direction_names``), ``tracks`` (boxes of the
    object in every frame, float64 [T, 4] in shares of the picture), ``boxes`` and ``classes`` of the middle frame (float64
    [1, 4], int64 [1]).

    Args:
        train: clips of the train split.
        val: clips of the val split; 0 leaves it out.
        test: clips of the test split; 0 leaves it out.
        size: width and height in pixels.
        frames: frames T of a clip.
        travel: least way from the first to the last frame, as a share of the picture's side.
        min_side: smallest side of the object as a share of the picture's.
        max_side: largest side of the object as a share of the picture's.
        clutter: draw dim bars behind the object, which do not move.
        seed: draws other clips.
    Raises:
        TrialbookError: an option is out of its range, or the object has no room to travel.
    """

    modalities = {"video": "video", "image": "image"}
    class_names = tuple(SHAPES)
    direction_names = DIRECTIONS

    def __init__(
        self,
        *,
        train: int = 160,
        val: int = 0,
        test: int = 40,
        size: int = 224,
        frames: int = 9,
        travel: float = 0.25,
        min_side: float = 0.16,
        max_side: float = 0.3,
        clutter: bool = False,
        seed: int = 0,
    ) -> None:
        self.sizes = split_sizes(train, val, test)
        if not 16 <= size <= 4096 or frames < 2:
            raise TrialbookError(f"size ({size}) must be from 16 to 4096 pixels and frames ({frames}) at least 2")
        if not 0 < min_side <= max_side < 1:
            raise TrialbookError(f"min_side ({min_side}) and max_side ({max_side}) must ascend between 0 and 1")
        self.sides = (max(3, round(min_side * size)), max(3, round(max_side * size)))
        self.step = max(
            1, round(travel * size / (frames - 1))
        )  # whole pixels, so that frames differ by a shift and nothing else
        if self.sides[1] + self.step * (frames - 1) > size:
            raise TrialbookError(
                f"an object of {self.sides[1]} pixels cannot travel {self.step} pixels a frame for {frames} frames within {size} "
                "pixels: lower max_side, travel or frames"
            )
        self.size = size
        self.frames = frames
        self.clutter = clutter
        self.seed = seed
        self._seen: set[Scene] = set()

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``video`` (T, 3, S, S) or ``image``."""
        if modality == "video":
            return Modality("video", (self.frames, 3, self.size, self.size))
        if modality == "image":
            return Modality("image", (3, self.size, self.size))
        raise unknown_modality(modality, tuple(self.modalities))

    def draw_split(self, name: str, count: int, rng: np.random.Generator) -> PoolSplit:
        """Draw scenes and how they move; their frames are drawn when they are read."""
        return self._pool([self._unseen(rng, place) for place in range(count)]).split(name)

    def _unseen(self, rng: np.random.Generator, place: int) -> _Clip:
        """A clip whose middle frame differs from all that were drawn before; directions take turns."""
        direction = place % len(DIRECTIONS)
        right, down = (self.step * sign for sign in _STEPS[DIRECTIONS[direction]])
        way = self.frames - 1
        for _ in range(_TRIES):
            scene = draw_scene(rng, self.size, 1, self.sides, 0, self.clutter)
            if scene is None:
                continue
            one = scene.objects[0]
            ends = one.left + right * way, one.top + down * way
            if not all(0 <= end <= self.size - one.width for end in ends):
                continue
            clip = _Clip(scene, (right, down), direction)
            if (middle := clip.frame(self.frames // 2)) not in self._seen:
                self._seen.add(middle)
                return clip
        raise TrialbookError(f"no {sum(self.sizes.values())} different clips can be drawn; raise size, or lower travel")

    def _pool(self, clips: Sequence[_Clip]) -> Pool:
        def draw(clip: _Clip) -> NDArray[np.uint8]:
            return np.stack([clip.frame(t).draw(self.size) for t in range(self.frames)])

        def middle(clip: _Clip) -> NDArray[np.uint8]:
            return clip.frame(self.frames // 2).draw(self.size)

        columns = {
            name: drawn_column([partial(make, clip) for clip in clips], self.describe(name).shape)
            for name, make in (("video", draw), ("image", middle))
        }
        labels: dict[str, Any] = {
            "direction": np.array([clip.direction for clip in clips], dtype=np.int64),
            "tracks": [np.concatenate([clip.frame(t).boxes(self.size) for t in range(self.frames)]) for clip in clips],
            "boxes": [clip.frame(self.frames // 2).boxes(self.size) for clip in clips],
            "classes": [np.array([clip.scene.objects[0].kind]) for clip in clips],
        }
        return Pool(len(clips), columns, labels)
