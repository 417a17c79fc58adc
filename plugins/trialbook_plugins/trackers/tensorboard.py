"""Tracker ``tensorboard``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trialbook.contracts.trackers import TrackedRun
from trialbook_plugins.trackers._packages import load


class TensorBoard:
    """Event files in the run's directory, in folder ``tensorboard``: ``tensorboard --logdir runs`` shows all runs.

    Values are kept as TensorBoard keeps them, in float32. Configuration, results and how the run ended are texts.

    Args:
        flush_seconds: how often what is new is written to the disk.

    Raises:
        ValueError: ``flush_seconds`` is not above 0.
    """

    def __init__(self, *, flush_seconds: float = 10.0) -> None:
        if flush_seconds <= 0:
            raise ValueError(f"flush_seconds ({flush_seconds}) must be above 0")
        self.flush_seconds = flush_seconds
        self._writer: Any = None
        self._step = 0

    def start(self, run: TrackedRun) -> set[tuple[int, str]]:
        """Open another event file; what those that are there hold."""
        load("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        folder = run.path / "tensorboard"
        known = set()
        if folder.is_dir():
            known = {(step, tag) for tag, points in read_scalars(str(folder)).items() for step, _ in points}
        self._writer = SummaryWriter(str(folder), flush_secs=max(1, round(self.flush_seconds)))
        self._step = 0
        if not known:
            self._text("config", run.config)
            self._text("about", {key: run.about.get(key) for key in ("experiment", "arm", "seed", "id", "question")})
        return known

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars."""
        self._step = max(self._step, step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def stop(self, status: str, results: Mapping[str, Any]) -> None:
        """Results as a text, and everything on the disk."""
        if status != "interrupted":
            self._text("results", {"status": status, **results})
        self._writer.close()

    def _text(self, tag: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2, default=str, ensure_ascii=False)
        self._writer.add_text(tag, "\n".join(f"    {line}" for line in text.splitlines()), self._step)


def read_scalars(folder: str) -> dict[str, list[tuple[int, float]]]:
    """Every scalar in the event files of a folder: tag to its steps and values, by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 1})
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
