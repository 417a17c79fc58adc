"""The common needs of all functions that check or run something: settings, plugins and schemas, opened once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trialbook.config.settings import Settings, load_settings

if TYPE_CHECKING:
    from trialbook.plugins.manager import PluginManager
    from trialbook.plugins.schema import SchemaBook


@dataclass(frozen=True)
class App:
    """Settings of the workplace, its plugins, and the schemas of their components."""

    settings: Settings
    host: PluginManager
    book: SchemaBook


def open_app(runs: Path | str | None = None, root: Path | str | None = None) -> App:
    """Read ``runner.toml`` and discover plugins.

    Args:
        runs: another directory of runs than the settings name.
        root: folder in which or above which ``runner.toml`` lies; the working directory if None.
    """
    return app_of(settings_of(root, runs))


def app_of(settings: Settings) -> App:
    """The plugins and schemas that these settings give."""
    from trialbook.plugins.manager import PluginManager  # late: reading the registry needs no plugins
    from trialbook.plugins.schema import SchemaBook

    host = PluginManager.discover(settings.disabled_plugins)
    return App(settings, host, SchemaBook(host, settings.cache))


def settings_of(root: Path | str | None = None, runs: Path | str | None = None) -> Settings:
    """The settings that hold in ``root``, with another directory of runs if one is given."""
    settings = load_settings(None if root is None else Path(root))
    return settings.with_runs(None if runs is None else Path(runs))
