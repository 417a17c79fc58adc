"""Start-up of ``mlrun --help`` against a bare click program, and the commands of other trackers where they are installed."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks._measure import BARE_CLICK, in_turn, process, ratio, save

_OTHERS = {
    "mlflow": ["mlflow", "--help"],
    "wandb": ["wandb", "--help"],
    "dvc": ["dvc", "--help"],
    "clearml": ["clearml-task", "--help"],
}


def main() -> None:
    """Whole processes in turn, 20 rounds."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE_CLICK)
        mlrun = str(Path(sys.executable).with_name("mlrun"))
        programs = {
            "bare": process([sys.executable, str(bare), "--help"], cwd=Path(folder)),
            "mlrun": process([mlrun, "--help"], cwd=Path(folder)),
        }
        for name, command in _OTHERS.items():
            if found := shutil.which(command[0], path=str(Path(sys.executable).parent)):
                programs[name] = process([found, *command[1:]], cwd=Path(folder))
        taken = in_turn(programs, rounds=20, warmup=2)
    rows = [
        {
            "what": "mlrun --help / bare click program",
            "value": ratio(taken, "mlrun", "bare"),
            "unit": "x",
            "bound": "<= 1.8",
        }
    ]
    for name in taken:
        rows.append(
            {
                "what": f"{name} --help, median",
                "value": statistics.median(taken[name]) * 1000,
                "unit": "ms",
                "bound": "",
            }
        )
    absent = sorted(set(_OTHERS) - set(taken))
    save("startup", "Start-up", rows, f"Not installed, so not measured: {', '.join(absent)}." if absent else "")


if __name__ == "__main__":
    main()
