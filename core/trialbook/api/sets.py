"""Keys that are set from Python, as ``--set`` has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: ``["train.lr=1e-3"]``, or ``{"train.lr": 1e-3}``.
Sets = Sequence[str] | Mapping[str, Any]


def set_texts(sets: Sets) -> tuple[str, ...]:
    """``KEY=VALUE`` each, with values as TOML."""
    if not isinstance(sets, Mapping):
        return (sets,) if isinstance(sets, str) else tuple(sets)
    import tomli_w  # late: few files are read with keys set

    return tuple(f"{key}={tomli_w.dumps({'value': value}).partition('=')[2].strip()}" for key, value in sets.items())
