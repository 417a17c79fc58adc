"""Pages and pictures that lie in run directories, served so that nothing else can be read and no script of theirs acts here."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

#: Where they are served.
PREFIX = "files"
_TYPES = {
    ".html": "text/html; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
}  # fmt: skip
_NAME = re.compile(r"[^\x00-\x1f/\\.][^\x00-\x1f/\\]*")
#: A page of a run is of no origin and runs no script: it can neither read the demo's pages nor ask the model.
_POLICY = "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:"


def find_file(runs: Path, path: str) -> Path | None:
    """The file that ``EXPERIMENT/RUN/…`` or ``EXPERIMENT/…`` means; None for whatever is not to be read.

    Args:
        runs: directory of all runs.
        path: of an address, decoded.
    """
    parts = path.split("/")
    if len(parts) < 2 or not all(map(_NAME.fullmatch, parts)):
        return None
    try:
        return _find(runs / parts[0], parts[1:])
    except (OSError, ValueError):  # a name that no file can have
        return None


def _find(experiment: Path, parts: Sequence[str]) -> Path | None:
    run = experiment / parts[0]
    home = run if _is_run(run) else experiment if _has_runs(experiment) else None
    file = experiment.joinpath(*parts).resolve(strict=True)
    known = file.is_file() and file.suffix.lower() in _TYPES
    return file if home is not None and known and file.is_relative_to(home.resolve()) else None


def link(runs: Path, file: Path) -> str:
    """Address of a file of a run, relative to the pages; empty where there is no such file."""
    path = file.relative_to(runs).as_posix()
    return f"{PREFIX}/{path}" if find_file(runs, path) else ""


def serve_files(runs: Path) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers at the address ``/files/{path}``."""

    async def answer(request: Request) -> Response:
        file = find_file(runs, request.path_params["path"])
        if file is None:
            return PlainTextResponse("there is no such page\n", 404)
        headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"}
        return FileResponse(file, media_type=_TYPES[file.suffix.lower()], headers=headers)

    return answer


def _is_run(folder: Path) -> bool:
    """Return whether a run was ever started there: its description is the first file that is written."""
    return (folder / "run.json").is_file()


def _has_runs(folder: Path) -> bool:
    return folder.is_dir() and any(map(_is_run, folder.iterdir()))
