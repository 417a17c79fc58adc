"""A run's directory: the names in it, how its files are written and read, and whether a process is at work in it.

The directory is the record of a run and complete by itself; the registry is only an index over directories.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialbook.config.run_format import FORMAT, Format1, NewerFormat, mapping_of
from trialbook.contracts.files import read_json, read_lines, to_json, write_whole
from trialbook.errors import TrialbookError
from trialbook.registry.lock import is_locked

#: Every file of a run that is written once or replaced as a whole, by the name used in code.
JSON_FILES = ("run", "env", "components", "data", "sessions", "findings", "results")
#: Files to which lines are appended as they happen.
LINE_FILES = ("metrics", "timing", "stats", "events")
#: Names of such files in run directories of format 1.
_OLD_LINES = {"stats": "vitals"}


@dataclass(frozen=True)
class RunDirectory:
    """Names of the files of one run."""

    path: Path

    def json(self, name: str) -> Path:
        """``run``, ``env``, ``components``, ``data``, ``sessions``, ``findings`` or ``results`` -> its file."""
        return self.path / f"{name}.json"

    def lines(self, name: str) -> Path:
        """``metrics``, ``timing``, ``stats`` or ``events`` -> its file."""
        file = self.path / f"{name}.jsonl"
        if name in _OLD_LINES and not file.exists() and (old := self.path / f"{_OLD_LINES[name]}.jsonl").exists():
            return old
        return file

    def read(self, name: str) -> Any:
        """Content of a JSON file of the run under the names of now; None where there is none.

        Raises:
            TrialbookError: the file is not JSON, or a newer program wrote the run.
        """
        content = read_json(self.json(name))
        if content is None or name not in ("run", "results"):
            return content
        mapping = mapping_of(content, self.path.name) if name == "run" else self.mapping()
        return content if mapping is None else getattr(mapping, name)(content)

    def mapping(self) -> Format1 | None:
        """Return the mapping by which records of an earlier format are read; None where they have the names of now.

        Raises:
            TrialbookError: ``run.json`` is not JSON, or a newer program wrote the run.
        """
        return mapping_of(read_json(self.json("run")) or {"format": FORMAT}, self.path.name)

    def check_readable(self) -> None:
        """Refuse a run that a newer program wrote.

        Raises:
            TrialbookError: it is one.
        """
        self.mapping()

    def check_resumable(self) -> None:
        """Refuse to continue with a run of another version: its sources are not those of now.

        Raises:
            TrialbookError: it is of one.
        """
        if self.mapping() is not None:
            name = f"{self.path.parent.name}/{self.path.name}"
            raise TrialbookError(
                f"it was begun by an earlier version of trialbook and cannot be resumed, as the program's sources have changed "
                f"since; delete it with 'mlrun rm {name}' and run it again"
            )

    def is_newer(self) -> bool:
        """Return whether a newer program wrote the run, so that this one cannot read it."""
        try:
            self.mapping()
        except NewerFormat:
            return True
        return False

    def read_lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Lines of a JSON Lines file of the run under the names of now; a torn last line is left out.

        Raises:
            TrialbookError: they are metrics of a run that a newer program wrote.
        """
        lines = read_lines(self.lines(name))
        mapping = self.mapping() if name == "metrics" else None
        return lines if mapping is None else map(mapping.line, lines)

    def read_evaluation(self, name: str) -> dict[str, Any]:
        """Values and circumstances of an evaluation that was made of the run later; empty where there is none."""
        facts, mapping = read_json(self.evaluation(name)) or {}, self.mapping()
        return facts if mapping is None else mapping.evaluation(facts)

    def write(self, name: str, value: Any) -> None:
        """Replace a JSON file of the run, as a whole."""
        write_whole(self.json(name), to_json(value))

    @property
    def config(self) -> Path:
        """The resolved configuration, as TOML."""
        return self.path / "config.toml"

    @property
    def patch(self) -> Path:
        """The changes of the working tree against its commit."""
        return self.path / "dirty.patch"

    @property
    def report(self) -> Path:
        """A page for people."""
        return self.path / "report.md"

    def arrays(self, name: str) -> Path:
        """Arrays that the run left for plots and later questions, as safetensors."""
        return self.path / "arrays" / f"{name}.safetensors"

    @property
    def artifacts(self) -> Path:
        """Folder of the files that it made for other runs."""
        return self.path / "artifacts"

    @property
    def predictions(self) -> Path:
        """The run's answers in the last evaluation of its final split, one ``Prediction`` a line."""
        return self.path / "predictions.jsonl"

    def evaluation(self, name: str) -> Path:
        """Metrics of an evaluation that was made of the run later; its answers lie beside it."""
        return self.path / "evaluations" / f"{name}.json"

    def answers(self, evaluation: str | None = None) -> Path:
        """Return the file of the run's answers in the last evaluation of its final split, or in a later one."""
        if evaluation is None:
            return self.predictions
        return self.path / "evaluations" / f"{evaluation}.predictions.jsonl"

    def evaluations(self) -> list[str]:
        """Names of the evaluations that were made of the run later."""
        return sorted(file.stem for file in (self.path / "evaluations").glob("[!.]*.json"))

    def failures(self, evaluation: str | None = None) -> Path:
        """The gallery of its failures, or of those of a later evaluation."""
        file = self.answers(evaluation)
        return file.with_name(f"{file.name.removesuffix('predictions.jsonl')}failures.html")

    @property
    def tags(self) -> Path:
        """The tags that people gave to its failures; never made again."""
        return self.path / "tags.json"

    @property
    def error(self) -> Path:
        """The error with which the run failed; there only if it did."""
        return self.path / "error.txt"

    def error_of(self, rank: int) -> Path:
        """Return the file of the error with which one of several processes of a run failed."""
        return self.path / f"error.rank{rank}.txt"

    def errors_of_processes(self) -> list[Path]:
        """The same of all that did."""
        return sorted(self.path.glob("error.rank*.txt"))

    @property
    def lock(self) -> Path:
        """Locked while a process is at work; holds its host, id and start time."""
        return self.path / "lock"

    def is_run(self) -> bool:
        """Return whether a run was ever started here."""
        return self.json("run").is_file()

    def status(self) -> str:
        """``running``, ``finished``, ``failed``, ``killed`` or ``missing``, as the directory shows it now."""
        if not self.is_run():
            return "missing"
        if is_locked(self.lock):
            return "running"
        if self.json("results").is_file():
            return "finished"
        return "failed" if self.error.is_file() else "killed"


