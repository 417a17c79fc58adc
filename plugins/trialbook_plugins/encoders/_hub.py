"""Where a Hugging Face checkpoint lies: in a folder, in the hub's cache, or on the hub."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

from trialbook.errors import TrialbookError

_PATIENCE = 5.0
"""Seconds to wait for the hub's first answer."""
_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]


def find_checkpoint(model: str, revision: str | None, data_root: Path | None) -> Path:
    """The folder of a checkpoint: ``model`` as given, under ``data_root``, or from the hub (its cache first).

    Raises:
        TrialbookError: there is no such folder, and the hub does not have it or cannot be reached.
    """
    for folder in (Path(model).expanduser(), *([data_root / model] if data_root else [])):
        if folder.is_dir():
            return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    where = "no folder of that name" + (f", here or in {data_root}" if data_root else "")
    try:
        cached = Path(snapshot_download(model, revision=revision, local_files_only=True))
        if _has_weights(cached):
            return cached
    except HFValidationError:
        raise TrialbookError(f"cannot load model '{model}': {where}, and it is no name of the hub") from None
    except OSError:
        pass  # not in the cache: ask the hub
    if reason := _hub_unreachable():
        raise TrialbookError(
            f"cannot load model '{model}': {where}, and the hub cannot be reached ({reason}); give a folder, "
            f"or fetch it with 'hf download {model}' where the hub can be reached"
        )
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=_WANTED, ignore_patterns=["*/*"]))
    except OSError as error:
        raise TrialbookError(f"cannot load model '{model}': {where}, and the hub says: {first_line(error)}") from error


def _has_weights(folder: Path) -> bool:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return all((folder / name).is_file() for name in json.loads(index.read_text())["weight_map"].values())
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _hub_unreachable() -> str | None:
    """Why the hub cannot be reached, None if it answers; asked first, as its own client tries again for long."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=_PATIENCE).close()
    except urllib.error.HTTPError:
        return None  # it answers, be it with an error
    except OSError as error:
        return str(getattr(error, "reason", error))
    return None


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error) or type(error).__name__).strip().splitlines()[0]
