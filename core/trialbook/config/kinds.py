"""The tables of components in an experiment file, and which of their keys belong to the experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Component kind (the table's name in an experiment file) -> the hook that yields its components.
KINDS: dict[str, str] = {
    "task": "mlrun_tasks",
    "dataset": "mlrun_datasets",
    "encoder": "mlrun_encoders",
    "projector": "mlrun_projectors",
    "llm": "mlrun_llms",
    "decoder": "mlrun_decoders",
    "probe": "mlrun_probes",
    "captioner": "mlrun_captioners",
    "loss": "mlrun_losses",
    "metric": "mlrun_metrics",
}


#: The hook that yields the doctor's checks. They are no components of an experiment file: all of them look at every run.
CHECKS = {"check": "mlrun_checks"}


#: The hook that yields trackers. They are named in ``runner.toml`` or at the top of an experiment file.
TRACKERS = {"tracker": "mlrun_trackers"}


#: The hooks that yield records: tables that components look things up in, such as where a model keeps its layers.
RECORDS = {"architecture": "mlrun_architectures"}


#: Kinds whose tables are named (``[encoder.image]``), and kinds that are arrays of tables (``[[loss]]``).
NAMED = ("encoder", "projector", "decoder", "probe")
ARRAYS = ("loss", "metric")

USE = {"type": "string", "description": "name of the component; 'plugin:name' where several plugins offer it"}
_FROZEN = {"type": "boolean", "default": False, "description": "its parameters do not learn; its outputs may be stored"}
_ID = {"type": "string", "description": "which checkpoint or part it is; kept in the record"}
FROM = {
    "type": "string",
    "description": "an earlier run whose checkpoint it starts from: an arm in 'needs', 'EXPERIMENT/ARM', or a path",
}
_NAME = {"type": "string", "description": "its name in records; the component's name if left out"}
_WEIGHT = {"type": "number", "default": 1.0, "description": "factor on this loss in the sum"}


def part_kind(declared: str) -> tuple[str, bool]:
    """Kind of a nested component as ``parts`` declares it, and whether there are any number of them, each under a name.

    ``"loss"`` is one, ``"dataset.*"`` any number.
    """
    kind, dot, _ = declared.partition(".")
    return kind, bool(dot)


def _reserved(kind: str) -> dict[str, dict[str, Any]]:
    keys: dict[str, dict[str, Any]] = {"use": USE}
    if kind in ("encoder", "projector", "llm", "decoder"):
        keys |= {"frozen": _FROZEN, "from": FROM, "id": _ID}
    if kind == "loss":
        keys |= {"weight": _WEIGHT}
    if kind in ARRAYS:
        keys |= {"name": _NAME}
    return keys


#: Component kind -> keys of its tables that belong to the experiment, not to the constructor, with their JSON schemas.
RESERVED: dict[str, dict[str, dict[str, Any]]] = {kind: _reserved(kind) for kind in KINDS}


def place_of(level: Any, levels: Sequence[Any]) -> int | None:
    """Return which of the levels it is, or None: 1 is 1.0, but neither is true."""
    return next((place for place, one in enumerate(levels) if _same(one, level)), None)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
