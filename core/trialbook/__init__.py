"""A plugin-based experiment runner with a registry.

Importing this package imports nothing heavy; its names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialbook._lazy import lazy_names
from trialbook._version import __version__ as __version__

if TYPE_CHECKING:
    from trialbook import contracts as contracts
    from trialbook import testing as testing
    from trialbook.api.check import CheckResult as CheckResult
    from trialbook.api.check import check as check
    from trialbook.api.comparison import ExperimentComparison as ExperimentComparison
    from trialbook.api.comparison import compare as compare
    from trialbook.api.display import stylesheet as stylesheet
    from trialbook.api.execute import RunOutcomes as RunOutcomes
    from trialbook.api.execute import run as run
    from trialbook.api.plan import ExperimentPlan as ExperimentPlan
    from trialbook.api.plan import plan as plan
    from trialbook.api.plot import Plot as Plot
    from trialbook.api.registry import Registry as Registry
    from trialbook.api.registry import open_registry as open_registry
    from trialbook.api.reproduce import reproduce as reproduce
    from trialbook.api.run import Run as Run
    from trialbook.api.run import load_run as load_run
    from trialbook.api.runs import RunList as RunList
    from trialbook.api.runs import runs as runs
    from trialbook.config.options import StageOptions as StageOptions
    from trialbook.config.options import stages_of as stages_of
    from trialbook.config.runspec import Outcome as Outcome
    from trialbook.errors import TrialbookError as TrialbookError
    from trialbook.errors import suggest as suggest
    from trialbook.plugins.hookspec import Component as Component
    from trialbook.plugins.hookspec import hookimpl as hookimpl
    from trialbook.replay.load import LoadedRun as LoadedRun
    from trialbook.replay.reproduction import Reproduction as Reproduction

#: Submodule to the names that are public.
HOMES = {
    "api.check": "CheckResult check",
    "api.comparison": "ExperimentComparison compare",
    "api.display": "stylesheet",
    "api.execute": "RunOutcomes run",
    "api.plan": "ExperimentPlan plan",
    "api.plot": "Plot",
    "api.registry": "Registry open_registry",
    "api.reproduce": "reproduce",
    "api.run": "Run load_run",
    "api.runs": "RunList runs",
    "config.options": "StageOptions stages_of",
    "config.runspec": "Outcome",
    "errors": "TrialbookError suggest",
    "plugins.hookspec": "Component hookimpl",
    "replay.load": "LoadedRun",
    "replay.reproduction": "Reproduction",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, HOMES, ("contracts", "testing"))
