"""Settings of a workplace: ``runner.toml``, found by going up from the working directory, and a few variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from trialbook.config.numerics import MatmulPrecision, Numerics, Precision, check_numerics
from trialbook.config.renamed import SETTINGS
from trialbook.errors import TrialbookError, suggest

if TYPE_CHECKING:
    from trialbook.config.toml import Document

FILE_NAME = "runner.toml"
_TYPES: dict[str, type] = {
    "runs": str, "data_root": str, "cache": str, "device": str, "precision": str, "matmul_precision": str,
    "deterministic": bool, "cudnn_benchmark": bool, "disabled_plugins": list, "threads": int, "trackers": list, "tracker": dict,
    "files": dict,
}  # fmt: skip
_CHOICES: dict[str, tuple[str, ...]] = {
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": get_args(Precision),
    "matmul_precision": get_args(MatmulPrecision),
}
#: What lists and tables hold.
_HELD: dict[str, tuple[type, str]] = {
    "trackers": (str, "names"),
    "tracker": (dict, "tables, as in [tracker.wandb]"),
    "files": (str, "paths"),
}


@dataclass(frozen=True)
class Settings:
    """The settings of a workplace: where things are and how this machine computes.

    Args:
        root: directory of ``runner.toml``, or the working directory where there is none.
        runs: directory of run directories and ``registry.db``; ``TRIALBOOK_RUNS`` overrides it.
        data_root: directory that relative data and checkpoint paths start from; ``TRIALBOOK_DATA`` overrides it.
        cache: directory of the schema cache; ``TRIALBOOK_CACHE`` overrides it. Stored features lie in
            ``runs/.features``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: ``"no"`` (float32), ``"bf16"`` or ``"fp16"``; a file's ``[train] precision`` goes before it.
        matmul_precision, deterministic, cudnn_benchmark: as in ``[train]``, for files that do not say.
        disabled_plugins: names of plugins that are not loaded.
        threads: threads of a CPU run; 0 leaves it to torch.
        trackers: names of the trackers that are told of runs; an experiment file's own go before them.
        tracker: options of trackers, by name.
        files: what components look for by name and no experiment file brings along (published weights, say); relative paths start
            at ``root``.
    """

    root: Path
    runs: Path
    data_root: Path | None
    cache: Path
    device: str = "auto"
    precision: Precision = "no"
    matmul_precision: MatmulPrecision = "highest"
    deterministic: bool = False
    cudnn_benchmark: bool = False
    disabled_plugins: tuple[str, ...] = ()
    threads: int = 0
    trackers: tuple[str, ...] = ()
    tracker: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    file: Path | None = field(default=None, compare=False)

    @property
    def registry(self) -> Path:
        """The SQLite file, an index over the run directories."""
        return self.runs / "registry.db"

    @property
    def numerics(self) -> Numerics:
        """The numerics that hold where an experiment file does not say."""
        return Numerics(self.precision, self.matmul_precision, self.deterministic, self.cudnn_benchmark)

    def with_runs(self, runs: Path | None) -> Settings:
        """The same settings with another runs directory, if one is given."""
        return self if runs is None else replace(self, runs=runs.absolute())


def find_settings_file(start: Path) -> Path | None:
    """The nearest ``runner.toml`` in ``start`` or above it."""
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def load_settings(start: Path | None = None) -> Settings:
    """Read the settings that hold in ``start`` (the working directory if None).

    Raises:
        TrialbookError: the file is not TOML, or has an unknown key or a wrong type.
    """
    start = (start or Path.cwd()).absolute()
    file = find_settings_file(start)
    root = file.parent if file else start
    data = _read(file) if file else {}

    def path(variable: str, key: str, default: str | None) -> Path | None:
        if text := os.environ.get(variable):
            return Path(text).expanduser().absolute()
        text = data.get(key, default)
        return None if text is None else (root / Path(text).expanduser()).absolute()

    cache_home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    runs, cache = path("TRIALBOOK_RUNS", "runs", "runs"), path("TRIALBOOK_CACHE", "cache", f"{cache_home}/trialbook")
    if runs is None or cache is None:  # both have defaults
        raise AssertionError
    return Settings(
        root=root, runs=runs, data_root=path("TRIALBOOK_DATA", "data_root", None), cache=cache,
        device=data.get("device", "auto"), precision=data.get("precision", "no"),
        matmul_precision=data.get("matmul_precision", "highest"), deterministic=data.get("deterministic", False),
        cudnn_benchmark=data.get("cudnn_benchmark", False),
        disabled_plugins=tuple(data.get("disabled_plugins", ())), threads=data.get("threads", 0),
        trackers=tuple(data.get("trackers", ())), tracker=data.get("tracker", {}), file=file,
        files={name: (root / Path(text).expanduser()).absolute() for name, text in data.get("files", {}).items()},
    )  # fmt: skip


def _read(file: Path) -> dict[str, Any]:
    from trialbook.config.toml import read_toml  # late: most commands need no TOML

    document = read_toml(file)
    for key, value in document.data.items():
        try:
            _check(key, value)
        except TrialbookError as error:
            raise TrialbookError(f"{file}:{document.positions[(key,)].line}: {error}") from error
    _check_together(document, file)
    return document.data


def _check(key: str, value: Any) -> None:
    """One key.

    Raises:
        TrialbookError: there is none of this name, or it has a wrong type or value.
    """
    if key not in _TYPES:
        if key in SETTINGS:
            raise TrialbookError(f"'{key}' is now '{SETTINGS[key]}'")
        hint = suggest(key, _TYPES)
        raise TrialbookError(f"unknown key '{key}'" + (f"; did you mean '{hint}'?" if hint else ""))
    if not isinstance(value, _TYPES[key]) or (isinstance(value, bool) and _TYPES[key] is not bool):
        raise TrialbookError(f"'{key}' has the wrong type: {value!r}")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise TrialbookError(f"'{key}' is '{value}'; it may be {', '.join(_CHOICES[key])}")
    kind, must = _HELD.get(key, (object, ""))
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not all(isinstance(one, kind) for one in held):
        raise TrialbookError(f"'{key}' must hold {must}")


def _check_together(document: Document, file: Path) -> None:
    try:
        check_numerics(document.data.get("deterministic"), document.data.get("cudnn_benchmark"))
    except TrialbookError as error:
        raise TrialbookError(f"{file}:{document.positions['cudnn_benchmark',].line}: {error}") from error
