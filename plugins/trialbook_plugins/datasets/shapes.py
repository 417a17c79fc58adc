"""Generated pictures of one to five shapes with boxes, classes and masks that are exact to the pixel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets._generated import GeneratedDataset, drawn_column, split_sizes
from trialbook_plugins.datasets._shape_drawing import COLOURS, SHAPES, Mask, Scene, draw_scene
from trialbook_plugins.datasets._splits import Pool, PoolSplit, unknown_modality

_SMALLEST = 3  # pixels: below it shapes cannot be told apart
_TRIES = 200  # scenes that are drawn in vain before giving up


class Shapes(GeneratedDataset):
    """Pictures (``image``) of shapes that do not touch, for measuring whether features know where things are.

    Circles, squares, triangles, diamonds and crosses of 8 colours on a grey that is darker than all of them. Edges are hard, so a
    box and a mask are exactly the pixels of the object. Pictures are drawn when they are read: nothing but their description
    is kept in memory. No picture occurs twice.

    Annotations of a split, a value for each picture: ``boxes`` (x0, y0, x1, y1 as shares of the picture's side, float64 [n, 4]),
    ``classes`` and ``colours`` (int64 [n], indices into ``class_names`` and ``colour_names``), ``masks`` (bool [n, S, S],
    drawn when they are looked at).

    Args:
        train: pictures of the train split.
        val: pictures of the val split; 0 leaves it out.
        test: pictures of the test split; 0 leaves it out.
        size: width and height of a picture in pixels.
        objects: most objects in a picture, 1 to 5.
        min_objects: fewest objects in a picture; as many as ``objects`` if left out.
        min_side: smallest side of an object as a share of the picture's.
        max_side: largest side of an object as a share of the picture's.
        gap: least distance of two objects as a share of the picture's side.
        clutter: draw dim bars behind the objects.
        seed: draws other pictures. Every split has its own stream: more training pictures leave the test pictures alone.
    Raises:
        TrialbookError: an option is out of its range, or (on first reading) so many objects of this size find no room.
    """

    modalities = {"image": "image"}
    class_names = tuple(SHAPES)
    colour_names = tuple(COLOURS)

    def __init__(
        self,
        *,
        train: int = 400,
        val: int = 0,
        test: int = 100,
        size: int = 224,
        objects: int = 1,
        min_objects: int | None = None,
        min_side: float = 0.16,
        max_side: float = 0.3,
        gap: float = 0.08,
        clutter: bool = False,
        seed: int = 0,
    ) -> None:
        self.sizes = split_sizes(train, val, test)
        if not 16 <= size <= 4096:
            raise TrialbookError(f"size ({size}) must be from 16 to 4096 pixels")
        fewest = objects if min_objects is None else min_objects
        if not 1 <= fewest <= objects <= 5:
            raise TrialbookError(f"min_objects ({fewest}) and objects ({objects}) must ascend from 1 to 5")
        if not 0 < min_side <= max_side < 1:
            raise TrialbookError(f"min_side ({min_side}) and max_side ({max_side}) must ascend between 0 and 1")
        self.sides = (round(min_side * size), round(max_side * size))
        if not 0 <= gap < 1:
            raise TrialbookError(f"gap ({gap}) must be from 0 to 1")
        if self.sides[0] < _SMALLEST:
            raise TrialbookError(f"min_side ({min_side}) of {size} pixels is below {_SMALLEST} pixels")
        self.size = size
        self.gap = round(gap * size)
        self.objects = (fewest, objects)
        self.clutter = clutter
        self.seed = seed
        self._seen: set[Scene] = set()

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image``."""
        if modality != "image":
            raise unknown_modality(modality, ("image",))
        return Modality("image", (3, self.size, self.size))

    def draw_split(self, name: str, count: int, rng: np.random.Generator) -> PoolSplit:
        """Draw scenes; their pictures are drawn when they are read."""
        return ShapesSplit(name, [self._unseen(rng) for _ in range(count)], self.size)

    def _unseen(self, rng: np.random.Generator) -> Scene:
        """A scene that differs from all that were drawn before."""
        for _ in range(_TRIES):
            count = int(rng.integers(self.objects[0], self.objects[1] + 1))
            scene = draw_scene(rng, self.size, count, self.sides, self.gap, self.clutter)
            if scene is not None and scene not in self._seen:
                self._seen.add(scene)
                return scene
        raise TrialbookError(
            f"{self.objects[1]} objects of up to {self.sides[1]} pixels find no room, or no new one, in {self.size} pixels: "
            "lower max_side, gap or objects"
        )


class ShapesSplit(PoolSplit):
    """Scenes that are drawn when they are read.

    Args:
        name: name of the split.
        scenes: what is where in every picture.
        size: side of the pictures in pixels.
    """

    def __init__(self, name: str, scenes: Sequence[Scene], size: int) -> None:
        image = drawn_column([partial(scene.draw, size) for scene in scenes], (3, size, size))
        labels: dict[str, Sequence[Any]] = {
            "boxes": [scene.boxes(size) for scene in scenes],
            "classes": [np.array([one.kind for one in scene.objects], dtype=np.int64) for scene in scenes],
            "colours": [np.array([one.colour for one in scene.objects], dtype=np.int64) for scene in scenes],
        }
        pool = Pool(len(scenes), {"image": image}, labels)
        super().__init__(name, pool, np.arange(len(scenes)))
        self._masks = Masks(scenes, size)

    def labels(self, name: str) -> Any:
        """Annotation ``name`` of every picture.

        Raises:
            KeyError: there is no such annotation.
        """
        return self._masks if name == "masks" else super().labels(name)


class Masks(Sequence[Mask]):
    """Masks bool [n, S, S] of each picture's objects, drawn when one is looked at."""

    def __init__(self, scenes: Sequence[Scene], size: int) -> None:
        self._scenes, self._size = scenes, size

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return np.stack([one.mask(self._size) for one in self._scenes[place].objects])
