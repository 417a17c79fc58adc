"""The local launcher: runs of a plan one after the other in this process, each resumable by itself.

torch and everything that needs it are imported when the first run starts.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.config.numerics import numerics_of, prepare_cublas
from trialbook.config.options import DoctorOptions
from trialbook.config.runspec import Outcome, Plan, RunSpec
from trialbook.config.settings import Settings
from trialbook.contracts.records import Event, Record
from trialbook.doctor.doctor import format_finding, load_checks
from trialbook.doctor.live import LiveDoctor, NullDoctor
from trialbook.engine.inventory import PartSize, components_of, describe, parameters_of
from trialbook.engine.oom import out_of_memory
from trialbook.errors import ExperimentErrors, Problem, TrialbookError
from trialbook.execution.joint_work import Failure, PeerFailed, lost_process
from trialbook.execution.peers import Peers
from trialbook.execution.progress import Progress
from trialbook.execution.trackers import Tracking, open_tracking
from trialbook.plugins.hookspec import hookimpl
from trialbook.plugins.isolation import PLUGIN_ERRORS
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.provenance import provenance
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.environment import environment
from trialbook.registry.lock import RunLocked
from trialbook.registry.ranks import check_processes, is_first_process, rank, world_size
from trialbook.registry.recorder import NullRecorder, Recorder
from trialbook.registry.run_directory import RunDirectory

if TYPE_CHECKING:
    from accelerate import Accelerator

    from trialbook.engine.builder import BuildContext

_LOG = logging.getLogger(__name__)


class LocalLauncher:
    """Runs a plan here.

    Args:
        settings: where runs lie, device, precision.
        host: plugins; observers among them are told of every run.
        book: schemas of components.
        watcher: shows progress.
        strict: stop a run at the first finding that is an error.
        plots: draw them on the pages of runs.
        peers: the processes that do the runs together.
    """

    def __init__(
        self, settings: Settings, host: PluginManager, book: SchemaBook, watcher: Progress, *, strict: bool = False,
        plots: bool = True, peers: Peers | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.host, self.book, self.watcher = settings, host, book, watcher
        self.strict, self.plots = strict, plots
        self.tracking = Tracking()
        self.peers = peers or Peers()
        self._workshop: BuildContext | None = None

    @hookimpl(trylast=True)
    def mlrun_launch(self, plan: Plan) -> list[Outcome]:
        """Run what is not finished yet, in the plan's order."""
        prepare_cublas((spec.config for spec in plan.runs), self.settings.numerics)
        if is_first_process():
            self.tracking = open_tracking(plan.experiment.trackers, self.settings, self.book)
        finished = self.peers.first(lambda: [self.is_finished(spec) for spec in plan.runs])
        done = {spec for spec, one in zip(plan.runs, finished, strict=True) if one}
        self.watcher.plan_started(plan, len(done))
        try:
            return [self._kept(spec) if spec in done else self.run(spec, plan) for spec in plan.runs]
        finally:
            for said in self.tracking.close():
                _LOG.warning("%s", said)
            self.watcher.close()

    def is_finished(self, spec: RunSpec) -> bool:
        """Whether this very run (configuration, seed, sources) is recorded as finished."""
        return RunDirectory(self.directory_of(spec)).status() == "finished"

    def directory_of(self, spec: RunSpec) -> Path:
        """Where a run is recorded."""
        return self.settings.runs / spec.relative_path

    def recorder_of(self, spec: RunSpec) -> Recorder | NullRecorder:
        """What writes a run down."""
        directory = self.directory_of(spec)
        return Recorder(directory, self.settings.registry) if is_first_process() else NullRecorder(directory)

    def inputs_of(self, spec: RunSpec) -> dict[str, Path]:
        """Directories of the runs that a run needs, by name.

        Raises:
            TrialbookError: one of them is not finished.
        """
        for path in spec.inputs.values():
            if RunDirectory(self.settings.runs / path).status() != "finished":
                raise TrialbookError(f"this run needs '{path}', which is not finished")
        return {name: self.settings.runs / path for name, path in spec.inputs.items()}

    def notify(self, hook: str, **values: Any) -> None:
        """Tell observers of a run, in the first process."""
        if is_first_process():
            self.host.notify(hook, **values)

    def survey(self, plan: Plan) -> dict[str, list[PartSize]]:
        """Build each variant once, without training, so that mistakes in any of them come out before the first run.

        Returns:
            variant label to its parts.
        Raises:
            ExperimentErrors: all problems of all variants.
        """
        sizes: dict[str, list[PartSize]] = {}
        problems: dict[Problem, None] = {}
        for spec in plan.variants():
            try:
                sizes[spec.arm] = self._sizes(spec)
            except ExperimentErrors as error:
                problems.update(dict.fromkeys(error.problems))
            except PLUGIN_ERRORS as error:
                problems[
                    Problem(
                        str(plan.experiment.file),
                        0,
                        f"arm.{spec.arm}",
                        _told(out_of_memory(error, spec.config) or error),
                    )
                ] = None
        if problems:
            raise ExperimentErrors(problems)
        return sizes

    def run(self, spec: RunSpec, plan: Plan) -> Outcome:
        """Do one run, from its start or from where it was killed; an error of it does not touch the others."""
        recorder = self.recorder_of(spec)
        try:
            with ExitStack() as stack:
                finished = self.peers.first(lambda: self._open(spec, recorder, stack))
                outcome = self._kept(spec) if finished else self._record(spec, plan, recorder)
        except RunLocked as error:
            outcome = self._ended(spec, "busy", str(error))
        except TrialbookError as error:  # it cannot be gone on with; what it has recorded is left alone
            outcome = self._ended(spec, "failed", str(error))
        except OSError as error:  # the disk is full or read-only: there is nowhere to write this down
            outcome = self._ended(spec, "failed", f"{recorder.run.path} cannot be written: {error}")
        state, message = self.peers.first(lambda: (outcome.state, outcome.message))
        if state == "failed":
            self.peers.leave_group()
        return Outcome(spec, state, message)

    def _open(self, spec: RunSpec, recorder: Recorder | NullRecorder, stack: ExitStack) -> bool:
        """Take the run's directory and write down that it begins; whether the run is finished already."""
        stack.enter_context(recorder)
        if recorder.run.json("results").is_file():  # another process has finished it since the plan was begun
            return True
        check_processes(recorder.run)
        components = {part: provenance(self.host.find(*named)) for part, named in components_of(spec).items()}
        recorder.start(spec, environment(self.settings), components)
        return False

    def _record(self, spec: RunSpec, plan: Plan, recorder: Recorder | NullRecorder) -> Outcome:
        path = recorder.run.path
        self.notify("mlrun_run_started", run=spec.name, path=str(path), config=dict(spec.config))
        self._say(spec, recorder, self.tracking.started(spec.name, path, spec.config))
        try:
            with self.peers.working(
                partial(self._failure, spec, recorder), partial(self._fail_at_once, spec, recorder)
            ):
                parameters = self._compute(spec, plan, recorder)
            results = recorder.finish({"parameters": parameters})
            self.notify("mlrun_run_finished", run=spec.name, results=results)
            self._say(spec, recorder, self.tracking.ended("finished", results))
        except PLUGIN_ERRORS as error:
            return self._fail(spec, recorder, self._failure(spec, recorder, error))
        self._write_pages(recorder)
        return self._ended(spec, "finished")

    def _failure(self, spec: RunSpec, recorder: Recorder | NullRecorder, error: BaseException) -> Failure:
        """What an error means; where several processes are at work, each leaves its own beside ``error.txt``."""
        if isinstance(error, PeerFailed):
            return error.failure
        error = out_of_memory(error, spec.config) or lost_process(error) or error
        message = _told(error)
        format_finding = isinstance(error, TrialbookError)
        failure = Failure(rank(), message, message if format_finding else "".join(traceback.format_exception(error)))
        if world_size() > 1:
            with suppress(OSError):  # a full disk; it is told on the screen and to the first process
                recorder.run.error_of(rank()).write_text(failure.text.rstrip() + "\n", encoding="utf-8")
        return failure

    def _fail(self, spec: RunSpec, recorder: Recorder | NullRecorder, failure: Failure) -> Outcome:
        """Write a failure down."""
        recorder.fail(failure.told)
        self.notify("mlrun_run_failed", run=spec.name, error=failure.whole)
        self._say(spec, recorder, self.tracking.ended("failed", {"error": failure.whole}))
        self._write_pages(recorder)
        return self._ended(spec, "failed", failure.whole)

    def _fail_at_once(self, spec: RunSpec, recorder: Recorder | NullRecorder, failure: Failure) -> None:
        """The same from another thread, while the one that works hangs: without pages, and the registry knows it then."""
        recorder.fail(failure.told)
        recorder.settle()
        self.notify("mlrun_run_failed", run=spec.name, error=failure.whole)
        self._ended(spec, "failed", failure.whole)

    def _write_pages(self, recorder: Recorder | NullRecorder) -> None:
        """The run's pages; what goes wrong with them is an event, and the run is as good without."""
        if is_first_process():
            from trialbook.reports.pages.write import PageOptions, write_run_pages  # late: only what runs needs it

            options = PageOptions(self.plots, templates=self.host.templates())
            for problem in write_run_pages(recorder.run, options).problems:
                recorder.add(Event(0, "page-incomplete", problem))

    def _compute(self, spec: RunSpec, plan: Plan, recorder: Recorder | NullRecorder) -> dict[str, int]:
        """The run's work, as its file and the workplace say that numbers are computed; parameters by part."""
        from trialbook.engine.compute import computing

        with computing(numerics_of(spec.config, self.settings.numerics), self.settings.device):
            return self._work(spec, plan, recorder)

    def _work(self, spec: RunSpec, plan: Plan, recorder: Recorder | NullRecorder) -> dict[str, int]:
        """Make the parts, train and measure; parameters by part."""
        from trialbook.engine.builder import RunBuilder
        from trialbook.engine.compute import compute_facts
        from trialbook.engine.execute import Start, execute
        from trialbook.engine.instrumentation import PartView
        from trialbook.engine.timing import reset_peak

        accelerator = self._accelerator(spec)
        recorder.surround(compute_facts(accelerator))
        accelerator.free_memory()  # what the run before left must not count, nor lie in the way
        reset_peak(accelerator.device)
        builder = RunBuilder(spec, self._open_workshop(), self.inputs_of(spec))
        task = builder.task()
        described = describe(builder)
        recorder.describe(described)
        options = DoctorOptions(**spec.about.get("doctor", {}))
        bedside = self._bedside(spec, recorder, options)

        def begin(start: Start) -> None:
            recorder.rewind(start.records)
            bedside.begin(start.records, start.step)
            for event in start.events:
                recorder.add(event)
                self.watcher.item(spec, event)
            self.watcher.run_started(spec, start.total, start.step)

        items = execute(
            task, dict(spec.config), seed=spec.seed, accelerator=accelerator,
            checkpoints=recorder.run.path / "checkpoints", recorded=lambda: self.peers.first(lambda: recorder.recorded),
            begin=begin,
            parts=[PartView(part.name, part.module, part.frozen) for part in builder.parts], doctor=options,
            lineage=builder.lineage,
        )  # fmt: skip
        with bedside:
            for item in items:
                new = recorder.add(item)
                self.watcher.item(spec, item)
                bedside.see(item)
                if isinstance(item, Record) and new:
                    self.notify("mlrun_run_recorded", run=spec.name, record=item)
                    self._say(spec, recorder, self.tracking.recorded(item.step, item.values), item.step)
        return parameters_of(builder)

    def _say(self, spec: RunSpec, recorder: Recorder | NullRecorder, news: Sequence[str], step: int = 0) -> None:
        """Note trackers that were set aside."""
        for said in news:
            event = Event(step, "tracker-set-aside", said)
            recorder.add(event)
            self.watcher.item(spec, event)

    def _bedside(
        self, spec: RunSpec, recorder: Recorder | NullRecorder, options: DoctorOptions
    ) -> LiveDoctor | NullDoctor:
        if not isinstance(recorder, Recorder):
            return NullDoctor()
        checks, notes = load_checks(self.host, options.ignore or ())
        return LiveDoctor(
            spec, recorder, checks, notes, strict=self.strict or options.strict,
            tell=lambda finding: self.watcher.item(spec, Event(finding.step, "finding", format_finding(finding))),
        )  # fmt: skip

    def _sizes(self, spec: RunSpec) -> list[PartSize]:
        from trialbook.engine.survey import SurveyBuilder

        self._accelerator(spec)  # large modules are tried out where they will compute
        builder = SurveyBuilder(spec, self._open_workshop())
        if spec.inputs:  # its inputs are not there yet: only the task's own options can be checked
            builder.make("task", None, builder=builder)
        else:
            builder.task()
        uses = {part: use for part, (_, use) in components_of(spec).items()}
        return [PartSize(p.name, uses.get(p.name, ""), p.parameters, p.frozen) for p in builder.parts]

    def _open_workshop(self) -> BuildContext:
        if self._workshop is None:
            import torch

            from trialbook.engine.builder import BuildContext
            from trialbook.engine.feature_store import FeatureStore

            if self.settings.threads:
                torch.set_num_threads(self.settings.threads)
            store = FeatureStore(self.settings.runs / ".features")
            self._workshop = BuildContext(
                self.book, store, self.settings.data_root, self.settings.runs, files=self.settings.files
            )
        return self._workshop

    def _accelerator(self, spec: RunSpec) -> Accelerator:
        """Device and precision of a run; its parts are made there."""
        from trialbook.engine.execute import make_accelerator

        accelerator = make_accelerator(self.settings.device, numerics_of(spec.config, self.settings.numerics).precision)
        self._open_workshop().device = accelerator.device
        return accelerator

    def _kept(self, spec: RunSpec) -> Outcome:
        return self._ended(spec, "kept")

    def _ended(self, spec: RunSpec, state: str, message: str = "") -> Outcome:
        self.watcher.run_ended(spec, state, message)
        return Outcome(spec, state, message)


def _told(error: BaseException) -> str:
    """An error in a line; one that no user can mend with the place in the code that it comes from."""
    if isinstance(error, TrialbookError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
