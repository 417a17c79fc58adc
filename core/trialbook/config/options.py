"""The core's own tables of an experiment file. Each constructor is the table's schema, as with components."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from trialbook.config.decision_options import DecisionOptions, ExternalBaselineOptions, GateOptions, ManualScoreOptions
from trialbook.config.numerics import OF_THE_RUN, MatmulPrecision, check_numerics
from trialbook.errors import TrialbookError


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of the optimiser: AdamW with warm-up, a schedule and clipping.

    Args:
        steps: optimiser steps; give either this or ``epochs``.
        epochs: passes over the training split; whole batches only.
        batch_size: samples of one optimiser step on one process, over all its micro-batches.
        accumulate: micro-batches that one optimiser step is split into; must divide ``batch_size``.
        lr: peak learning rate.
        lr_multipliers: pattern of parts (``"encoder.*"``) to a factor on the learning rate.
        weight_decay: decoupled weight decay of matrices; biases, norms and scales have none.
        betas: decay rates of AdamW's moments.
        eps: AdamW's denominator constant.
        warmup: linear warm-up: a count of steps if at least 1, a share of all steps if below 1.
        schedule: course of the learning rate after warm-up.
        min_lr: where cosine and linear end, as a share of ``lr``.
        max_grad_norm: largest norm of the whole gradient; 0 leaves it as it is.
        precision: ``"no"`` (float32), ``"bf16"`` or ``"fp16"`` autocast; ``"auto"`` takes the workplace's setting.
        matmul_precision: of products of float32 matrices and of convolutions: ``"highest"`` computes in float32, ``"high"`` in
            TF32, ``"medium"`` in TF32 or bfloat16, where the device can; the workplace's setting if left out.
        deterministic: use algorithms that give the same result each time, on GPUs too, and stop where there is none; the
            workplace's setting if left out.
        cudnn_benchmark: let cuDNN try its algorithms and take the fastest; the workplace's setting if left out.
        log_every: steps between records of loss and learning rate.
    Raises:
        TrialbookError: neither or both of ``steps`` and ``epochs``, or a value out of its range.
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 64
    accumulate: int = 1
    lr: float = 1e-3
    lr_multipliers: dict[str, float] | None = None
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    warmup: float = 0.05
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    min_lr: float = 0.0
    max_grad_norm: float = 1.0
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    matmul_precision: MatmulPrecision | None = None
    deterministic: bool | None = None
    cudnn_benchmark: bool | None = None
    log_every: int = 10

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise TrialbookError("give either 'steps' or 'epochs'")
        for name in ("steps", "epochs", "batch_size", "accumulate", "lr", "log_every"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise TrialbookError(f"'{name}' ({value}) must be above 0 and finite")
        for name in ("weight_decay", "warmup", "max_grad_norm", "eps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise TrialbookError(f"'{name}' ({getattr(self, name)}) must be finite and not below 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise TrialbookError(f"'betas' ({self.betas[0]}, {self.betas[1]}) must be from 0 and below 1")
        if not 0 <= self.min_lr <= 1:
            raise TrialbookError(f"'min_lr' ({self.min_lr}) is a share of 'lr', from 0 to 1")
        if self.batch_size % self.accumulate:
            raise TrialbookError(f"accumulate ({self.accumulate}) must divide batch_size ({self.batch_size})")
        check_numerics(self.deterministic, self.cudnn_benchmark)


@dataclass(frozen=True, kw_only=True)
class StageOptions(TrainOptions):
    """A part of a training run with its own trainable set and schedule; keys left out are those of ``[train]``.

    Args:
        name: name of the stage; ``stage0``, ``stage1`` … if left out.
        train: patterns of the parts that learn (``["projector.*"]``); all that are not frozen if left out.
        data: weight of each source of the data in this stage, by its name (``{ captions = 1, documents = 3 }``), where the
            dataset has several; sources left out are not used. All of them as they are if left out.
    """

    name: str = ""
    train: list[str] | None = None
    data: dict[str, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for source, weight in (self.data or {}).items():
            if not 0 < weight < math.inf:
                raise TrialbookError(f"'data' gives '{source}' the weight {weight}: it must be above 0 and finite")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of evaluation: when and on what a run is evaluated.

    Args:
        every: optimiser steps between evaluations on ``split``; 0 leaves those at the two ends.
        split: validation split; its metrics are recorded as ``<split>/<metric>``.
        final: test split, evaluated before the first step and after the last; recorded under the metric's
            bare name.
        at_start: also evaluate before the first step.
        batch_size: rows encoded at once.
        matmul_precision: as in ``[train]``, for a run that trains nothing.
        deterministic: likewise.
        cudnn_benchmark: likewise.
    """

    every: int = 0
    split: str = "val"
    final: str = "test"
    at_start: bool = True
    batch_size: int = 256
    matmul_precision: MatmulPrecision | None = None
    deterministic: bool | None = None
    cudnn_benchmark: bool | None = None

    def __post_init__(self) -> None:
        _at_least("every", self.every, 0)
        _at_least("batch_size", self.batch_size, 1)
        check_numerics(self.deterministic, self.cudnn_benchmark)


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """Options of checkpoints: when training state is saved.

    Args:
        every: optimiser steps between checkpoints; 0 saves at the ends of stages only.
        keep_last: how many of the newest are kept; the last step's is always kept.
    """

    every: int = 100
    keep_last: int = 2

    def __post_init__(self) -> None:
        _at_least("every", self.every, 0)
        _at_least("keep_last", self.keep_last, 1)


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of the doctor: how closely it looks at a run while it is trained. No part of a run's identity.

    Args:
        every: optimiser steps between looks inside the parts; the first and the last step of a stage are always
            looked at. 0 looks at nothing inside.
        strict: stop a run at the first finding that is an error.
        ignore: names of checks to leave out (``mlrun doctor --checks`` lists them).
    """

    every: int = 100
    strict: bool = False
    ignore: list[str] | None = None

    def __post_init__(self) -> None:
        _at_least("every", self.every, 0)


#: A value that a key of ``[grid]`` goes through.
Level = str | float | bool | list[Any]


@dataclass(frozen=True, kw_only=True)
class ClaimOptions:
    """A claim about what a level of a factor does to a metric, to be answered by a comparison. No part of a run's identity.

    Args:
        factor: a key of ``[grid]``, or ``"arm"``.
        level: the value of it that the claim is about; for ``"arm"`` the name of one.
        metric: name of a recorded metric, e.g. ``"retrieval/i2t@1"``.
        direction: whether that level is said to make the metric's value higher or lower.
        against: the value or values that it is compared with; all others if left out, for ``"arm"`` the baseline where
            there is one.
        at_least: the smallest difference that counts, in units of the metric. Where any counts (0), only a difference the
            other way speaks against the claim; finding none cannot.
        text: the claim in words.
    Raises:
        TrialbookError: ``at_least`` is below 0 or not finite.
    """

    factor: str
    level: Level
    metric: str
    direction: Literal["higher", "lower"]
    against: Level | None = None
    at_least: float = 0.0
    text: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.at_least < math.inf:
            raise TrialbookError(f"'at_least' ({self.at_least}) is the size of a difference: finite and not below 0")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise TrialbookError(f"'{name}' ({value}) must not be below {least}")


#: Table name -> class whose constructor is its schema.
CORE_TABLES: dict[str, type] = {
    "train": TrainOptions,
    "stage": StageOptions,
    "evaluate": EvaluateOptions,
    "checkpoint": CheckpointOptions,
    "doctor": DoctorOptions,
    "gate": GateOptions,
    "claim": ClaimOptions,
    "decision": DecisionOptions,
    "manual_score": ManualScoreOptions,
    "external_baseline": ExternalBaselineOptions,
}


def origin_of(config: Mapping[str, Any]) -> str | None:
    """The earlier run that a whole run starts from: ``from`` of its first stage, or of ``[train]``."""
    stages = config.get("stage") or [{}]
    found: str | None = stages[0].get("from", config.get("train", {}).get("from"))
    return found


def stages_of(config: dict[str, Any]) -> list[StageOptions]:
    """The stages of a resolved configuration: its ``[[stage]]`` tables over ``[train]``, or ``[train]`` as the only one.

    Raises:
        TrialbookError: a value is out of its range, or two stages have one name.
    """
    base = dict(config.get("train", {}))
    tables = config.get("stage") or [{"name": "train"}]
    stages = []
    for index, table in enumerate(tables):
        if index and "from" in table:
            raise TrialbookError("'from' belongs to the first stage: each other resumes from the one before it")
        if of_the_run := [key for key in OF_THE_RUN if key in table]:
            raise TrialbookError(f"'{of_the_run[0]}' holds for the whole run, not for a stage: write it in [train]")
        merged = {**base, "name": f"stage{index}", **table}
        for one, other in (("steps", "epochs"), ("epochs", "steps")):
            if one in table and other not in table:
                merged.pop(other, None)
        if isinstance(merged.get("betas"), list):
            merged["betas"] = tuple(merged["betas"])
        known = {f.name for f in fields(StageOptions)}
        stages.append(StageOptions(**{key: value for key, value in merged.items() if key in known}))
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise TrialbookError(f"two stages have one name: {', '.join(names)}")
    return stages
