"""A run's directory: the names in it, how its files are written and read, and whether a process is at work in it.

The directory is the record of a run and complete by itself; the registry is only an index over directories.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialbook.config.run_format import FORMAT, Format1, NewerFormat, format_of, mapping_of
from trialbook.contracts.files import (
    UnreadableFile,
    load_json,
    read_json,
    read_lines,
    read_text,
    to_json,
    write_whole,
)
from trialbook.contracts.predictions import Prediction
from trialbook.errors import TrialbookError
from trialbook.registry.lock import is_locked
from trialbook.registry.record_shapes import DOCUMENTS, EVALUATION, LINES, RUN_OF_ANY_FORMAT

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
        if name in _OLD_LINES and not os.path.lexists(file):
            old = self.path / f"{_OLD_LINES[name]}.jsonl"
            return old if os.path.lexists(old) else file
        return file

    def has(self, name: str) -> bool:
        """Return whether there is such a JSON file, readable or not."""
        return os.path.lexists(self.json(name))

    def read(self, name: str) -> Any:
        """Content of a JSON file of the run (``tags`` is one, too) under the names of now; None where there is none.

        Raises:
            UnreadableFile: it cannot be read, or is not what a run writes.
            NewerFormat: a newer program wrote the run.
        """
        mapping = self.mapping() if name in ("run", "results") else None
        content = read_json(self.json(name), DOCUMENTS[name])
        return content if mapping is None or content is None else self._mapped(name, getattr(mapping, name), content)

    def mapping(self) -> Format1 | None:
        """Return the mapping by which records of an earlier format are read; None where they have the names of now.

        Raises:
            UnreadableFile: ``run.json`` cannot be read, or is not what a run writes.
            NewerFormat: a newer program wrote the run.
        """
        try:
            facts = load_json(self.json("run"), _of_its_format)
        except FileNotFoundError:
            return None
        found: Format1 | None = self._mapped("run", lambda run: mapping_of(run, self.path.name), facts)
        return found

    def _mapped(self, name: str, mapping: Callable[[Any], Any], content: Any) -> Any:
        """Return what an earlier format calls otherwise, under the names of now."""
        try:
            return mapping(content)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise UnreadableFile(self.json(name), f"is not what a run writes ({error!r})") from error

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
            UnreadableFile: it cannot be read, or a line is not what a run writes.
            NewerFormat: they are metrics of a run that a newer program wrote.
        """
        lines = read_lines(self.lines(name), LINES[name])
        mapping = self.mapping() if name == "metrics" else None
        return lines if mapping is None else map(mapping.line, lines)

    def read_evaluation(self, name: str) -> dict[str, Any]:
        """Values and circumstances of an evaluation that was made of the run later; empty where there is none."""
        facts, mapping = read_json(self.evaluation(name), EVALUATION) or {}, self.mapping()
        return facts if mapping is None else mapping.evaluation(facts)

    def read_answers(self, evaluation: str | None = None) -> tuple[Prediction, ...]:
        """The run's answers in the last evaluation of its final split, or in a later one; empty where there are none.

        Raises:
            UnreadableFile: they cannot be read, or a line is no answer.
        """
        return tuple(map(Prediction.from_dict, read_lines(self.answers(evaluation), LINES["predictions"])))

    def read_error(self) -> str | None:
        """The error with which the run failed; None where it did not.

        Raises:
            UnreadableFile: it cannot be read.
        """
        return read_text(self.error, errors="replace")

    def find_damage(self, *, lines: Sequence[str] = LINE_FILES) -> UnreadableFile | None:
        """Return what is wrong with the first file that cannot be read or is not what a run writes; None where all are sound.

        Args:
            lines: the files of lines that are looked at, beside all JSON files.
        """
        try:
            for name in JSON_FILES:
                self.read(name)
            for name in lines:
                deque(self.read_lines(name), maxlen=0)
            self.read_error()
        except UnreadableFile as error:
            return error
        except NewerFormat:  # it is told apart from damage
            return None
        return None

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
        """Return whether a run was ever started here; what cannot be looked at may be one, and reading it says why not."""
        try:
            os.lstat(self.json("run"))
        except PermissionError:
            return True
        except (OSError, ValueError):
            return False
        return True

    def status(self) -> str:
        """``running``, ``finished``, ``failed``, ``killed`` or ``missing``, as the directory shows it now."""
        if not self.is_run():
            return "missing"
        if is_locked(self.lock):
            return "running"
        if self.has("results"):
            return "finished"
        return "failed" if os.path.lexists(self.error) else "killed"


def _of_its_format(facts: Any) -> Any:
    """Content of ``run.json``; of a format that has other names, or may have, only its number is looked at."""
    return DOCUMENTS["run"](facts) if format_of(RUN_OF_ANY_FORMAT(facts)) < FORMAT else facts


def find_runs(root: Path) -> Iterator[Path]:
    """Run directories below ``root`` (two levels deep: ``<experiment>/<name>``), sorted."""
    for path in list_folders(root):
        if RunDirectory(root / path).is_run():
            yield root / path


def list_folders(root: Path) -> list[str]:
    """Folders two levels below ``root`` as ``<experiment>/<name>``, sorted; hidden ones are left out.

    Raises:
        OSError: ``root`` cannot be read. A folder in it that cannot be read is left out.
    """
    found = []
    for experiment in _folders(root):
        with suppress(OSError):
            found += [f"{experiment}/{name}" for name in _folders(root / experiment)]
    return found


def _folders(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
