"""A built folder of conversations: what lies where in it, and reading it with file and line in every complaint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trialbook.contracts.conversations import Conversation, from_published, is_published
from trialbook.contracts.data_files import note_files
from trialbook.errors import TrialbookError

SPLITS = ("train", "val", "test")
MANIFEST = "manifest.json"
IMAGES = "images"


@dataclass(frozen=True)
class Line:
    """A conversation with the file and line that it stands in."""

    conversation: Conversation
    where: str


@dataclass(frozen=True)
class ConversationFolder:
    """The conversations of a folder, by split.

    Args:
        path: the folder.
        splits: split name to its lines; ``train`` first, splits without a file left out.
        manifest: what ``manifest.json`` says; empty where there is none, as in a folder written by hand.
    """

    path: Path
    splits: Mapping[str, list[Line]]
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def image(self, name: str) -> Path:
        """Path of an image of a conversation."""
        return self.path / name


def read_folder(path: Path) -> ConversationFolder:
    """Read ``train.jsonl``, ``val.jsonl`` and ``test.jsonl`` of a folder and check every line; lines may also be LLaVA's.

    Raises:
        TrialbookError: there is no such folder or none of the files, a line is no conversation, an image lies outside of the
            folder or is not there, or two lines have one id; with file and line.
    """
    if not path.is_dir():
        raise TrialbookError(f"there is no folder {path}; 'mlrun data build' makes one")
    splits: dict[str, list[Line]] = {}
    seen: dict[str, str] = {}
    exists: dict[str, bool] = {}
    for name in SPLITS:
        file = path / f"{name}.jsonl"
        if file.is_file():
            splits[name] = [_checked(line, path, seen, exists) for line in _lines(file)]
    if not splits.get("train"):
        raise TrialbookError(f"{path} has no train.jsonl with a conversation; 'mlrun data build' makes such a folder")
    return ConversationFolder(path, {name: lines for name, lines in splits.items() if lines}, read_manifest(path))


def read_manifest(path: Path) -> dict[str, Any]:
    """Content of a folder's ``manifest.json``; empty where there is none.

    Raises:
        TrialbookError: it is no JSON object.
    """
    file = path / MANIFEST
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrialbookError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise TrialbookError(f"{file} must hold an object")
    return found


def _lines(file: Path) -> Iterator[Line]:
    note_files([file])
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TrialbookError(f"{file} cannot be read as UTF-8 text: {error}") from error
    published: set[str] = set()
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            found = json.loads(line)
            if is_published(found):  # whose ids are numbers or stand more than once
                name = f"{file.stem}-{found.get('id', number)}"
                name = f"{name}-{number}" if name in published else name
                published.add(name)
                yield Line(from_published(found, name), where)
            else:
                yield Line(Conversation.from_dict(found), where)
        except json.JSONDecodeError as error:
            raise TrialbookError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
        except (ValueError, RecursionError) as error:
            raise TrialbookError(f"{where}: JSON that cannot be read: {error}") from error
        except TrialbookError as error:
            raise TrialbookError(f"{where}: {error}") from error


def _checked(line: Line, folder: Path, seen: dict[str, str], exists: dict[str, bool]) -> Line:
    one = line.conversation
    if one.id in seen:
        raise TrialbookError(f"{line.where}: the id '{one.id}' stands at {seen[one.id]} already")
    seen[one.id] = line.where
    for name in one.images:
        if name not in exists:
            inside = not Path(name).is_absolute() and ".." not in Path(name).parts
            exists[name] = inside and (folder / name).is_file()
        if not exists[name]:
            raise TrialbookError(
                f"{line.where}: image '{name}' is no file in {folder}; paths are relative to that folder"
            )
    return line
