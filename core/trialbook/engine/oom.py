"""Running out of memory, told as what to change. No torch here: what is raised is known by its name and its words."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from typing import Any

from trialbook.errors import TrialbookError

_WORDS = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|(CUDA|HIP|XPU|MPS).{0,40} out of memory|CUBLAS_STATUS_ALLOC_FAILED"
)
_EVALUATING = ("_evaluate", "evaluate")
_TRAINING = ("_optimize", "_first_losses")
"""Names of the engine's functions that work is done under."""


def out_of_memory(error: BaseException, config: Mapping[str, Any]) -> TrialbookError | None:
    """Explain what a user can do about an error that says that memory ran out; None for any other error.

    Args:
        error: with its traceback, which tells what was being done.
        config: the run's resolved configuration.
    """
    if not is_out_of_memory(error):
        return None
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    doing = next((name for name in frames if name in (*_EVALUATING, *_TRAINING)), "")
    if doing in _EVALUATING:
        what, ways = "evaluating", [f"a smaller [evaluate] batch_size (now {_now(config, 'evaluate', 'batch_size')})"]
    elif doing in _TRAINING:
        sizes = f"now {_now(config, 'train', 'batch_size')} and {_now(config, 'train', 'accumulate')}"
        what, ways = "training", [f"a smaller batch_size or a larger accumulate ({sizes})"]
    else:
        what, ways = "making the parts", ["smaller parts"]
    ways += _ways(config)
    said = (str(error) or type(error).__name__).strip().splitlines()[0]
    told = f"{', '.join(ways[:-1])} or {ways[-1]}" if ways[1:] else ways[0]
    return TrialbookError(
        f"memory ran out while {what} ({said}): try {told}; as it is, the run resumes from its last "
        "checkpoint where there is more memory"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of the process or of a device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None


def _ways(config: Mapping[str, Any]) -> list[str]:
    """List what else takes less, of the options that the run's language model and task have and do not use yet."""
    llm, ways = config.get("llm"), []
    if isinstance(llm, Mapping):
        if llm.get("gradient_checkpointing") is False:
            ways.append("[llm] gradient_checkpointing = true")
        if llm.get("quantize") == "none" and not llm.get("train_all"):
            ways.append("[llm] quantize = 'nf4'")
        if llm.get("dtype") == "float32" and not llm.get("train_all"):
            ways.append("[llm] dtype = 'bfloat16'")
    if "max_length" in config.get("task", {}):
        ways.append(f"a smaller [task] max_length (now {_now(config, 'task', 'max_length')})")
    return ways


def _now(config: Mapping[str, Any], table: str, key: str) -> str:
    """The value of a key, or those of the stages where they say it."""
    stages = config.get("stage") or [] if table == "train" else []
    values = [stage.get(key, config.get(table, {}).get(key)) for stage in stages] or [config.get(table, {}).get(key)]
    return "/".join(dict.fromkeys(str(value) for value in values))
