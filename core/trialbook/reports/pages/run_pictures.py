"""Pictures that runs made and declared, as blocks of a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from trialbook.contracts.plots import Shown, read_pictures
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.document.blocks import Block, Collapsible, SavedPicture

#: Beginnings of the files that a page takes in; larger ones it links to.
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
_LARGEST = 3 << 20
#: Arms whose pictures stand in the page of an experiment.
_MOST_ARMS = 8


def run_pictures(run: RunDirectory, front: str = "", largest: int = _LARGEST) -> list[SavedPicture]:
    """The pictures that a run declared and that are there.

    Args:
        run: where they lie.
        front: the way from the page to the run's directory.
        largest: bytes of a file that stands in the page.
    """
    declared = read_pictures(run.read("data") or {})
    found = [(one, run.artifacts / one.file) for one in declared if Path(one.file).name == one.file]
    return [
        _kept(one, file, f"{front}{run.artifacts.name}/{one.file}", largest) for one, file in found if file.is_file()
    ]


def arm_pictures(runs: Mapping[str, Sequence[RunDirectory]]) -> list[Block]:
    """Those of the first run of each arm, folded where there are several arms."""
    own = {arm: run_pictures(runs[arm][0], f"{runs[arm][0].path.name}/") for arm in runs if runs[arm]}
    filled = {arm: pictures for arm, pictures in list(own.items())[:_MOST_ARMS] if pictures}
    if len(filled) < 2:
        return [one for pictures in filled.values() for one in pictures]
    return [Collapsible(arm, pictures) for arm, pictures in filled.items()]


def _kept(one: Shown, file: Path, target: str, largest: int) -> SavedPicture:
    uri = ""
    if file.stat().st_size <= largest:
        data = file.read_bytes()
        kind = next((kind for begin, kind in _KINDS.items() if data.startswith(begin)), "")
        uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}" if kind else ""
    return SavedPicture(target, uri, one.title, one.caption, one.alt)