def find_runs(root: Path) -> Iterator[Path]:
    """Run directories below ``root`` (two levels deep: ``<experiment>/<name>``), sorted."""
    for path in list_folders(root):
        if RunDirectory(root / path).is_run():
            yield root / path


def list_folders(root: Path) -> list[str]:
    """Folders two levels below ``root`` as ``<experiment>/<name>``, sorted; hidden ones are left out."""
    return [f"{experiment}/{name}" for experiment in _folders(root) for name in _folders(root / experiment)]


def _folders(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except FileNotFoundError:
        return []


def cut_torn_line(file: Path) -> int:
    """Cut what stands behind the last line break (a write that a kill interrupted); returns how many bytes were cut."""
    try:
        with file.open("r+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            end, keep = size, 0
            while end > 0:
                start = max(0, end - 65536)
                stream.seek(start)
                at = stream.read(end - start).rfind(b"\n")
                if at >= 0:
                    keep = start + at + 1
                    break
                end = start
            if keep < size:
                stream.truncate(keep)
            return size - keep
    except FileNotFoundError:
        return 0


def write_arrays(file: Path, values: Mapping[str, Any], step: int) -> None:
    """Replace a file of named arrays, as a whole."""
    from safetensors.numpy import save  # late: a run that leaves none need not import it

    file.parent.mkdir(exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.write_bytes(save(dict(values), metadata={"step": str(step)}))
    aside.replace(file)


def write_artifact(file: Path, write: Callable[[Path], None]) -> dict[str, Any]:
    """Put a file there as a whole; returns its size in bytes and its SHA-256."""
    file.parent.mkdir(exist_ok=True)
    aside = file.with_name(f".{os.getpid()}.{file.name}")
    write(aside)
    digest = hashlib.sha256()
    with aside.open("rb") as stream:
        while data := stream.read(1 << 20):
            digest.update(data)
        os.fsync(stream.fileno())
    aside.replace(file)
    return {"bytes": file.stat().st_size, "sha256": digest.hexdigest()}


def count_lines(file: Path, size: int | None = None) -> int:
    """Lines in a file, or in its first ``size`` bytes."""
    count, left = 0, size
    with file.open("rb") as stream:
        while data := stream.read(1 << 20 if left is None else min(left, 1 << 20)):
            count += data.count(b"\n")
            left = None if left is None else left - len(data)
    return count
