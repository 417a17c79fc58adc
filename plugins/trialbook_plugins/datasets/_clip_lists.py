"""The clips that a folder holds: by the lists of Something-Something v2, or named after what happens in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialbook import TrialbookError
from trialbook.contracts.data_files import find_files
from trialbook_plugins.datasets._paths import read_json
from trialbook_plugins.datasets._video import ENDINGS

_LISTS = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
_PREFIXES = ("", "something-something-v2-")


@dataclass(frozen=True)
class Clip:
    """A file and the name of what happens in it; "" where that is not told."""

    file: Path
    action: str


def list_clips(root: Path, videos: str | None) -> tuple[dict[str, list[Clip]], tuple[str, ...]]:
    """Clips by split, "" where they are to be dealt, and the names of actions.

    Args:
        root: folder with lists, or with clips.
        videos: folder of the clip files below it, where that is told.
    Raises:
        TrialbookError: there are no clips, or a list is broken or names a clip that is not there.
    """
    for folder in (root / "labels", root):
        for prefix in _PREFIXES:
            if (folder / f"{prefix}labels.json").is_file():
                return _published(root, folder, prefix, videos)
    clips = [Clip(file, _action(file, root)) for file in _clip_files(root / (videos or ""))]
    if not clips:
        raise TrialbookError(f"{root}: no clips ({', '.join(ENDINGS)}) and no labels.json")
    return {"": clips}, tuple(sorted({clip.action for clip in clips}))


def _published(
    root: Path, folder: Path, prefix: str, videos: str | None
) -> tuple[dict[str, list[Clip]], tuple[str, ...]]:
    """The lists of Something-Something v2 and the names of its actions by number."""
    numbers = read_json(folder / f"{prefix}labels.json")
    if not isinstance(numbers, dict):
        raise TrialbookError(f"{folder / f'{prefix}labels.json'}: it must map each action to its number")
    names = tuple(sorted(numbers, key=lambda name: int(numbers[name])))
    clips = root / videos if videos is not None else _folder_with_clips(root)
    listed = {}
    for split, stems in _LISTS.items():
        file = next((f for stem in stems if (f := folder / f"{prefix}{stem}.json").is_file()), None)
        if file is not None:
            listed[split] = [_listed_clip(row, clips, file, numbers) for row in read_json(file)]
    if "train" not in listed:
        raise TrialbookError(f"{folder}: there is no {prefix}train.json")
    return listed, names


def _listed_clip(row: Any, clips: Path, file: Path, numbers: Mapping[str, Any]) -> Clip:
    try:
        path, action = clips / f"{row['id']}.webm", re.sub(r"[\[\]]", "", row.get("template", ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise TrialbookError(
            f"{file}: {row!r} is no clip; each needs 'id', and but for the test list 'template'"
        ) from error
    if not path.is_file():
        raise TrialbookError(f"{file}: clip {path} does not exist; fix 'videos'")
    if action and action not in numbers:
        raise TrialbookError(f"{file}: clip {row['id']}: '{action}' is not in labels.json")
    return Clip(path, action)


def _folder_with_clips(root: Path) -> Path:
    found = [
        folder for folder in (root, *sorted(root.iterdir())) if folder.is_dir() and next(folder.glob("*.webm"), None)
    ]
    if len(found) != 1:
        raise TrialbookError(f"{root}: {len(found)} folders hold .webm clips; name one with 'videos'")
    return found[0]


def _clip_files(folder: Path) -> list[Path]:
    return [file for file in find_files(folder, "**/*") if file.suffix.lower() in ENDINGS and file.is_file()]


def _action(file: Path, root: Path) -> str:
    """Name of the folder a clip lies in; of the clip itself, less a number at its end, where it lies in no subfolder."""
    if file.parent != root:
        return file.parent.name
    return re.sub(r"[\s_-]*\d+$", "", file.stem) or file.stem
