"""The local launcher: runs of a plan one after the other in this process, each resumable by itself.

torch and everything that needs it are imported when the first run starts.
"""

from __future__ import annotations

import logging
from pathlib import Path

from trialbook.config.numerics import prepare_cublas
from trialbook.config.runspec import Outcome, Plan, RunSpec
from trialbook.config.settings import Settings
from trialbook.engine.inventory import PartSize, VariantSize, components_of
from trialbook.errors import ExperimentErrors, Problem, printable
from trialbook.execution.failure import error_line, explain_error
from trialbook.execution.interrupt import Interrupt
from trialbook.execution.peers import Peers
from trialbook.execution.progress import Progress
from trialbook.execution.run_services import RunServices
from trialbook.execution.run_session import RunSession
from trialbook.execution.trackers import Tracking, open_tracking
from trialbook.plugins.hookspec import hookimpl
from trialbook.plugins.isolation import PLUGIN_ERRORS
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.ranks import is_first_process
from trialbook.registry.recorder import NullRecorder, Recorder
from trialbook.registry.run_directory import RunDirectory

_LOG = logging.getLogger(__name__)


class Launcher:
    """Runs plans here.

    Args:
        settings: where runs lie, device, precision.
        host: plugins; observers among them are told of every run.
        book: schemas of components.
        progress: shows how far the runs are.
        strict: stop a run at the first finding that is an error.
        plots: draw them on the pages of runs.
        peers: the processes that do the runs together.
    """

    def __init__(
        self, settings: Settings, host: PluginManager, book: SchemaBook, progress: Progress, *, strict: bool = False,
        plots: bool = True, peers: Peers | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.host, self.book, self.progress, self.plots = settings, host, book, progress, plots
        self.peers = peers or Peers()
        self._services = RunServices(settings, host, book, progress, self.peers, strict=strict, plots=plots)

    @property
    def interrupt(self) -> Interrupt:
        """Says when Ctrl-C is to end a run; it does so while it is entered."""
        return self._services.interrupt

    @hookimpl(trylast=True)
    def mlrun_launch(self, plan: Plan) -> list[Outcome]:
        """Run what is not finished yet, in the plan's order."""
        prepare_cublas((spec.config for spec in plan.runs), self.settings.numerics)
        tracking = Tracking()
        if is_first_process():
            tracking = open_tracking(plan.experiment.trackers, self.settings, self.book)
        finished = self.peers.first(lambda: [self.is_finished(spec) for spec in plan.runs])
        self.progress.plan_started(plan, sum(finished))
        try:
            sessions = (self.session(spec, tracking) for spec in plan.runs)
            return [session.keep() if done else session.run() for session, done in zip(sessions, finished, strict=True)]
        finally:
            for message in tracking.close():
                _LOG.warning("%s", printable(message))
            self.progress.close()

    def run(self, spec: RunSpec) -> Outcome:
        """Do one run, without trackers."""
        return self.session(spec, Tracking()).run()

    def session(self, spec: RunSpec, tracking: Tracking) -> RunSession:
        """Return the session that does one run."""
        directory = self.directory_of(spec)
        recorder = Recorder(directory, self.settings.registry) if is_first_process() else NullRecorder(directory)
        inputs = {name: self.settings.runs / path for name, path in spec.inputs.items()}
        return RunSession(spec, recorder, inputs, self._services, tracking)

    def directory_of(self, spec: RunSpec) -> Path:
        """Return where a run is recorded."""
        return self.settings.runs / spec.relative_path

    def is_finished(self, spec: RunSpec) -> bool:
        """Return whether this very run (configuration, seed, sources) is recorded as finished."""
        return RunDirectory(self.directory_of(spec)).status() == "finished"

    def survey(self, plan: Plan) -> dict[str, VariantSize]:
        """Build each variant once, without training, so that mistakes in any of them come out before the first run.

        Returns:
            variant label to its parts and what is trained of them.
        Raises:
            ExperimentErrors: all problems of all variants.
        """
        sizes: dict[str, VariantSize] = {}
        problems: dict[Problem, None] = {}
        for spec in plan.variants():
            try:
                sizes[spec.arm] = self._sizes(spec)
            except ExperimentErrors as error:
                problems.update(dict.fromkeys(error.problems))
            except PLUGIN_ERRORS as error:
                message = error_line(explain_error(error, spec.config), self.host.packages())
                problems[Problem(str(plan.experiment.file), 0, f"arm.{spec.arm}", message)] = None
        if problems:
            raise ExperimentErrors(problems)
        return sizes

    def _sizes(self, spec: RunSpec) -> VariantSize:
        from trialbook.engine.survey import SurveyBuilder, trained_by_stage

        self._services.accelerator(spec)  # large modules are tried out where they will compute
        builder = SurveyBuilder(spec, self._services.build_context)
        stages: dict[str, int] = {}
        if spec.inputs:  # its inputs are not there yet: only the task's own options can be checked
            builder.make("task", None, builder=builder)
        else:
            stages = trained_by_stage(builder.task(), spec)
        uses = {part: use for part, (_, use) in components_of(spec).items()}
        parts = [PartSize(p.name, uses.get(p.name, ""), p.parameters, p.frozen) for p in builder.parts]
        return VariantSize(parts, stages)
