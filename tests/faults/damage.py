"""What can become of a file in a run directory, and whether commands about this and other runs bear it.

As a script it tries every file, every damage and every command, and prints a table: 0 tracebacks, 0 hangs, other runs as before.

    PYTHONPATH=tests/helpers python tests/faults/damage.py [WORD …]     # of the damages and files whose names have a WORD in them
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from old_runs import enter, unpack
from trialbook.cli.main import cli
from trialbook.errors import TrialbookError
from trialbook.registry.run_directory import RunDirectory

#: Seconds after which a command hangs.
PATIENCE = 30
#: A user without rights, for files that cannot be read; root reads all.
NOBODY = 65534


class Hang(BaseException):
    """A command took too long; no handler of errors takes it for one."""


def _text(content: bytes) -> Callable[[Path], None]:
    return lambda file: void(file.write_bytes(content))


def void(_: object) -> None:
    """Nothing, whatever a call returned."""


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def _replace(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


def _values(value: Any) -> Callable[[Path], None]:
    """Every value of the outermost table (of the first line, of the first entry) becomes another; what is no JSON is replaced."""

    def damage(file: Path) -> None:
        first, _, rest = file.read_bytes().partition(b"\n")
        whole = first if file.suffix == ".jsonl" else file.read_bytes()
        try:
            found = json.loads(whole)
        except ValueError:
            found = {}
        table = found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else found
        table = dict.fromkeys(table, value) if isinstance(table, dict) else value
        text = json.dumps([table] if isinstance(found, list) else table)
        file.write_bytes(text.encode() + b"\n" + (rest if file.suffix == ".jsonl" else b""))

    return damage


def _leaves(value: Any) -> Callable[[Path], None]:
    """Every number and string at any depth becomes another value."""

    def change(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: change(inner) for key, inner in one.items()}
        return [change(inner) for inner in one] if isinstance(one, list) else value

    def damage(file: Path) -> None:
        texts = file.read_bytes().splitlines() if file.suffix == ".jsonl" else [file.read_bytes()]
        with suppress(ValueError):
            file.write_text("".join(f"{json.dumps(change(json.loads(text)))}\n" for text in texts))

    return damage


#: Name to what it does to a file.
DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": _cut,
    "emptied": _text(b""),
    "zeroed": _zero,
    "NUL line": lambda file: void(file.write_bytes(bytes(40) + b"\n" + file.read_bytes())),
    "null": _text(b"null\n"),
    "array": _text(b"[]\n"),
    "arrays": _text(b"[[], [[]]]\n"),
    "table": _text(b"{}\n"),
    "number": _text(b"7\n"),
    "string": _text(b'"x"\n'),
    "deeply nested": _text(b"[" * 100_000 + b"]" * 100_000 + b"\n"),
    "nested tables": _text(b'{"a":' * 900 + b"1" + b"}" * 900 + b"\n"),
    "invalid UTF-8": _text(b'{"step": 1, "values": {"\xff\xfe": 1.0}}\n'),
    "half a surrogate": _leaves("\ud800"),
    "values null": _values(None),
    "values text": _values("x"),
    "values array": _values([]),
    "values table": _values({}),
    "values negative": _values(-1),
    "values huge": _values(10**23),
    "leaves null": _leaves(None),
    "leaves huge": _leaves(10**23),
    "leaves too large": _leaves(10**400),
    "leaves text": _leaves("x"),
    "leaves tables": _leaves({"x": [{}]}),
    "pipe": _replace(os.mkfifo),
    "folder": _replace(Path.mkdir),
    "link to itself": _replace(lambda file: file.symlink_to(file)),
    "dangling link": _replace(lambda file: file.symlink_to("nowhere")),
    "endless device": _replace(lambda file: file.symlink_to("/dev/zero")),
    "unreadable": lambda file: file.chmod(0),
    "gone": Path.unlink,
}


@dataclass(frozen=True)
class Victim:
    """A run that is damaged, and one of the same experiment that is not."""

    run: str
    other: str

    @property
    def experiment(self) -> str:
        """Name of the experiment of both."""
        return self.run.partition("/")[0]

    def commands(self) -> list[str]:
        """What is asked: with the registry as it was, then with one made of the damaged directories; the last deletes the run."""
        run, other, experiment = self.run, self.other, self.experiment
        return [
            "ls --json", f"show {run}", f"show {other}", f"compare {experiment}", f"diff {run} {other}",
            f"doctor {experiment}", f"doctor {run}", f"report {run} --no-plots", f"report {experiment} --no-plots",
            f"failures {run}", f"failures {other}", "registry check", "registry sync --reread", "registry sync",
            "registry check --json", "ls --json", f"show {run} --json", f"show {other}", f"compare {experiment} --json",
            f"diff {run} {other}", f"doctor {experiment} --json", f"report {experiment} --no-plots",
            'sql "select * from run_overview"', f"rm {run} --yes", "ls --json",
        ]  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a command did: ``status`` is its exit status, ``traceback`` or ``hang``."""

    status: int | str
    text: str


