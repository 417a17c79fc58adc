"""Killing the command ``mlrun run`` at random moments and going on, for tests that compare what is left with an unkilled run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workplace:
    """A folder with one experiment of one run.

    Args:
        folder: of the experiment's file, its runs and its cache.
        name: of the experiment, and of its file.
    """

    folder: Path
    name: str

    def make(self, text: str) -> Workplace:
        """Write the experiment's file."""
        self.folder.mkdir()
        (self.folder / f"{self.name}.toml").write_text(text)
        return self

    def start(self, command: str = "run") -> subprocess.Popen[str]:
        """Begin to run it, or continue; or another command."""
        paths = {"TRIALBOOK_RUNS": str(self.folder / "runs"), "TRIALBOOK_CACHE": str(self.folder / "cache")}
        # threads that wait for one another are slow on a busy machine
        around = {**os.environ, **paths, "OMP_NUM_THREADS": "1"}
        words = [command, f"{self.name}.toml", *(["--no-plots"] if command == "run" else [])]
        return subprocess.Popen(
            [sys.executable, "-m", "trialbook", *words],
            cwd=self.folder,
            env=around,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def run(self) -> Path:
        """The directory of the run."""
        return next((self.folder / "runs" / self.name).glob("*/config.toml")).parent

    def lines(self) -> int:
        """Records in the file of the run; 0 where it has not begun."""
        files = self.folder.glob(f"runs/{self.name}/*/metrics.jsonl")
        return sum(file.read_bytes().count(b"\n") for file in files)

    def weights(self) -> dict[str, bytes]:
        """Files of the newest checkpoint."""
        newest = max((self.run / "checkpoints").glob("step-*"))
        return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}

    def run_to_the_end(self) -> tuple[float, float]:
        """Seconds until the first record, and in all."""
        started, first = time.monotonic(), None
        process = self.start()
        while process.poll() is None:
            if first is None and self.lines():
                first = time.monotonic() - started
            time.sleep(0.02)
        assert process.returncode == 0, process.communicate()[0]
        assert first is not None
        return first, time.monotonic() - started

    def kill_until_done(self, kills: int, before: float, lines: int, seed: int) -> int:
        """Kill the run at random moments, some before its first record, continue each time; the kills that met it alive.

        Moments are counted in records, since time is worth more or less as other work on the machine comes and goes.
        """
        rng, met = random.Random(seed), 0
        for _ in range(kills):
            known = self.lines()
            process = self.start()
            if rng.random() < 0.25:
                deadline, wanted = time.monotonic() + before * rng.uniform(0.2, 0.9), known + lines // kills
            else:
                deadline, wanted = time.monotonic() + 600, known + round(lines / kills * rng.uniform(0, 0.9))
            while process.poll() is None and time.monotonic() < deadline and self.lines() < max(wanted, 1):
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.05))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                met += 1
            process.communicate()
        self.run_to_the_end()
        return met


def compare_kills(tmp_path: Path, name: str, text: str, kills: int) -> tuple[Workplace, Workplace]:
    """Run an experiment undisturbed, and another time with kills, and see that records and weights are the same bits.

    Returns:
        the two workplaces, for what else should be the same.
    """
    whole = Workplace(tmp_path / "whole", name).make(text)
    broken = Workplace(tmp_path / "broken", name).make(text)
    whole.start("check").communicate()  # this fills the cache of schemas
    shutil.copytree(whole.folder / "cache", broken.folder / "cache")
    before, _ = whole.run_to_the_end()
    assert broken.kill_until_done(kills, before, whole.lines(), seed=kills) > kills * 0.7
    assert broken.run.name == whole.run.name
    records = [(one.run / "metrics.jsonl").read_bytes() for one in (whole, broken)]
    assert records[0] == records[1]
    assert records[0].count(b"\n") == len(set(records[0].splitlines()))
    assert whole.weights() == broken.weights()
    return whole, broken
