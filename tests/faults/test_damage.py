"""A damaged file in a run directory: no traceback, no hang, and other runs as before. ``damage.py`` tries everything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from damage import Victim, ask, files_of, listed, try_out, workplace

from old_runs import enter

#: A file and what becomes of it: each kind of damage once, spread over the files.
CELLS = [
    ("run.json", "array"), ("run.json", "leaves huge"), ("run.json", "dangling link"), ("env.json", "null"),
    ("components.json", "values text"), ("data.json", "leaves tables"), ("sessions.json", "values null"), ("lock", "pipe"),
    ("findings.json", "folder"), ("results.json", "deeply nested"), ("results.json", "emptied"), ("lock", "link to itself"),
    ("metrics.jsonl", "NUL line"), ("metrics.jsonl", "pipe"), ("timing.jsonl", "leaves too large"), ("events.jsonl", "arrays"),
    ("stats.jsonl", "endless device"),
]  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Victim]]:
    """A workplace with runs of both formats that is indexed, and the run of it that is damaged."""
    folder = tmp_path_factory.mktemp("damage")
    with workplace(folder, ("instruct",)) as (_, runs):
        ask("registry sync")
        names = [str(run.relative_to(folder / "runs")) for run in runs]
        yield folder, Victim(names[1], names[2])


@pytest.mark.parametrize(("file", "damage"), CELLS)
def test_a_damaged_file_touches_no_other_run(
    template: tuple[Path, Victim], tmp_path: Path, file: str, damage: str
) -> None:
    folder, victim = template
    assert file in files_of(folder / "runs" / victim.run)
    here = tmp_path / "workplace"
    shutil.copytree(folder, here, symlinks=True)
    commands = [
        one
        for one in victim.commands()
        if not one.startswith(("failures", "report")) and not one.endswith(("diff", "--json"))
    ]
    with enter(here):
        assert list(try_out(here, victim, file, damage, [*commands, "ls --json"])) == []
        assert listed(ask("ls --json"), "") == listed(ask("ls --json"), victim.run)  # it was deleted at last
