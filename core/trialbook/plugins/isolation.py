"""Possible faults of a plugin's hooks and of what they yield, each as a phrase for ``mlrun plugins list``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from trialbook.errors import TrialbookError, printable, suggest
from trialbook.plugins.hookspec import Component, Hooks

if TYPE_CHECKING:
    import pluggy

#: What a plugin may do wrong without harm to others; an interrupt from the keyboard is not among them.
PLUGIN_ERRORS = (Exception, SystemExit)
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def describe_failure(fault: BaseException) -> str:
    """``raises ValueError: …`` or ``calls sys.exit(1)``."""
    if isinstance(fault, SystemExit):
        return f"calls sys.exit({'' if fault.code is None else repr(fault.code)})"
    return printable(f"raises {type(fault).__name__}: {fault}")


def hook_error(manager: pluggy.PluginManager, plugin: object) -> str | None:
    """Say what is wrong with the names of a plugin's hooks, or None."""
    known = {name for name in vars(Hooks) if name.startswith("mlrun_")}
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            if attribute in known and callable(getattr(plugin, attribute)):
                return f"'{attribute}' lacks the @hookimpl decorator"
            continue
        name = options.get("specname") or attribute
        if name not in known:
            hint = suggest(name, known)
            return f"there is no hook '{name}'" + (f"; did you mean '{hint}'?" if hint else "")
        if options.get("wrapper") or options.get("hookwrapper"):
            return f"'{name}' is a hook wrapper, which none of the hooks allows"
    return None


def checked_components(hook_name: str, offers: object) -> list[Component]:
    """The components that a hook yields.

    Raises:
        TrialbookError: it yields something else, a malformed name or target, or one name twice.
    """
    if not isinstance(offers, Iterable):
        raise TrialbookError(f"{hook_name} must yield Components, not return {offers!r}")
    checked: dict[str, Component] = {}
    for offer in offers:
        if not isinstance(offer, Component):
            raise TrialbookError(f"{hook_name} must yield Components, not {offer!r}")
        if not isinstance(offer.name, str) or not _NAME.fullmatch(offer.name):
            raise TrialbookError(f"{hook_name} yields the name {offer.name!r}; names look like 'attention-pool'")
        if not isinstance(offer.target, str) or not _TARGET.fullmatch(offer.target):
            raise TrialbookError(
                f"{hook_name} gives '{offer.name}' the target {offer.target!r}; write it as 'package.module:Class'"
            )
        if offer.name in checked:
            raise TrialbookError(f"{hook_name} yields '{offer.name}' twice")
        checked[offer.name] = offer
    return list(checked.values())


def checked_folder(offer: object) -> Path:
    """The folder that a hook returns.

    Raises:
        TrialbookError: there is no such folder, or it is not said by its whole path.
    """
    if not isinstance(offer, str | Path) or not Path(offer).is_absolute() or not Path(offer).is_dir():
        raise TrialbookError(
            f"must return the path of a folder, such as Path(__file__).with_name('templates'), not {offer!r}"
        )
    return Path(offer)
