"""Packages that come with an extra, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from trialbook import TrialbookError


def load(module: str, extra: str) -> Any:
    """The module.

    Raises:
        TrialbookError: its package is not installed, or lacks one that it needs.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise TrialbookError(f"the package '{missing}' is not installed; pip install 'trialbook[{extra}]'") from error