def ask(words: str, patience: int = PATIENCE) -> Answer:
    """Call ``mlrun`` in this process, as its entry point does."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(patience)
    try:
        result = CliRunner().invoke(cli, shlex.split(words))
    except Hang:
        return Answer("hang", words)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    error = result.exception
    if isinstance(error, TrialbookError | OSError):
        return Answer(2, f"{result.output}mlrun: {error}")
    if error is not None and not isinstance(error, SystemExit):
        return Answer("traceback", repr(error))
    return Answer(result.exit_code, result.output)


def listed(answer: Answer, without: str) -> list[dict[str, Any]]:
    """Rows of ``ls --json`` but that of a run, by experiment and name."""
    rows = json.loads(answer.text)
    return sorted((row for row in rows if f"{row['experiment']}/{row['name']}" != without), key=lambda row: row["name"])


def try_out(folder: Path, victim: Victim, file: str, damage: str, commands: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Damage a file of a run in ``folder`` and ask all commands; yields those that went wrong, and how.

    Args:
        folder: a workplace, in which the process is; it is left damaged.
        victim: whose file.
        file: path in its directory.
        damage: name of one of ``DAMAGES``.
        commands: what is asked.
    """
    sound = listed(ask("ls --json"), victim.run)
    shown = ask(f"show {victim.other}").text
    DAMAGES[damage](folder / "runs" / victim.run / file)
    for command in commands:
        answer = ask(command)
        if isinstance(answer.status, str):
            yield command, f"{answer.status} {answer.text}"
        elif command == "ls --json" and (answer.status or listed(answer, victim.run) != sound):
            yield command, f"other runs are listed otherwise: {answer.text[:300]}"
        elif command == f"show {victim.other}" and answer.text != shown:
            yield command, "the other run is shown otherwise"
        elif command.startswith("compare") and answer.status:
            yield command, f"no comparison: {answer.text}"
        elif command.startswith("report") and victim.run not in command and answer.status:
            yield command, f"no page of the other runs: {answer.text}"


def modernise(path: Path) -> None:
    """Write a run of an earlier format as this version would have."""
    run = RunDirectory(path)
    made = {name: run.read(name) for name in ("run", "results") if run.has(name)}
    lines = list(run.read_lines("metrics"))
    if (path / "vitals.jsonl").exists():
        (path / "vitals.jsonl").rename(path / "stats.jsonl")
    for name, content in made.items():
        run.write(name, content | ({"format": 2} if name == "run" else {}))
    run.lines("metrics").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@contextmanager
def workplace(folder: Path, kept: Sequence[str]) -> Iterator[tuple[Path, list[Path]]]:
    """Be in a workplace with some of the old runs, two of them of this version's format; its folder and its runs.

    Args:
        folder: an empty one.
        kept: experiments whose runs are there.
    """
    unpack(folder)
    for path in (folder / "runs").iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    runs = sorted(path.parent for path in folder.glob("runs/*/*/run.json"))
    for path in runs[1::2]:
        modernise(path)
    with enter(folder):
        yield folder, runs


@contextmanager
def without_rights(folder: Path, wanted: bool) -> Iterator[None]:
    """Be nobody where one is root, so that rights count; all that is needed has been imported before."""
    if os.geteuid() or not wanted:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def files_of(run: Path) -> list[str]:
    """Every file of a run directory, and those that an unfinished one may have."""
    return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


def main(words: Sequence[str]) -> int:
    """Try everything and print a table; the status is 1 where something went wrong."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        template = Path(name).resolve() / "template"
        template.mkdir()
        Path(name).chmod(0o755)
        with workplace(template, ("instruct", "broken", "killed")) as (_, runs):
            ask("registry sync")
        names = [str(run.relative_to(template / "runs")) for run in runs]
        own = [one for one in names if one.startswith("instruct/")]
        failed, killed = (
            next(one for one in names if one.startswith(f"{experiment}/")) for experiment in ("broken", "killed")
        )
        with enter(template):
            for command in Victim(own[0], own[2]).commands()[:13]:
                ask(command)
        victims = [Victim(own[0], own[2]), Victim(own[1], own[2]), Victim(failed, own[2]), Victim(killed, own[2])]
        for victim in victims:
            commands = victim.commands()
            if victim.experiment != "instruct":  # it has no finished run to compare
                named = re.compile(rf"(?<=^compare ){victim.experiment}\b|(?<=^report ){victim.experiment}(?= )")
                commands = [named.sub("instruct", one) for one in commands]
            for file in files_of(template / "runs" / victim.run):
                before = found["commands"]
                for damage in DAMAGES:
                    if words and not any(word in f"{damage} {victim.run}/{file}" for word in words):
                        continue
                    folder = Path(name) / "tried"
                    shutil.copytree(template, folder, symlinks=True)
                    with enter(folder), without_rights(folder, damage == "unreadable"):
                        wrong = list(try_out(folder, victim, file, damage, commands))
                    shutil.rmtree(folder)
                    found["cells"] += 1
                    found["commands"] += len(commands)
                    for command, how in wrong:
                        found[how.split()[0] if how.split()[0] in ("hang", "traceback") else "otherwise"] += 1
                        print(f"{victim.run}/{file} {damage}: mlrun {command}: {how}", flush=True)
                print(f"{found['commands'] - before:>7,} commands  {victim.run}/{file}", flush=True)
    print(*(f"{found[key]:>7,} {key}" for key in ("cells", "commands", "traceback", "hang", "otherwise")), sep="\n")
    return 1 if found["traceback"] or found["hang"] or found["otherwise"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
