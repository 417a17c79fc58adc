"""The place in the code where something happened, and the phase of the run."""

from __future__ import annotations

import sys
import sysconfig
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import NamedTuple

#: Functions of the engine, by module and name, and the phase that their callees belong to.
PHASES: dict[tuple[str, str], str] = {
    ("trialbook.engine.builder", "task"): "build",
    ("trialbook.engine.builder", "features"): "extract",
    ("trialbook.engine.builder", "layer_features"): "extract",
    ("trialbook.engine.trainer", "_prepare"): "prepare",
    ("trialbook.engine.trainer", "_optimize"): "step",
    ("trialbook.engine.trainer", "_evaluate"): "evaluate",
    ("trialbook.engine.trainer", "_save"): "save",
    ("trialbook.engine.trainer", "_run_stage"): "record",
    ("trialbook.engine.execute", "_measure"): "measure",
}

_STANDARD = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_OWN_PACKAGE = __name__.rpartition(".")[0]
_INSTALLED = ("site-packages", "dist-packages")


class Occurrence(NamedTuple):
    """An occurrence that was counted.

    Args:
        phase: of the run: what the test named with ``PretendDevice.phase``, else what the engine is at (``build``,
            ``extract``, ``prepare``, ``step``, ``record``, ``evaluate``, ``save``, ``measure``), else empty.
        kind: of a wait, e.g. ``item``, ``boolean index``, ``copy to the CPU``; or of a copy to the device: ``blocking``,
            ``non-blocking``, ``index``.
        place: ``file:line function`` of the innermost first-party or plugin code.
        library: the package that did it on that code's behalf, e.g. ``transformers``; empty where the code did it itself
            (functions of torch count as that, but not its backward pass and its scaler: what waits in a backward pass has
            been counted in the forward pass).
    """

    phase: str
    kind: str
    place: str
    library: str


def find_place(packages: frozenset[str]) -> tuple[str, str, str]:
    """Phase (empty outside of the engine), place and library of what is going on; see ``Occurrence``.

    Args:
        packages: names of packages whose code counts as one's own, though they are installed.
    """
    frame: FrameType | None = sys._getframe(1)
    place = library = phase = ""
    while frame is not None and not (place and phase):
        module, code = frame.f_globals.get("__name__", ""), frame.f_code
        phase = phase or PHASES.get((module, code.co_name), "")
        if not place and not module.startswith(_OWN_PACKAGE):
            owner = _owner(code.co_filename, module)
            if owner is None or owner in packages:
                place = _told(frame, frame.f_lineno)
            elif owner != "torch" or module.startswith(("torch.amp", "torch.autograd")):
                library = library or owner
        frame = frame.f_back
    return phase, place, library


def place_of_error(error: BaseException, packages: frozenset[str]) -> str:
    """``file:line function`` of the innermost code of one's own that an error came from; see ``find_place``."""
    place = ""
    for frame, line in walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        owner = _owner(frame.f_code.co_filename, module)
        if not module.startswith(_OWN_PACKAGE) and (owner is None or owner in packages):
            place = _told(frame, line)
    return place


@cache
def plugin_packages() -> frozenset[str]:
    """trialbook itself and the packages of the plugins that are installed."""
    points = entry_points(group="trialbook.plugins")
    return frozenset({"trialbook", *(point.value.partition(":")[0].partition(".")[0] for point in points)})


@cache
def _owner(file: str, module: str) -> str | None:
    """The library that a file belongs to; None for code that is not installed."""
    if file.startswith("<"):  # made at run time, as dataclasses' methods are
        return module.partition(".")[0]
    parts = Path(file).parts
    installed = [parts[i + 1] for i, part in enumerate(parts[:-1]) if part in _INSTALLED]
    if installed:
        return installed[-1].removesuffix(".py")
    return "python" if file.startswith(_STANDARD) else None


def _told(frame: FrameType, line: int) -> str:
    return f"{_shown(frame.f_code.co_filename, frame.f_globals.get('__name__', ''))}:{line} {frame.f_code.co_name}"


@cache
def _shown(file: str, module: str) -> str:
    """The end of a path that says which module it is."""
    path = Path(file)
    depth = module.count(".") + (path.stem == "__init__")
    return "/".join(path.parts[-1 - depth :])
