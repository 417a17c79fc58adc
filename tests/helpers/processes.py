"""Running ``mlrun`` on several processes of this machine, that find one another as those of a cluster do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

#: Seconds after which a command is taken to hang.
_HANGS = 300


@dataclass(frozen=True)
class Ended:
    """How one process ended: its exit status (negative: the signal), what it wrote, and seconds until then."""

    status: int
    out: str
    err: str
    seconds: float


def run_processes(folder: Path, count: int, *arguments: str, site: Path | None = None, **variables: str) -> list[Ended]:
    """Run ``mlrun ARGUMENTS`` in ``folder`` on so many processes and wait for all; one is run as it ever is."""
    return wait_for(start_processes(folder, count, *arguments, site=site, **variables))


def start_processes(
    folder: Path, count: int, *arguments: str, site: Path | None = None, **variables: str
) -> list[subprocess.Popen[str]]:
    """Start ``mlrun ARGUMENTS`` on so many processes.

    Args:
        folder: where runs are recorded.
        count: of processes.
        site: folder of plugins that are installed for them.
        variables: of their environment.
    """
    path = [str(site), *sys.path] if site else sys.path
    around = {
        **os.environ, "TRIALBOOK_RUNS": str(folder / "runs"), "TRIALBOOK_CACHE": str(folder.parent / "cache"),
        "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, path)), **variables,
    }  # fmt: skip
    port = str(free_port())
    started = []
    for rank in range(count):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_PORT": port}
        own = {**around, **place, "MASTER_ADDR": "127.0.0.1"} if count > 1 else around
        command = [sys.executable, "-m", "trialbook", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=folder, env=own, text=True, preexec_fn=_heed_interrupts, **pipes))
    return started


def _heed_interrupts() -> None:
    """Where the tests run in the background, processes would ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(processes: list[subprocess.Popen[str]]) -> list[Ended]:
    """How they ended; they are killed if they do not."""
    since, ended = time.monotonic(), []
    for process in processes:
        try:
            out, err = process.communicate(timeout=max(1.0, _HANGS - (time.monotonic() - since)))
        except subprocess.TimeoutExpired:
            for one in processes:
                one.kill()
            out, err = process.communicate()
            err += "\nit hung and was killed"
        ended.append(Ended(process.returncode, out, err, time.monotonic() - since))
    return ended


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def install(site: Path, name: str, source: str) -> Path:
    """Put a plugin into a folder, as an installed distribution with one module; returns the folder."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{name}_parts.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[trialbook.plugins]\n{name} = {name}_parts\n")
    return site
