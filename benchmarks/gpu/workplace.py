"""A place to run experiments in: its settings, its data, and ``mlrun`` within this process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.gpu.bench import Bench, inside
from trialbook.config.runspec import RunSpec
from trialbook.contracts.files import read_lines
from trialbook.contracts.records import Item, Record
from trialbook.execution.progress import PlainProgress
from trialbook.registry.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "experiments"


@dataclass(frozen=True)
class Answer:
    """The answer of a command: its exit status and all that it printed."""

    status: int
    text: str

    @property
    def last(self) -> str:
        """The last line that it printed."""
        return next((line.strip() for line in reversed(self.text.splitlines()) if line.strip()), "")


class CommandFailed(Exception):
    """A command failed that others resume from."""


class Workplace:
    """A folder with ``runner.toml``.

    Args:
        bench: whose device is used.
        name: of the folder, below that of the part.
        data: data root.
        settings: further keys of ``runner.toml``.
    """

    def __init__(self, bench: Bench, name: str = "work", *, data: Path | None = None, **settings: str) -> None:
        self.folder, self.runs, self._rows = bench.folder / name, bench.folder / name / "runs", bench.rows
        self.folder.mkdir()
        given = {"runs": "runs", "device": bench.device, **({"data_root": str(data)} if data else {}), **settings}
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in given.items()]
        (self.folder / "runner.toml").write_text("".join(lines))

    def write(self, name: str, text: str) -> Path:
        """An experiment file of this place."""
        file = self.folder / f"{name}.toml"
        file.write_text(text)
        return file

    def mlrun(self, *words: str | Path, stop: int = 0) -> Answer:
        """A command of the program, as from a shell.

        Args:
            words: of the command.
            stop: interrupt it, as Ctrl-C does, when a run has recorded this step; 0 does not.
        """
        from trialbook.cli.main import main

        status, printed = 0, io.StringIO()
        with (
            inside(self.folder), mock.patch.object(sys, "argv", ["mlrun", *map(str, words)]),
            contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), _stopping(stop),
        ):  # fmt: skip
            try:
                main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            except Exception:
                status = 70
                traceback.print_exc()
        print(f"$ mlrun {' '.join(map(str, words))}\n{printed.getvalue()}", flush=True)
        return Answer(status, printed.getvalue())

    def must(self, what: str, *words: str | Path) -> Answer:
        """A command that must succeed, with a row that says whether it did.

        Raises:
            CommandFailed: it did not.
        """
        answer = self.mlrun(*words)
        failed = answer.status != 0
        self._rows.check(what, not failed, answer.last if failed else "")
        if failed:
            raise CommandFailed(f"{what}: {answer.last}")
        return answer

    def run(self, what: str, file: Path, *sets: str, more: Sequence[str] = ()) -> list[Path]:
        """``mlrun run``, which must succeed; returns the directories of the experiment's runs.

        Args:
            what: it is, for the row.
            file: of the experiment.
            sets: ``KEY=VALUE`` each.
            more: further words of the command.
        Raises:
            CommandFailed: it did not.
        """
        words = [word for one in sets for word in ("--set", one)]
        self.must(what, "run", file, "--no-plots", *words, *more)
        return self.found()

    def found(self) -> list[Path]:
        """Directories of all runs, those that began first before others."""
        return sorted((file.parent for file in self.runs.glob("[!.]*/*/run.json")), key=_began)


def _began(run: Path) -> float:
    return (run / "config.toml").stat().st_mtime_ns


class _Stopping(PlainProgress):
    """Interrupts at a step.

    Args:
        stop: the step.
    """

    def __init__(self, stop: int) -> None:
        super().__init__(print)
        self.stop = stop

    def item(self, spec: RunSpec, item: Item) -> None:
        """As it is, until the step."""
        super().item(spec, item)
        if isinstance(item, Record) and item.step >= self.stop:
            raise KeyboardInterrupt


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Within, the place's own ``runner.toml`` counts, whatever the variables of the shell say (``TRIALBOOK_DATA``, …)."""
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("TRIALBOOK_")]:
            del os.environ[name]
        yield


def _stopping(stop: int) -> contextlib.AbstractContextManager[Any]:
    if not stop:
        return contextlib.nullcontext()
    return mock.patch("trialbook.cli.run.watcher", return_value=_Stopping(stop))


def values(run: Path, name: str, file: str = "metrics") -> dict[int, float]:
    """Step to the value of a metric of a run, where it was recorded."""
    found = read_lines(RunDirectory(run).lines(file))
    return {line["step"]: line["values"][name] for line in found if name in line["values"]}


def final(run: Path, name: str, file: str = "timing") -> float:
    """The last value of a metric of a run."""
    return list(values(run, name, file).values())[-1]
