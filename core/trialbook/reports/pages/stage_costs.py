"""The costs of each stage of training: steps, time, operations, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialbook.analysis.statistics import mean
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.comparison_tables import show_large
from trialbook.reports.document.blocks import Block, Paragraph, TableBlock, Text
from trialbook.reports.tables import NOTHING, Column, show_duration


@dataclass
class StageCost:
    """A stage of one run: its optimiser steps, what it trains, and what it took as far as it is known."""

    name: str
    start: int
    stop: int
    batch: int
    trained: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None
    flops: float | None = None
    memory: float | None = None


def stage_costs(run: RunDirectory) -> list[StageCost]:
    """The stages of a run, from its record; none where it trains nothing, or was recorded by an older version.

    Time that a killed run lost between its last record and the kill is not known; steps that it went through again count again.
    """
    data = run.read("data") or {}
    told: Sequence[Mapping[str, Any]] = data.get("stages") or ()
    counted = (data.get("flops") or {}).get("stages") or [None] * len(told)
    stages = [
        StageCost(one["name"], one["start"], one["stop"], one["batch"], one["trained"], flops=flops)
        for one, flops in zip(told, counted, strict=True)
    ]
    before = 0.0
    for line in run.read_lines("timing") if stages else ():
        values, step = line["values"], line["step"]
        stage = next((one for one in stages if one.start < step <= one.stop), None)
        if "train_seconds" in values:
            now = float(values["train_seconds"])
            spent = now - before if now >= before else now  # another process counts from 0
            before = now
            if stage is not None:
                stage.seconds = (stage.seconds or 0.0) + spent
        if stage is not None and "stage_peak_memory" in values:
            stage.memory = max(stage.memory or 0.0, float(values["stage_peak_memory"]))
    return stages


def stage_blocks(arms: Mapping[str, Sequence[RunDirectory]]) -> list[Block]:
    """A table of all stages of all arms, the mean over their runs; nothing where no run tells of its stages."""
    rows: list[Sequence[Text]] = []
    for arm, runs in arms.items():
        costs = [found for run in runs if (found := stage_costs(run))]
        lengths = {len(found) for found in costs}
        if len(lengths) != 1:
            continue
        for number, own in enumerate(zip(*costs, strict=True)):
            rows.append([arm if number == 0 else "", *_row(own)])
    if not rows:
        return []
    names = ("arm", "stage", "trains", "steps", "batch", "training", "FLOPs", "peak memory")
    columns = [Column(name, right=name not in ("arm", "stage", "trains")) for name in names]
    several = any(len(runs) > 1 for runs in arms.values())
    said = (
        "Time is that of optimiser steps, without evaluations; memory is the most that the process (on a GPU, its allocator) "
        "held during the stage, evaluations included; operations are matrix products, convolutions and attention."
    )
    caption = "Stages and what they took" + (", mean over runs" if several else "")
    return [TableBlock(caption, columns, rows, grouped=True), Paragraph(said)]


def _row(own: Sequence[StageCost]) -> list[Text]:
    one = own[0]
    trains = ", ".join(f"{part} {show_large(count)}" for part, count in one.trained.items())
    seconds, flops, memory = (
        mean(known) if (known := [value for cost in own if (value := getattr(cost, name)) is not None]) else None
        for name in ("seconds", "flops", "memory")
    )
    return [
        one.name, trains or NOTHING, f"{one.stop - one.start:,}", f"{one.batch:,}", show_duration(seconds),
        NOTHING if flops is None else show_large(flops), NOTHING if memory is None else f"{memory / 2**20:,.0f} MiB",
    ]  # fmt: skip
