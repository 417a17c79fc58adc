"""Entry points of one group, read straight from the metadata folders on ``sys.path``.

``importlib.metadata`` takes longer to import than all the rest of ``mlrun --help``, and a cache could be stale. Listing
the folders and opening the few ``entry_points.txt`` files needs neither; whatever is not a plain folder is left to it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EntryPoint:
    """One line of a distribution's ``entry_points.txt``.

    Args:
        name: what stands before the ``=``.
        value: ``"package.module"`` or ``"package.module:attribute"``.
        distribution: name of the distribution, as it is written in its metadata; None for one that is not installed.
        version: of the distribution.
    """

    name: str
    value: str
    distribution: str | None = None
    version: str | None = None


def find_entry_points(group: str, path: Sequence[str] | None = None) -> list[EntryPoint]:
    """All entry points of ``group``; of two distributions with one name the first on the path counts, as with imports.

    Args:
        group: e.g. ``"trialbook.plugins"``.
        path: folders to look in; ``sys.path`` if None.
    """
    if path is None and _has_own_finder(sys.meta_path):
        return list(_from_metadata(group, None, set()))
    found: list[EntryPoint] = []
    seen: set[str] = set()
    for folder in dict.fromkeys(sys.path if path is None else path):
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - as in ``_read``
        except NotADirectoryError:  # a zip file, for instance
            found += _from_metadata(group, folder, seen)
        except OSError:  # named on the path, but not there
            continue
        else:
            found += _from_folder(group, folder or ".", names, seen)
    return found


def _from_folder(group: str, folder: str, names: Iterable[str], seen: set[str]) -> Iterator[EntryPoint]:
    for info in sorted(names):
        if not info.endswith((".dist-info", ".egg-info")):
            continue
        key = _normal(info.rpartition(".")[0].partition("-")[0])
        if key in seen:
            continue
        seen.add(key)
        text = _read(f"{folder}/{info}/entry_points.txt")
        if group in text:
            distribution, version = _identity(f"{folder}/{info}", info)
            for name, value in parse_group(text, group):
                yield EntryPoint(name, value, distribution, version)


def _from_metadata(group: str, folder: str | None, seen: set[str]) -> Iterator[EntryPoint]:
    from importlib import metadata  # late: see the module's docstring

    for dist in metadata.distributions() if folder is None else metadata.distributions(path=[folder]):
        key = _normal(dist.metadata["Name"] or "")
        if key not in seen:
            seen.add(key)
            for point in dist.entry_points:
                if point.group == group:
                    yield EntryPoint(point.name, point.value, dist.metadata["Name"], dist.version)


def _has_own_finder(finders: Iterable[Any]) -> bool:
    """Return whether something other than the folders on the path can know of distributions."""
    return any(
        hasattr(finder, "find_distributions") and getattr(finder, "__name__", "") != "PathFinder" for finder in finders
    )


def parse_group(text: str, group: str) -> list[tuple[str, str]]:
    """Name and value of every entry of ``[group]`` in the text of an ``entry_points.txt``."""
    entries, inside = [], False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and line and line[0] not in "#;":
            name, _, value = line.partition("=")
            entries.append((name.strip(), value.partition("[")[0].strip()))
    return entries


def _identity(info_dir: str, info: str) -> tuple[str, str]:
    """Name and version from the metadata file, or from the folder's name where the file is missing."""
    text = _read(f"{info_dir}/METADATA") or _read(f"{info_dir}/PKG-INFO")
    headers = text.partition("\n\n")[0]  # a description follows, which may say "Name: …" too
    head = dict(re.findall(r"^(Name|Version): *(\S+)", headers, re.MULTILINE))
    name, _, version = info.rpartition(".")[0].partition("-")
    return head.get("Name", name), head.get("Version", version or "0")


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as handle:  # noqa: PTH123 - pathlib costs a tenth of the whole
            return handle.read()
    except OSError:
        return ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
