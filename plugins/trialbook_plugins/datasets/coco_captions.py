"""Photos with several captions each, in COCO's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trialbook import TrialbookError
from trialbook_plugins.datasets._captioned import CaptionedPhotos, Photo
from trialbook_plugins.datasets._coco import split_files
from trialbook_plugins.datasets._paths import locate, read_json
from trialbook_plugins.datasets._splits import PoolSplit, deal_rest, refuse_overlap


class CocoCaptions(CaptionedPhotos):
    """A folder in COCO's format: photos (``image``) with several captions (``text``) each.

    ``captions`` lists the photos and their captions. Photos are dealt into train, val and test by the content of their
    files, so a photo that is there twice is in one split; a split that has a file of its own takes no share. COCO as published
    needs its ``root`` alone: its val is ``test`` here, since captions of its own test are not published.
    Annotation of a split: ``file``, the names of the photos' files.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: folder of the data set.
        captions: JSON file with ``images`` and ``annotations``, in ``root``; if left out the only ``captions*.json`` in ``root``
            or ``root/annotations``, or that of train.
        images: folder of the photos, in ``root``; if left out that of the file's split as COCO names it (``train2017``), or
            ``images``.
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

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        root: str = "coco-captions",
        captions: str | None = None,
        images: str | None = None,
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
        self.root = root
        self.main = (captions, images)
        self.own = {
            name: (file, folder)
            for name, file, folder in (("val", val_captions, val_images), ("test", test_captions, test_images))
            if file is not None
        }
        shares = (0 if "val" in self.own else val, 0 if "test" in self.own else test)
        super().__init__(data_root, *shares, seed, size, skip_missing, allow_overlap)

    def _cut(self) -> dict[str, PoolSplit]:
        root = locate(self.data_root, self.root)
        files = split_files(root, "captions", "captions", self.main, self.own)
        pools = {name: self.pool(self.usable(read_coco(*one))) for name, one in files.items()}
        own = {name: pools[name] for name in files if name != "main"}
        splits = deal_rest(pools["main"], "image", self.shares, self.seed, own)
        if own and not self.allow_overlap:
            refuse_overlap(splits, ("image", "text"), root)
        return splits


def read_coco(file: Path, folder: Path) -> list[Photo]:
    """The photos of a COCO caption file, in the order of their ids, with their captions in the order of theirs.

    Raises:
        TrialbookError: the file is missing, no JSON or not in COCO's format, or a caption belongs to no photo.
    """
    data = read_json(file)
    notes: dict[Any, list[tuple[Any, str]]] = {}
    names = {}
    try:
        for image in data["images"]:
            names[image["id"]] = Path(image["file_name"] or "")
            notes[image["id"]] = []
        for note in data["annotations"]:
            if note["image_id"] not in names:
                raise TrialbookError(
                    f"{file}: annotation {note['id']} belongs to image {note['image_id']}, which is not listed"
                )
            notes[note["image_id"]].append((note["id"], (note["caption"] or "").strip()))
        said = {key: [caption for _, caption in sorted(notes[key]) if caption] for key in sorted(names)}
    except (KeyError, TypeError, AttributeError) as error:
        raise TrialbookError(
            f"{file}: not a COCO caption file ({type(error).__name__}: {error}); it needs 'images' with 'id' and "
            "'file_name', and 'annotations' with 'id', 'image_id' and 'caption'"
        ) from error
    return [Photo(folder / names[key], captions, str(file)) for key, captions in said.items()]
