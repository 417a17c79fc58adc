"""Checkpoints of the Hugging Face kind, for plugins of any kind: where they lie, and how to read them with good errors.

A checkpoint lies in a folder, in the hub's cache, or on the hub. transformers and the hub's client are imported on use,
because importing them takes seconds.
"""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trialbook import TrialbookError
from trialbook.contracts.data_files import find_files, note_files

_PATIENCE = 5.0
"""Seconds to wait for the hub's first answer."""
_WANTED = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors"]


def find_checkpoint(model: str, revision: str | None, data_root: Path | None, *, code: bool = False) -> Path:
    """The folder of a checkpoint: ``model`` as given, under ``data_root``, or from the hub (its cache first).

    Args:
        model: a folder or a name of the hub.
        revision: branch, tag or commit of a name of the hub.
        data_root: where a relative folder is looked for, too.
        code: fetch code that lies in the checkpoint, too.

    Raises:
        TrialbookError: there is no such folder, and the hub does not have it or cannot be reached.
    """
    for folder in (Path(model).expanduser(), *([data_root / model] if data_root else [])):
        if folder.is_dir():
            note_files(file for file in find_files(folder, "*") if file.is_file())
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
        wanted = [*_WANTED, *(["*.py"] if code else [])]
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except OSError as error:
        raise TrialbookError(f"cannot load model '{model}': {where}, and the hub says: {first_line(error)}") from error


def import_transformers() -> Any:
    """The package transformers.

    Raises:
        TrialbookError: it is not installed.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise TrialbookError(f"no module '{error.name}': install it with pip install 'trialbook[hf]'") from error
    return transformers


@contextmanager
def reading(what: str, model: str) -> Iterator[None]:
    """Turns what transformers raises into one sentence that names ``what`` could not be read of ``model``."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise TrialbookError(f"cannot load the {what} of model '{model}': {first_line(error)}") from error
    except TrialbookError as error:
        raise TrialbookError(f"cannot load the {what} of model '{model}': {error}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the reports and bars of transformers: the checks of who reads say what matters."""
    logging: Any = import_transformers().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def config_hash(config: Any) -> str:
    """SHA-256 of a configuration or preprocessing, without where it came from."""
    origin = ("_name_or_path", "transformers_version")
    content = {key: value for key, value in config.to_dict().items() if key not in origin}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def files_hash(folder: Path, names: Sequence[str]) -> str:
    """SHA-256 of those of the files that there are, with their names."""
    digest = hashlib.sha256()
    for name in sorted(set(names)):
        if (folder / name).is_file():
            digest.update(f"{name}\x00".encode() + hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _has_weights(folder: Path) -> bool:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return all((folder / name).is_file() for name in json.loads(index.read_text())["weight_map"].values())
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _hub_unreachable() -> str | None:
    """Say why the hub cannot be reached, None if it answers; asked first, as its own client tries again for long."""
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
