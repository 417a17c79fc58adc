"""What a command that runs something needs: settings, plugins and schemas, opened once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trialbook.config.settings import Settings, load_settings
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook


@dataclass(frozen=True)
class App:
    """Settings of the workplace, its plugins, and the schemas of their components."""

    settings: Settings
    host: PluginManager
    book: SchemaBook


def open_app(runs: Path | None = None) -> App:
    """Read ``runner.toml`` and discover plugins; ``runs`` overrides the directory of runs."""
    settings = load_settings().with_runs(runs)
    host = PluginManager.discover(settings.disabled_plugins)
    return App(settings, host, SchemaBook(host, settings.cache))
