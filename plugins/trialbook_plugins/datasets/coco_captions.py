"""Photos with several captions each, in COCO's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets._captioned import CaptionedPool, Dropped, Photo, describe_pair, usable
from trialbook_plugins.datasets._images import check_size
from trialbook_plugins.datasets._paths import locate, read_text
from trialbook_plugins.datasets._splits import SPLITS, PoolSplit, fingerprint_of, refuse_overlap, shares_of


class CocoCaptions:
    """A folder in COCO's format: photos (``image``) with several captions (``text``) each.

    ``captions`` lists the photos and their captions. Photos are dealt into train, val and test by the content of their
    files, so a photo that is there twice is in one split; a split that has a file of its own takes no share.
    Annotation of a split: ``file``, the names of the photos' files.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: folder of the data set.
        captions: JSON file with ``images`` and ``annotations``, in ``root``.
        images: folder of the photos, in ``root``.
        val_captions: such a file for val alone.
        val_images: folder of val's photos; ``images`` if left out.
        test_captions: such a file for test alone.
        test_images: folder of test's photos; ``images`` if left out.
        val: share of the photos in ``captions`` that go to val.
        test: share of the photos in ``captions`` that go to test.
        seed: another seed deals the photos differently.
        size: the shorter side is resized to this many pixels and the centre square cut out; 0 keeps the photos as is.
        skip_missing: leave out photos without file or caption, and count them in ``dropped``, instead of stopping.
        allow_overlap: accept split files that share photos.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a file is missing or broken, a photo has no
            file or no caption, or split files share photos.
    Source: "Microsoft COCO Captions: Data Collection and Evaluation Server" (Chen et al., 2015); the format of caption
        files as described at cocodataset.org.
    """

    modalities = {"image": "image", "text": "text"}

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        root: str = "coco-captions",
        captions: str = "captions.json",
        images: str = "images",
        val_captions: str | None = None,
        val_images: str | None = None,
        test_captions: str | None = None,
        test_images: str | None = None,
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
        size: int = 64,
        skip_missing: bool = False,
        allow_overlap: bool = False,
    ) -> None:
        self.data_root = data_root
        self.root = root
        self.main = (captions, images)
        self.own = {
            name: (file, folder or images)
            for name, file, folder in (("val", val_captions, val_images), ("test", test_captions, test_images))
            if file is not None
        }
        self.shares = shares_of(0 if "val" in self.own else val, 0 if "test" in self.own else test)
        self.seed = seed
        self.size = check_size(size)
        self.skip_missing = skip_missing
        self.allow_overlap = allow_overlap
        self.dropped = Dropped()

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image`` or ``text``."""
        return describe_pair(modality, self.size, self.splits)

    def splits(self) -> Mapping[str, PoolSplit]:
        """Train, and val and test where they have a share or a file."""
        return self._splits

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the photos' files, the captions, the splits and the size."""
        return fingerprint_of(self._splits, self.size)

    @cached_property
    def _splits(self) -> dict[str, PoolSplit]:
        root = locate(self.data_root, self.root)
        main = self._pool(root, *self.main)
        splits = main.pool.deal(main.keys(), self.shares, self.seed)
        for name, (file, folder) in self.own.items():
            splits[name] = self._pool(root, file, folder).pool.split(name)
        if self.own and not self.allow_overlap:
            refuse_overlap(splits, ("image", "text"), root)
        return {name: splits[name] for name in SPLITS if name in splits}

    def _pool(self, root: Path, file: str, folder: str) -> CaptionedPool:
        photos = read_coco(root / file, root / folder)
        return CaptionedPool(usable(photos, self.skip_missing, self.dropped), self.size)


def read_coco(file: Path, folder: Path) -> list[Photo]:
    """The photos of a COCO caption file, in the order of their ids, with their captions in the order of theirs.

    Raises:
        TrialbookError: the file is missing, no JSON or not in COCO's format, or a caption belongs to no photo.
    """
    data = _parse(file)
    notes: dict[Any, list[tuple[Any, str]]] = {}
    names = {}
    try:
        for image in data["images"]:
            names[image["id"]] = image["file_name"]
            notes[image["id"]] = []
        for note in data["annotations"]:
            if note["image_id"] not in names:
                raise TrialbookError(
                    f"{file}: annotation {note['id']} belongs to image {note['image_id']}, which is not listed"
                )
            notes[note["image_id"]].append((note["id"], note["caption"].strip()))
        said = {key: [caption for _, caption in sorted(notes[key]) if caption] for key in sorted(names)}
    except (KeyError, TypeError, AttributeError) as error:
        raise TrialbookError(
            f"{file}: not a COCO caption file ({type(error).__name__}: {error}); it needs 'images' with 'id' and "
            "'file_name', and 'annotations' with 'id', 'image_id' and 'caption'"
        ) from error
    return [Photo(folder / names[key], captions, str(file)) for key, captions in said.items()]


def _parse(file: Path) -> Any:
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise TrialbookError(f"{file}:{error.lineno}: not JSON: {error.msg}") from error
