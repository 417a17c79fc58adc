"""Tracker ``wandb``."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from trialbook import TrialbookError
from trialbook.contracts.files import read_json, to_json, write_whole
from trialbook.contracts.trackers import TrackedRun
from trialbook_plugins.trackers._packages import load
from trialbook_plugins.trackers._wandb_file import is_closed, read_history

#: Seconds that wandb's own process gets to write what it was told.
WRITTEN_WITHIN = 45.0
#: The key of the history that holds the step; curves are drawn over it.
STEP = "step"


class WeightsAndBiases:
    """Weights & Biases, with a run for each run, grouped by arm. Offline, everything lies in folder ``wandb`` of the run's.

    ``wandb sync runs/EXPERIMENT/RUN/wandb/offline-run-*`` sends it later. Neither the terminal's output, code, nor facts of the
    machine are taken along. An API key is what ``wandb login`` or the variable ``WANDB_API_KEY`` says.

    Args:
        project: the project; the name of the experiment if left out.
        entity: user or team; the account's own if left out.
        mode: ``"offline"``, or ``"online"`` to send everything as it is recorded.
        timeout: seconds to wait for the server when a run begins.

    Raises:
        ValueError: ``timeout`` is not above 0.
    """

    def __init__(
        self, *, project: str | None = None, entity: str | None = None, mode: Literal["offline", "online"] = "offline",
        timeout: float = 30.0,
    ) -> None:  # fmt: skip
        if timeout <= 0:
            raise ValueError(f"timeout ({timeout}) must be above 0")
        self.project, self.entity, self.mode, self.timeout = project, entity, mode, timeout
        self._run: Any = None

    def start(self, run: TrackedRun) -> set[tuple[int, str]]:
        """Begin the run, or continue with it by the id that stands in the run's directory; what it holds."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = load("wandb", "wandb")
        note = run.path / "wandb" / "run.json"
        identity = (read_json(note) or {}).get("id")
        known = set()
        for file in files_of(run.path):
            for row in read_history(file):
                known |= {(int(row[STEP]), name) for name in row if STEP in row}
        if identity is None:
            identity = secrets.token_hex(4)
            note.parent.mkdir(exist_ok=True)
            write_whole(note, to_json({"id": identity}))
        about = run.about
        self._run = wandb.init(
            project=self.project or str(about.get("experiment", "trialbook")), entity=self.entity, id=identity, name=run.name,
            group=str(about.get("arm", "")), notes=str(about.get("question", "")), config=dict(run.config), dir=str(run.path),
            mode=self.mode, resume="allow", reinit="create_new",
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, save_code=False, x_disable_meta=True, x_disable_stats=True,
                x_disable_machine_info=True, x_save_requirements=False, init_timeout=self.timeout,
            ),
        )  # fmt: skip
        self._run.define_metric("*", step_metric=STEP)
        return known

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A row of the history."""
        self._run.log({STEP: step, **values})

    def stop(self, status: str, results: Mapping[str, Any]) -> None:
        """Results into the summary, and how the run ended."""
        if status != "interrupted":
            self._run.summary.update({"status": status, "results": dict(results)})
        file = Path(self._run.settings.sync_file)
        self._run.finish(exit_code=0 if status == "finished" else 1)
        if self.mode == "offline":
            _wait_until_written(file)


def _wait_until_written(file: Path) -> None:
    """``finish`` comes back before wandb's own process, which a busy machine keeps waiting, has written its last rows.

    Raises:
        TrialbookError: it has not after ``WRITTEN_WITHIN`` seconds.
    """
    deadline, pause = time.monotonic() + WRITTEN_WITHIN, 0.01
    while not is_closed(file):
        if time.monotonic() > deadline:
            raise TrialbookError(
                f"{file} is not whole {WRITTEN_WITHIN:g} s after its run ended; its last rows may be missing"
            )
        time.sleep(pause)
        pause = min(1.5 * pause, 0.5)


def files_of(run: Path) -> list[Path]:
    """The ``.wandb`` files of a run, one for each time that it resumed."""
    return sorted(run.glob("wandb/*run-*/run-*.wandb"))
