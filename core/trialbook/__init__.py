"""A plugin-based experiment runner with a registry.

Importing this package imports nothing heavy; its names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialbook._lazy import lazy_names
from trialbook._version import __version__ as __version__

if TYPE_CHECKING:
    from trialbook.config.options import StageOptions as StageOptions
    from trialbook.config.options import stages_of as stages_of
    from trialbook.config.runspec import Outcome as Outcome
    from trialbook.errors import TrialbookError as TrialbookError
    from trialbook.errors import suggest as suggest
    from trialbook.plugins.hookspec import Component as Component
    from trialbook.plugins.hookspec import hookimpl as hookimpl

#: Submodule to the names that are public.
HOMES = {
    "config.options": "StageOptions stages_of",
    "config.runspec": "Outcome",
    "errors": "TrialbookError suggest",
    "plugins.hookspec": "Component hookimpl",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, HOMES)
