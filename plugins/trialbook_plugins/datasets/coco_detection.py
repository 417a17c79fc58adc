"""Photos with boxes and classes, in COCO's format."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets._boxed import BoxedPhoto, Fit, boxes_of, place_boxes, upright_size
from trialbook_plugins.datasets._coco import SplitFiles, split_files
from trialbook_plugins.datasets._images import Pictures, check_size, image_shape, look_at_files
from trialbook_plugins.datasets._paths import locate, read_json
from trialbook_plugins.datasets._splits import (
    Column,
    Pool,
    PooledDataset,
    PoolSplit,
    deal_rest,
    refuse_overlap,
    shares_of,
    unknown_modality,
)

_LOG = logging.getLogger(__name__)


class CocoDetection(PooledDataset):
    """A folder in COCO's format: photos (``image``) with the boxes and classes of their objects.

    Photos are dealt into train, val and test by the content of their files; a split that has a file of its own takes no share.
    COCO as published needs its ``root`` alone: its val is ``test`` here, since boxes of its own test are not published.

    Annotations of a split, a value for each photo: ``boxes`` (x0, y0, x1, y1 as shares of the picture that is read, float64
    [n, 4]), ``classes`` (int64 [n], indices into ``class_names``), ``crowd`` (bool [n]), ``count`` (how many boxes), ``file``
    (name of the photo's file). Boxes follow their photo when it is resized; one of which less than a quarter is left in the
    picture is left out.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: folder of the data set.
        annotations: JSON file with ``images``, ``annotations`` and ``categories``, in ``root``; if left out the only
            ``instances*.json`` in ``root`` or ``root/annotations``, or that of train.
        images: folder of the photos, in ``root``; if left out that of the annotations' split as COCO names it (``val2017``),
            or ``images``.
        val_annotations: such a file for val alone.
        val_images: folder of val's photos.
        test_annotations: such a file for test alone.
        test_images: folder of test's photos.
        val: share of the photos in ``annotations`` that go to val.
        test: share of the photos in ``annotations`` that go to test.
        seed: another seed deals the photos differently.
        size: side of the pictures in pixels; 0 keeps the photos as they are.
        fit: ``pad`` resizes the longer side and fills the square with white; ``crop`` resizes the shorter side and cuts the
            centre out.
        limit: most photos of each file, the first by content hash; 0 for all.
        min_side: boxes of which a side is shorter than this share of the picture are left out: a grid of tokens tells those
            apart that are two cells wide.
        crowds: keep the boxes around crowds (``iscrowd``). Average precision counts what lies in them as neither right nor wrong;
            probes take them for objects.
        empty: keep photos without a box.
        skip_missing: leave out photos without a readable file, and count them in ``dropped``, instead of stopping.
        allow_overlap: accept split files that share photos.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a file is missing or broken, a photo is missing,
            unreadable or has another size than its annotation says, or split files share photos.
    Source: "Microsoft COCO: Common Objects in Context" (Lin et al., 2014); the format of instance files as described at
        cocodataset.org.
    """

    modalities = {"image": "image"}

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        root: str = "coco",
        annotations: str | None = None,
        images: str | None = None,
        val_annotations: str | None = None,
        val_images: str | None = None,
        test_annotations: str | None = None,
        test_images: str | None = None,
        val: float = 0.0,
        test: float = 0.2,
        seed: int = 0,
        size: int = 224,
        fit: Fit = "pad",
        limit: int = 0,
        min_side: float = 0.0,
        crowds: bool = True,
        empty: bool = False,
        skip_missing: bool = False,
        allow_overlap: bool = False,
    ) -> None:
        self.data_root = data_root
        self.root = root
        self.main = (annotations, images)
        self.own = {
            name: (file, folder)
            for name, file, folder in (("val", val_annotations, val_images), ("test", test_annotations, test_images))
            if file is not None
        }
        self.shares = shares_of(0 if "val" in self.own else val, 0 if "test" in self.own else test)
        if limit < 0:
            raise TrialbookError(f"limit ({limit}) must be a number of photos, or 0 for all")
        if not 0 <= min_side < 1:
            raise TrialbookError(f"min_side ({min_side}) must be a share of the picture, from 0 to below 1")
        self.seed, self.min_side, self.crowds = seed, min_side, crowds
        self.size = check_size(size)
        self.fit: Fit = fit
        self.limit = limit
        self.empty = empty
        self.skip_missing = skip_missing
        self.dropped = 0
        self.allow_overlap = allow_overlap

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image``."""
        if modality != "image":
            raise unknown_modality(modality, ("image",))
        return Modality("image", image_shape(self.size))

    @property
    def preparation(self) -> tuple[object, ...]:  # type: ignore[override]
        """Side of the pictures, how they fit it, and the classes."""
        return (self.size, self.fit, self.class_names)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their ids in the files."""
        found: dict[Any, str] = {}
        for file, _ in self._files.values():
            found.update(_categories(read_json(file), file))
        return tuple(found[key] for key in sorted(found))

    @cached_property
    def _files(self) -> dict[str, SplitFiles]:
        return split_files(locate(self.data_root, self.root), "instances", "annotations", self.main, self.own)

    def _cut(self) -> dict[str, PoolSplit]:
        ids: dict[Any, str] = {}
        for file, _ in self._files.values():
            ids.update(_categories(read_json(file), file))
        classes = {key: place for place, key in enumerate(sorted(ids))}
        pools = {name: self._pool(*files, classes) for name, files in self._files.items()}
        own = {name: pools[name] for name in pools if name != "main"}
        splits = deal_rest(pools["main"], "image", self.shares, self.seed, own)
        if own and not self.allow_overlap:
            refuse_overlap(splits, ("image",), locate(self.data_root, self.root))
        return splits

    def _pool(self, file: Path, folder: Path, classes: dict[Any, int]) -> Pool:
        photos = [(photo, self._placed(photo)) for photo in self._readable(read_instances(file, folder, classes), file)]
        photos = [(photo, placed) for photo, placed in photos if self.empty or len(placed[0])]
        if not photos:
            wide = f" of which every side is at least {self.min_side:g} of the picture" if self.min_side else ""
            raise TrialbookError(f"{file}: no photo with a box{wide} is listed")
        if self.limit and len(photos) > self.limit:
            every = _pictures([photo.file for photo, _ in photos], self.size, self.fit).hashes
            chosen = sorted(range(len(photos)), key=every.__getitem__)[: self.limit]
            photos = [photos[i] for i in sorted(chosen)]
        files = [photo.file for photo, _ in photos]
        pictures = _pictures(files, self.size, self.fit)
        labels = {
            "boxes": [placed[0] for _, placed in photos],
            "classes": [placed[1] for _, placed in photos],
            "crowd": [placed[2] for _, placed in photos],
            "count": [len(placed[0]) for _, placed in photos],
            "file": [one.name for one in files],
        }
        column = Column(np.arange(len(photos)), pictures.read, lambda: pictures.hashes)
        return Pool(len(photos), {"image": column}, labels, path=files.__getitem__)

    def _readable(self, photos: list[BoxedPhoto], file: Path) -> list[BoxedPhoto]:
        """The photos that are there, and with ``skip_missing`` those that can be read."""
        there = [photo for photo in photos if photo.file.is_file()]
        if not self.skip_missing:
            if missing := [photo.file for photo in photos if not photo.file.is_file()]:
                raise TrialbookError(
                    f"{file}: picture {missing[0]} does not exist ({len(missing)} of {len(photos)}); fix 'images' or the file, "
                    "or set skip_missing = true"
                )
            return photos
        looks = look_at_files(photo.file for photo in there)
        kept = [photo for photo in there if not looks[photo.file].problem]
        self.dropped += len(photos) - len(kept)
        if len(kept) < len(photos):
            _LOG.warning(
                "%s: left out %d of %d photos without a readable file", file, len(photos) - len(kept), len(photos)
            )
        return kept

    def _placed(self, photo: BoxedPhoto) -> tuple[Any, Any, Any]:
        """Boxes in the picture that is made of a photo, their classes and whether they are crowds: of those that count."""
        width, height = upright_size(photo.file)
        if photo.size not in (None, (width, height)):
            raise TrialbookError(f"{photo.file} is {width} × {height} pixels but its boxes are for {photo.size}")
        boxes, seen = place_boxes(photo.boxes, width, height, self.size, self.fit)
        counts = seen & ((boxes[:, 2:] - boxes[:, :2]).min(1, initial=1) >= self.min_side)
        if not self.crowds:
            counts &= ~photo.crowd
        return boxes[counts], photo.classes[counts], photo.crowd[counts]


def read_instances(file: Path, folder: Path, classes: dict[Any, int]) -> list[BoxedPhoto]:
    """The photos of a COCO instance file, in the order of their ids.

    Raises:
        TrialbookError: it is no such file, or a box belongs to no photo.
    """
    data = read_json(file)
    try:
        notes: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in data["images"]}
        for note in data["annotations"]:
            if note["image_id"] not in notes:
                raise TrialbookError(
                    f"{file}: annotation {note['id']} belongs to image {note['image_id']}, which is not listed"
                )
            notes[note["image_id"]].append(note)
        photos = []
        for image in sorted(data["images"], key=lambda one: one["id"]):
            path = folder / image["file_name"]
            size = (image["width"], image["height"]) if "width" in image and "height" in image else None
            photos.append(BoxedPhoto(path, *boxes_of(notes[image["id"]], classes, file), size))
    except (KeyError, TypeError, AttributeError) as error:
        raise TrialbookError(
            f"{file}: not a COCO instance file ({type(error).__name__}: {error}); it needs 'images' with 'id' and 'file_name', "
            "'categories', and 'annotations' with 'image_id', 'category_id' and 'bbox'"
        ) from error
    return photos


def _categories(data: Any, file: Path) -> dict[Any, str]:
    try:
        return {one["id"]: str(one["name"]) for one in data["categories"]}
    except (KeyError, TypeError) as error:
        raise TrialbookError(f"{file}: not a COCO instance file: it needs 'categories' with 'id' and 'name'") from error


def _pictures(files: Sequence[Path], size: int, fit: Fit) -> Pictures:
    advice = "; fix the data or set skip_missing = true"
    return Pictures(lambda row: files[row].read_bytes(), files, size, crop=fit == "crop", advice=advice)
