"""Writing a dataset of conversations as a folder: each picture once, no conversation twice, nothing in two splits."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trialbook.contracts.conversation_folder import MANIFEST, SPLITS
from trialbook.contracts.conversations import Conversation, conversation_hash
from trialbook.contracts.datasets import Dataset, LeftOut, Split, content_hash
from trialbook.curation.store import PictureStore
from trialbook.errors import TrialbookError

_SHOWN = 5  # examples in a message
FORMAT = 1


@dataclass
class Dropped:
    """The material that did not get into the folder.

    Args:
        left_out: what the dataset could not use, and pictures that could not be read.
        duplicates: conversations that stood there already, by split.
        leaks: documents of train or val that are those of a later split.
    """

    left_out: list[LeftOut] = field(default_factory=list)
    duplicates: dict[str, int] = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)


def build_folder(
    dataset: Dataset,
    out: Path,
    *,
    about: Mapping[str, Any] | None = None,
    licence: str | None = None,
    drop_leaks: bool = False,
    replace_old: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Write a dataset of conversations to ``out`` and return its manifest; a build that is stopped leaves nothing there.

    Args:
        dataset: with the modalities ``image`` and ``conversation``.
        out: a folder that does not exist yet.
        about: kept in the manifest as ``made_from``.
        licence: in place of what the dataset says of it.
        drop_leaks: drop documents of train (and val) that also stand in a later split, instead of refusing.
        replace_old: put the new folder in the place of an old one.
        progress: is told a split, the documents done and all of them.
    Raises:
        TrialbookError: ``out`` exists, splits share content, or a picture cannot be read.
    """
    if out.exists() and not replace_old:
        raise TrialbookError(f"{out} exists already; choose another folder, or replace it with --replace")
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    unfinished = out.with_name(f".{out.name}.building-{os.getpid()}")
    try:
        unfinished.mkdir()
        builder = _Builder(dataset, unfinished, drop_leaks, progress or (lambda *_: None))
        manifest = builder.build(about or {}, licence)
        _put(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


class _Builder:
    """Writes one folder."""

    def __init__(
        self, dataset: Dataset, folder: Path, drop_leaks: bool, progress: Callable[[str, int, int], None]
    ) -> None:
        self.dataset, self.folder, self.drop_leaks, self.progress = dataset, folder, drop_leaks, progress
        kept_sizes = 0 in dataset.describe("image").shape
        self.store = PictureStore(folder, originals=kept_sizes)
        self.dropped = Dropped()
        self.lines: dict[str, list[Conversation]] = {}
        self.shown: dict[str, tuple[str, str]] = {}  # picture -> split and id where it stands
        self.said: dict[str, tuple[str, str]] = {}
        self.ids: set[str] = set()
        self.shared: list[str] = []

    def build(self, about: Mapping[str, Any], licence: str | None) -> dict[str, Any]:
        """Write everything; the splits that are evaluated first, so that a leak is train's."""
        splits = self.dataset.splits()
        for name in [one for one in reversed(SPLITS) if one in splits]:
            self._split(name, splits[name])
        if self.shared:
            examples = "; ".join(self.shared[:_SHOWN])
            raise TrialbookError(
                f"splits share content: {len(self.shared)} documents stand in two splits ({examples}); nothing was written; "
                "fix the data, or drop them from the earlier split with --drop-leaks"
            )
        if not self.lines.get("train"):
            raise TrialbookError("no conversation is left for train; nothing was written")
        self.dropped.left_out[:0] = list(getattr(self.dataset, "left_out", ()))
        return self._write(about, licence)

    def _split(self, name: str, split: Split) -> None:
        images, owners = split.groups("image"), split.groups("conversation")
        images_of, said_of = _by_group(images, len(split)), _by_group(owners, len(split))
        self.lines[name], self.dropped.duplicates[name] = [], 0
        for group in range(len(split)):
            said: list[Conversation] = split.read("conversation", said_of[group])
            try:
                pictures = [self.store.put(split, int(row)) for row in images_of[group]]
            except TrialbookError as error:
                if not getattr(self.dataset, "skip_bad", False):
                    raise
                self.dropped.left_out += [LeftOut(one.id, str(error)) for one in said]
                continue
            self._document(name, said, pictures)
            self.progress(name, group + 1, len(split))

    def _document(self, split: str, said: list[Conversation], pictures: list[str]) -> None:
        """One document with its conversations, unless it stands in another split."""
        contents = [self.store.content[picture] for picture in pictures]
        fresh = [replace(one, images=tuple(pictures), hash=conversation_hash(one, contents)) for one in said]
        found = [self.shown.get(picture) for picture in pictures] + [self.said.get(one.hash) for one in fresh]
        other = next((one for one in found if one is not None and one[0] != split), None)
        if other is not None:
            note = f"{said[0].id} in {split} is {other[1]} in {other[0]}"
            (self.dropped.leaks if self.drop_leaks else self.shared).append(note)
            return
        for one in fresh:
            if one.hash in self.said:
                self.dropped.duplicates[split] += 1
                continue
            identity = one.id if one.id not in self.ids else f"{one.id}-{one.hash[:8]}"
            self.ids.add(identity)
            self.said[one.hash] = (split, identity)
            self.shown.update({picture: (split, identity) for picture in pictures if picture not in self.shown})
            self.lines[split].append(replace(one, id=identity))

    def _write(self, about: Mapping[str, Any], licence: str | None) -> dict[str, Any]:
        from trialbook._version import __version__
        from trialbook.curation.stats import count_conversations

        self.store.sweep({picture for lines in self.lines.values() for one in lines for picture in one.images})
        parts = []
        for name in SPLITS:
            if self.lines.get(name):
                text = "".join(f"{one.as_line()}\n" for one in self.lines[name])
                (self.folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
                parts += [name, text]
        if self.dropped.left_out:
            rows = (json.dumps(one._asdict(), ensure_ascii=False) for one in self.dropped.left_out)
            (self.folder / "left_out.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        manifest = {
            "format": FORMAT, "fingerprint": content_hash(*parts), "made_from": dict(about),
            "data": self.dataset.fingerprint, "trialbook": __version__,
            "licence": str(getattr(self.dataset, "licence", "")) if licence is None else licence,
            "splits": {name: count_conversations(self.lines[name]) for name in SPLITS if self.lines.get(name)},
            "sources": _by_source(self.lines), "pictures": len(self.store.content),
            "left_out": len(self.dropped.left_out), "duplicates": sum(self.dropped.duplicates.values()),
            "leaks_dropped": len(self.dropped.leaks),
        }  # fmt: skip
        text = json.dumps(manifest, indent=2, ensure_ascii=False, default=str)
        (self.folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
        return manifest


def _by_group(groups: Any, count: int) -> list[Any]:
    """Rows of every group, in order."""
    order = np.argsort(groups, kind="stable")
    edges = np.searchsorted(groups[order], np.arange(count + 1))
    return [order[edges[group] : edges[group + 1]] for group in range(count)]


def _by_source(lines: Mapping[str, list[Conversation]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        for one in lines.get(split, ()):
            counts = found.setdefault(one.source, {})
            counts[split] = counts.get(split, 0) + 1
    return dict(sorted(found.items()))


def _put(unfinished: Path, out: Path) -> None:
    """Give the finished folder its name; an old one is moved aside first and deleted then."""
    if not out.exists():
        unfinished.rename(out)
        return
    old = out.with_name(f".{out.name}.old-{os.getpid()}")
    out.rename(old)
    try:
        unfinished.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Delete what builds of the same folder left that were killed."""
    for left in out.parent.glob(f".{out.name}.building-*"):
        process = left.name.rpartition("-")[2]
        if process.isdigit() and not _alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        try:
            os.kill(process, 0)
        except PermissionError:
            return True
        return True
    return False
