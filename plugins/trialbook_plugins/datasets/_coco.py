"""The files of a folder in COCO's format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from trialbook import TrialbookError
from trialbook.contracts.data_files import find_files


class SplitFiles(NamedTuple):
    """An annotation file and the folder of its photos."""

    annotations: Path
    images: Path


def split_files(
    root: Path, kind: str, option: str, main: tuple[str | None, str | None], own: Mapping[str, tuple[str, str | None]]
) -> dict[str, SplitFiles]:
    """Find the files of a data set: ``main`` first, then those of the splits that have one of their own.

    COCO as published (``annotations/captions_train2017.json`` beside ``train2017``) needs no names: its val is ``test``, since
    the labels of its own test are not published. Photos are looked for in the folder named after their file
    (``instances_val2017.json``, ``val2017``), else in ``images``.

    Args:
        root: folder of the data set.
        kind: how its annotation files begin: ``captions`` or ``instances``.
        option: the option that names the main file.
        main: main file and folder in ``root``; None to find them.
        own: split to its file and folder.
    Raises:
        TrialbookError: the main file is not named, and there is none or more than one.
    """
    file, images = main
    files = {"main": file, **{name: split for name, (split, _) in own.items()}}
    if file is None:
        files |= _published(root, kind, option, set(own))
    folders = {"main": images, **{name: folder or images for name, (_, folder) in own.items()}}
    return {
        name: SplitFiles(root / path, root / folders[name] if folders.get(name) else _photos(root, root / path, kind))
        for name, path in files.items()
        if path is not None
    }


def _published(root: Path, kind: str, option: str, taken: set[str]) -> dict[str, str]:
    """The only annotation file of a folder, or those of train and val as COCO names them."""
    found = [*find_files(root, f"{kind}*.json"), *find_files(root / "annotations", f"{kind}*.json")]
    names = [str(one.relative_to(root)) for one in found]
    train, val = ([name for name in names if f"{kind}_{split}" in name] for split in ("train", "val"))
    if len(names) == 1:
        return {"main": names[0]}
    if len(names) == 2 and len(train) == len(val) == 1:
        return {"main": train[0], **({} if "test" in taken else {"test": val[0]})}
    if not names:
        missing = f"no {kind}*.json in it or in its folder 'annotations'" if root.is_dir() else "no such folder"
        raise TrialbookError(f"{root}: {missing}")
    raise TrialbookError(f"{root}: set '{option}' to one of its {kind}*.json ({', '.join(names)})")


def _photos(root: Path, file: Path, kind: str) -> Path:
    named = root / file.stem.removeprefix(f"{kind}_")
    return named if named.is_dir() else root / "images"
