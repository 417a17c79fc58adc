"""Runs recorded by an earlier revision of the program: unpacked, asked by commands, compared by the numbers that these print."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from trialbook.cli.main import cli
from trialbook.errors import TrialbookError

FOLDER = Path(__file__).parents[1] / "old_runs"
#: The files that the runs were made from, the runs with their registry, and what commands printed of them.
EXPERIMENTS, ARCHIVE, RECORDED = FOLDER / "experiments", FOLDER / "runs.tar.xz", FOLDER / "recorded"

#: What a person changes in the experiment files because the check asks for it: a pattern, and what takes its place.
_RENAMED = {
    r"^lr_scale\b": "lr_multipliers", r"^clip\b": "max_grad_norm", r"^keep\b": "keep_last", r"^\[step\.": "[prepare.",
    r"^\[\[stated\]\]": "[[manual_score]]", r"^\[published\.": "[external_baseline.",
    r"^figures\b": "values",
}  # fmt: skip

#: A number as commands print it: sign, thousands, decimals, exponent, percent. Digits in a name (``i2t@10``, ``s0``, ``L4``),
#: in a path or in a hash are none.
_NUMBER = re.compile(r"(?<![\w.@/-])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?:\s?%)?(?!\w)")

#: Numbers that are none of a run: how many checks the doctor has now, how long a command took, and how fast a library is.
_LEFT_OUT = re.compile(r"\(\d+ checks\)|\"checks\": \d+|\(\d+\.\d s\)|^.*it/s\]", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A call of ``mlrun``.

    Args:
        words: what follows ``mlrun`` on the command line.
        status: its exit status.
        pages: patterns of files that it writes, from the workplace's folder; their text counts as printed.
        writes: whether it writes anything but the registry.
    """

    words: str
    status: int = 0
    pages: tuple[str, ...] = ()
    writes: bool = False


def unpack(folder: Path, *, renamed: bool = True) -> Path:
    """Lay out the workplace of the old runs in ``folder``: experiment files, settings, ``runs/``.

    Args:
        folder: an existing one.
        renamed: write the experiment files under the names of now.
    """
    shutil.copytree(EXPERIMENTS, folder, dirs_exist_ok=True)
    for file in folder.rglob("*.toml") if renamed else ():
        text = file.read_text(encoding="utf-8")
        for old, new in _RENAMED.items():
            text = re.sub(old, new, text, flags=re.MULTILINE)
        file.write_text(text, encoding="utf-8")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@contextmanager
def enter(folder: Path) -> Iterator[None]:
    """Be in a workplace with nothing but its own settings, in a time zone that is the same everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TZ", "UTC")
        for name in ("TRIALBOOK_RUNS", "TRIALBOOK_DATA"):
            patch.delenv(name, raising=False)
        time.tzset()
        yield
    time.tzset()


def ask(command: Command, folder: Path) -> str:
    """What a command prints, called in ``folder``, and the pages that it writes; paths start at the folder.

    Raises:
        AssertionError: it ends with another status.
    """
    result = CliRunner().invoke(cli, shlex.split(command.words))
    text, status = result.output, result.exit_code
    if isinstance(result.exception, TrialbookError):  # as the entry point tells it
        text, status = f"{text}mlrun: {result.exception}\n", 2
    elif result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert status == command.status, text
    for page in (file for pattern in command.pages for file in folder.glob(pattern)):
        text += f"\n--- {page}\n{page.read_text(encoding='utf-8')}"
    return text.replace(f"{folder}/", "")


def numbers_in(text: str) -> Counter[str]:
    """Every number in a text, with how often it stands there; in any order, as lines move when what they tell of is renamed."""
    return Counter(found.group().replace("−", "-") for found in _NUMBER.finditer(_LEFT_OUT.sub("", text)))


def record_of(name: str) -> Path:
    """Where the output of a command was recorded."""
    return RECORDED / f"{name}.txt"


def digests(folder: Path) -> Mapping[str, str]:
    """SHA-256 of every file below a folder, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
