"""The environment of a run: hardware, versions, the state of the working tree, a few variables.

Nothing heavy is imported to learn a version, and nothing here depends on what the process has imported so far, so that
all runs of a plan that share an environment record the same one. What device a run computes on, and how, is added when torch
is there (``trialbook.engine.compute``).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from trialbook.config.settings import Settings
from trialbook.contracts.files import to_json
from trialbook.registry.run_directory import LINE_FILES, RunDirectory
from trialbook.registry.run_row import session_seconds

#: Distributions whose versions can change a result.
PACKAGES = (
    "trialbook", "torch", "accelerate", "transformers", "datasets", "tokenizers", "safetensors", "peft", "bitsandbytes",
    "diffusers", "numpy", "scipy", "scikit-learn", "pillow", "pluggy", "pydantic", "sqlite-utils", "triton",
)  # fmt: skip
#: The only environment variables that are recorded: they steer computation and hold no secret.
VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG", "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE",
    "LOCAL_RANK", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED",
    "PYTORCH_CUDA_ALLOC_CONF", "RANK", "SLURM_JOB_ID", "TOKENIZERS_PARALLELISM", "TRANSFORMERS_OFFLINE", "TRIALBOOK_DATA",
    "TRIALBOOK_RUNS", "WORLD_SIZE",
)  # fmt: skip
#: Most bytes of a patch that are kept.
PATCH_LIMIT = 10_000_000


def environment(settings: Settings) -> dict[str, Any]:
    """Return the content of ``env.json`` for this process; ``patch``, if there, is the text of ``dirty.patch``.

    Args:
        settings: of the workplace; the working tree is the one that ``settings.root`` lies in.
    """
    git, patch = _git(settings.root)
    found: dict[str, Any] = {
        "hardware": hardware(settings.threads),
        "platform": {
            "os": platform.platform(), "machine": platform.machine(),
            "python": platform.python_version(), "implementation": platform.python_implementation(),
        },
        "versions": versions(),
        "git": git,
        "settings": {"device": settings.device, "precision": settings.precision},
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }  # fmt: skip
    return found | ({"patch": patch} if patch else {})


def hardware(threads: int = 0) -> dict[str, Any]:
    """Host, processor, cores, threads (0: as many as there are cores to use), memory in bytes."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    variable = os.environ.get("OMP_NUM_THREADS", "")
    return {
        "host": socket.gethostname(),
        "cpu": _cpu(),
        "cores": usable,
        "threads": threads or (int(variable) if variable.isdigit() else usable),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def versions() -> dict[str, str]:
    """Versions of those of ``PACKAGES`` that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git(folder: Path) -> tuple[dict[str, Any], str | None]:
    """Commit, branch, whether tracked files differ from it, files under no version control; and the difference as a patch.

    All null where there is no repository.
    """
    commit = _run_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "branch": None, "dirty": None, "untracked": [], "patch_sha256": None}, None
    branch = _run_git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    status = _run_git(folder, "status", "--porcelain=v1", "-z", "--untracked-files=normal") or ""
    untracked = sorted(entry[3:] for entry in status.split("\0") if entry.startswith("?? "))
    patch = _run_git(folder, "diff", "--binary", "HEAD", "--", ":/") or ""
    digest = hashlib.sha256(patch.encode()).hexdigest() if patch else None
    if len(patch) > PATCH_LIMIT:
        patch = f"{patch[:PATCH_LIMIT]}\n… cut: the whole patch has {len(patch)} characters and the SHA-256 {digest}\n"
    facts = {
        "commit": commit.strip(), "branch": (branch or "").strip(), "dirty": bool(patch),
        "untracked": untracked[:100], "patch_sha256": digest,
    }  # fmt: skip
    return facts, patch or None


def _run_git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command, or None where it fails (no git, no repository)."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments], capture_output=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


#: Parts of ``env.json`` that are added when the device is known.
LATER = ("device", "compute")
#: What may change without touching a run: files come and go, and one GPU is as good as another of its name.
_INCIDENTAL = ("git.untracked", "device.index", "device.visible")
#: Ways to say that there is nothing.
_NOTHING: tuple[Any, ...] = (None, "", [], {})


def open_session(run: RunDirectory) -> None:
    """Begin a span of work; the one before has no end if it was killed, and then ended at its last line."""
    sessions = run.read("sessions") or []
    if sessions and sessions[-1]["ended"] is None:
        last = max(run.lines(name).stat().st_mtime for name in LINE_FILES)
        sessions[-1] |= {"ended": max(sessions[-1]["started"], now(last)), "killed": True}
    sessions.append({"started": now(), "ended": None, "host": socket.gethostname(), "pid": os.getpid()})
    run.write("sessions", sessions)


def note_changes(run: RunDirectory, changed: Mapping[str, Any]) -> None:
    """Note what of the environment is not as it was when the run was begun, key to [before, now]."""
    sessions = run.read("sessions") or [{}]
    sessions[-1]["changed"] = {**sessions[-1].get("changed", {}), **changed}
    run.write("sessions", sessions)


def changes_between(before: Mapping[str, Any] | None, now: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys whose values differ in a way that can touch a run -> [before, now]."""
    found: dict[str, Any] = {}
    for key in {**(before or {}), **now}:
        full, old, new = f"{prefix}{key}", (before or {}).get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= changes_between(old, new, f"{full}.")
        elif full in _INCIDENTAL or (old in _NOTHING and new in _NOTHING):
            continue
        elif json.loads(to_json(old)) != json.loads(to_json(new)):
            found[full] = [old, new]
    return found


def close_session(run: RunDirectory) -> float | None:
    """End the span that is open, if one is; seconds of all of them."""
    sessions = run.read("sessions") or []
    if sessions and sessions[-1]["ended"] is None:
        sessions[-1]["ended"] = now()
        run.write("sessions", sessions)
    return session_seconds(sessions)


def now(moment: float | None = None) -> str:
    """UTC, to the millisecond, in ISO 8601; of ``moment``, in seconds since 1970, if it is given."""
    when = datetime.now(timezone.utc) if moment is None else datetime.fromtimestamp(moment, timezone.utc)
    return when.isoformat(timespec="milliseconds")
