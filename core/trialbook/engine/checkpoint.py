"""Checkpoints that are complete or not there: safetensors and JSON, written aside, synced, renamed, with checksums."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trialbook.contracts.files import UnreadableFile, load_json, open_regular
from trialbook.registry.record_shapes import MANIFEST

_MANIFEST = "manifest.json"
#: What reading a checkpoint that is broken can raise.
CHECKPOINT_ERRORS = (UnreadableFile, SafetensorError, OSError, ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by group (``model``, ``optimizer``), and a JSON state."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        directory: made when the first one is saved.
        keep: how many of the newest are kept.
    """

    def __init__(self, directory: Path, keep: int = 2) -> None:
        self.directory = directory
        self.keep = keep

    def save(self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> Path:
        """Write a checkpoint; it appears under its name only when every byte of it is on disk."""
        final = self.directory / f"step-{step:08d}"
        partial = self.directory / f".writing-{step:08d}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        files = {}
        for group, named in tensors.items():
            path = partial / f"{group}.safetensors"
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}, path)
            files[path.name] = _sync_and_hash(path)
        manifest = {"step": step, "state": dict(state), "sha256": files}
        body = json.dumps(manifest, indent=1, sort_keys=True)
        sealed = {"manifest": manifest, "sha256": hashlib.sha256(body.encode()).hexdigest()}
        (partial / _MANIFEST).write_text(json.dumps(sealed, indent=1, sort_keys=True))
        _sync_and_hash(partial / _MANIFEST)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        _sync_directory(self.directory)
        self._prune(final)
        return final

    def latest(
        self, unfit: Callable[[Mapping[str, Any]], str | None] = lambda state: None
    ) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint whose checksums hold, and why newer ones were passed over; None where there is none.

        Args:
            unfit: from a checkpoint's state why the run cannot resume from it, or None if it can.
        """
        passed: list[str] = []
        for path in self.paths():
            try:
                checkpoint = read_checkpoint(path)
                reason = unfit(checkpoint.state)
            except CHECKPOINT_ERRORS as error:
                reason = str(error)
            if reason is None:
                return checkpoint, passed
            passed.append(f"{path.name}: {reason}")
        return None, passed

    def paths(self) -> Iterator[Path]:
        """Directories of the completed checkpoints, newest first."""
        yield from sorted(self.directory.glob("step-*"), reverse=True)

    def _prune(self, written: Path) -> None:
        """Delete what is too old, and what is newer than the one just written: the run has gone back behind it."""
        paths = list(self.paths())
        at = paths.index(written)
        for old in paths[:at] + paths[at + self.keep :]:
            shutil.rmtree(old)


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint by its directory.

    Raises:
        CHECKPOINT_ERRORS: it is broken.
    """
    sealed = load_json(path / _MANIFEST, MANIFEST)
    manifest = sealed["manifest"]
    body = json.dumps(manifest, indent=1, sort_keys=True)
    if hashlib.sha256(body.encode()).hexdigest() != sealed["sha256"]:
        raise ValueError(f"{_MANIFEST} does not match its checksum")
    for name, expected in manifest["sha256"].items():
        if _hash(path / name) != expected:
            raise ValueError(f"{name} does not match its checksum")
    tensors = {Path(name).stem: load_file(path / name) for name in manifest["sha256"]}
    return Checkpoint(manifest["step"], tensors, manifest["state"])


def _hash(path: Path) -> str:
    with open_regular(path) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync_and_hash(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _hash(path)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
