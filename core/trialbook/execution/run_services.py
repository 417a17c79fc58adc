"""The common services of a command's runs: the workplace, plugins, processes, and what of their parts is kept between runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trialbook.config.numerics import numerics_of
from trialbook.config.runspec import RunSpec
from trialbook.config.settings import Settings
from trialbook.execution.interrupt import Interrupt
from trialbook.execution.peers import Peers
from trialbook.execution.progress import Progress
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.ranks import is_first_process

if TYPE_CHECKING:
    from accelerate import Accelerator

    from trialbook.engine.builder import BuildContext


@dataclass
class RunServices:
    """The common services of a command's runs. torch is imported when the first of them makes its parts.

    Args:
        settings: where runs lie, device, precision.
        host: plugins; observers among them are told of every run.
        book: schemas of components.
        progress: shows how far the runs are.
        peers: the processes that do the runs together.
        strict: stop a run at the first finding that is an error.
        plots: draw them on the pages of runs.
        observed: tell observers of the runs.
        interrupt: says when Ctrl-C is to end a run.
    """

    settings: Settings
    host: PluginManager
    book: SchemaBook
    progress: Progress
    peers: Peers = field(default_factory=Peers)
    strict: bool = False
    plots: bool = True
    observed: bool = True
    interrupt: Interrupt = field(default_factory=Interrupt)

    @cached_property
    def build_context(self) -> BuildContext:
        """The context that parts are made from; opened on first use, which also sets the number of threads."""
        import torch

        from trialbook.engine.builder import BuildContext

        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        return BuildContext.of(self.settings, self.book)

    def accelerator(self, spec: RunSpec) -> Accelerator:
        """Device and precision of a run; its parts are made there."""
        from trialbook.engine.execute import make_accelerator

        accelerator = make_accelerator(self.settings.device, numerics_of(spec.config, self.settings.numerics).precision)
        self.build_context.device = accelerator.device
        return accelerator

    def notify(self, hook: str, **values: Any) -> None:
        """Tell observers of a run, in the first process."""
        if self.observed and is_first_process():
            self.host.notify(hook, **values)
