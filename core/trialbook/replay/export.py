"""Writing the trained parts of a recorded run in the formats of other libraries."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trialbook.config.settings import Settings
from trialbook.contracts.files import to_json, write_whole
from trialbook.errors import TrialbookError
from trialbook.registry.environment import environment
from trialbook.replay.load import LoadedRun

#: Where an exported folder says what it was made from.
FACTS = "trialbook.json"


def check_folder(folder: Path) -> None:
    """Check that something can be exported there.

    Raises:
        TrialbookError: it is a file, or a folder that is not empty.
    """
    if folder.exists() and not folder.is_dir():
        raise TrialbookError(f"{folder} is a file; name a folder that is not there yet")
    if folder.is_dir() and next(folder.iterdir(), None) is not None:
        raise TrialbookError(f"{folder} is not empty; name another folder, or empty it")


def export_run(loaded: LoadedRun, folder: Path, settings: Settings, *, merged: bool) -> list[str]:
    """Export, and say in a sentence each what lies where; the folder appears when all of it is written.

    Raises:
        TrialbookError: the task cannot, the folder is not empty or cannot be written.
    """
    from trialbook.contracts import SupportsExport

    check_folder(folder)
    if not isinstance(loaded.task, SupportsExport):
        use = loaded.spec.config["task"]["use"]
        raise TrialbookError(
            f"task '{use}' has no export; its trained tensors lie in {loaded.run.path / 'checkpoints'}"
        )
    folder = folder.absolute()
    aside = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    try:
        aside.mkdir(parents=True)
        with loaded.computing():
            said = loaded.task.export(aside, merged=merged)
        write_whole(aside / FACTS, to_json(_facts(loaded, settings, merged)) + "\n")
        if folder.is_dir():
            folder.rmdir()
        aside.rename(folder)
    except OSError as error:
        raise TrialbookError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [*said, f"{FACTS} says what it was made from."]


def _facts(loaded: LoadedRun, settings: Settings, merged: bool) -> dict[str, object]:
    around = environment(settings)
    return {
        "run": f"{loaded.spec.experiment}/{loaded.run.path.name}", "id": loaded.spec.id, "seed": loaded.spec.seed,
        "checkpoint": loaded.checkpoint, "step": loaded.step, "merged": merged, "config": dict(loaded.spec.config),
        "remarks": list(loaded.remarks), "git": around["git"], "versions": around["versions"],
    }  # fmt: skip
