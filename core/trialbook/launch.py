"""The local launcher: runs of a plan one after the other in this process, each resumable by itself.

torch and everything that needs it are imported when the first run starts.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.doctor.bedside import Bedside
from trialbook.doctor.diagnosis import load_checks, told
from trialbook.environment import environment
from trialbook.errors import Problem, ProblemsError, TrialbookError
from trialbook.hookcheck import FAULTS
from trialbook.hookspec import hookimpl
from trialbook.host import PluginHost
from trialbook.inventory import PartSize, components_of, describe, parameters_of
from trialbook.memory import out_of_memory
from trialbook.numerics import numerics_of, prepare_cublas
from trialbook.options import DoctorOptions
from trialbook.plan import Plan, RunSpec
from trialbook.progress import Watcher
from trialbook.ranks import Companion, is_first_process
from trialbook.recorder import Recorder, RunBusy
from trialbook.records import Event, Record
from trialbook.rundir import RunDirectory
from trialbook.schema import SchemaBook
from trialbook.settings import Settings
from trialbook.source import provenance
from trialbook.trackers import Tracking, open_tracking

if TYPE_CHECKING:
    from accelerate import Accelerator

    from trialbook.build import Workshop

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run of a plan ended: ``kept`` (it was finished before), ``finished``, ``failed`` or ``busy``."""

    spec: RunSpec
    state: str
    message: str = ""


class LocalLauncher:
    """Runs a plan here.

    Args:
        settings: where runs lie, device, precision.
        host: plugins; observers among them are told of every run.
        book: schemas of components.
        watcher: shows progress.
        strict: stop a run at the first finding that is an error.
        plots: draw them on the pages of runs.
    """

    def __init__(
        self, settings: Settings, host: PluginHost, book: SchemaBook, watcher: Watcher, *, strict: bool = False,
        plots: bool = True,
    ) -> None:  # fmt: skip
        self.settings, self.host, self.book, self.watcher = settings, host, book, watcher
        self.strict, self.plots = strict, plots
        self.tracking = Tracking()
        self._workshop: Workshop | None = None

    @hookimpl(trylast=True)
    def mlrun_launch(self, plan: Plan) -> list[Outcome]:
        """Run what is not finished yet, in the plan's order."""
        prepare_cublas((spec.config for spec in plan.runs), self.settings)
        if is_first_process():
            self.tracking = open_tracking(plan.experiment.trackers, self.settings, self.book)
        done = {spec for spec in plan.runs if self.is_finished(spec)}
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

    def recorder_of(self, spec: RunSpec) -> Recorder | Companion:
        """What writes a run down."""
        directory = self.directory_of(spec)
        return Recorder(directory, self.settings.registry) if is_first_process() else Companion(directory)

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
        """Tell observers of a run."""
        self.host.notify(hook, **values)

    def survey(self, plan: Plan) -> dict[str, list[PartSize]]:
        """Build each variant once, without training, so that mistakes in any of them come out before the first run.

        Returns:
            variant label to its parts.
        Raises:
            ProblemsError: all problems of all variants.
        """
        sizes: dict[str, list[PartSize]] = {}
        problems: dict[Problem, None] = {}
        for spec in plan.variants():
            try:
                sizes[spec.arm] = self._sizes(spec)
            except ProblemsError as error:
                problems.update(dict.fromkeys(error.problems))
            except FAULTS as error:
                problems[
                    Problem(
                        str(plan.experiment.file),
                        0,
                        f"arm.{spec.arm}",
                        _told(out_of_memory(error, spec.config) or error),
                    )
                ] = None
        if problems:
            raise ProblemsError(problems)
        return sizes

    def run(self, spec: RunSpec, plan: Plan) -> Outcome:
        """Do one run, from its start or from where it was killed; an error of it does not touch the others."""
        directory = self.directory_of(spec)
        try:
            with self.recorder_of(spec) as recorder:
                if recorder.run.json("results").is_file():  # another process has finished it since the plan was begun
                    return self._kept(spec)
                return self._record(spec, plan, recorder, directory)
        except RunBusy as error:
            return self._ended(spec, "busy", str(error))
        except OSError as error:  # the disk is full or read-only: there is nowhere to write this down
            return self._ended(spec, "failed", f"{directory} cannot be written: {error}")

    def _record(self, spec: RunSpec, plan: Plan, recorder: Recorder | Companion, directory: Path) -> Outcome:
        components = {part: provenance(self.host.find(*named)) for part, named in components_of(spec).items()}
        recorder.start(spec, environment(self.settings), components)
        self.notify("mlrun_run_started", run=spec.name, path=str(directory), config=dict(spec.config))
        self._say(spec, recorder, self.tracking.started(spec.name, directory, spec.config))
        try:
            self._compute(spec, plan, recorder, directory)
        except FAULTS as error:
            short = out_of_memory(error, spec.config)
            message = _told(short or error)
            recorder.fail(message if isinstance(short or error, TrialbookError) else traceback.format_exc())
            self.notify("mlrun_run_failed", run=spec.name, error=message)
            self._say(spec, recorder, self.tracking.ended("failed", {"error": message}))
            self._write_pages(recorder)
            return self._ended(spec, "failed", message)
        self._write_pages(recorder)
        return self._ended(spec, "finished")

    def _write_pages(self, recorder: Recorder | Companion) -> None:
        """The run's pages; what goes wrong with them is an event, and the run is as good without."""
        if is_first_process():
            from trialbook.pages.write import write_run_pages  # late: only what runs needs it

            for problem in write_run_pages(recorder.run, plots=self.plots).problems:
                recorder.add(Event(0, "page-incomplete", problem))

    def _compute(self, spec: RunSpec, plan: Plan, recorder: Recorder | Companion, directory: Path) -> None:
        """The run's work, as its file and the workplace say that numbers are computed."""
        from trialbook.engine.compute import computing

        with computing(numerics_of(spec.config, self.settings), self.settings.device):
            self._work(spec, plan, recorder, directory)

    def _work(self, spec: RunSpec, plan: Plan, recorder: Recorder | Companion, directory: Path) -> None:
        from trialbook.build import RunBuilder
        from trialbook.engine.clock import reset_peak
        from trialbook.engine.compute import compute_facts
        from trialbook.engine.execute import Start, execute
        from trialbook.engine.vitals import PartView

        accelerator = self._accelerator(spec)
        recorder.surround(compute_facts(accelerator))
        accelerator.free_memory()  # what the run before left must not count, nor lie in the way
        reset_peak(accelerator.device)
        accelerator.wait_for_everyone()  # the first process has written what the run before left
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
            checkpoints=directory / "checkpoints", recorded=lambda: recorder.recorded, begin=begin,
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
        results = recorder.finish({"parameters": parameters_of(builder)})
        self.notify("mlrun_run_finished", run=spec.name, results=results)
        self._say(spec, recorder, self.tracking.ended("finished", results))

    def _say(self, spec: RunSpec, recorder: Recorder | Companion, news: Sequence[str], step: int = 0) -> None:
        """Note trackers that were set aside."""
        for said in news:
            event = Event(step, "tracker-set-aside", said)
            recorder.add(event)
            self.watcher.item(spec, event)

    def _bedside(self, spec: RunSpec, recorder: Recorder | Companion, options: DoctorOptions) -> Bedside:
        checks, notes = load_checks(self.host, options.ignore or ())
        return Bedside(
            spec, recorder, checks, notes, strict=self.strict or options.strict,
            tell=lambda finding: self.watcher.item(spec, Event(finding.step, "finding", told(finding))),
        )  # fmt: skip

    def _sizes(self, spec: RunSpec) -> list[PartSize]:
        from trialbook.survey import SurveyBuilder

        self._accelerator(spec)  # large modules are tried out where they will compute
        builder = SurveyBuilder(spec, self._open_workshop())
        if spec.inputs:  # its inputs are not there yet: only the task's own options can be checked
            builder.make("task", None, builder=builder)
        else:
            builder.task()
        uses = {part: use for part, (_, use) in components_of(spec).items()}
        return [PartSize(p.name, uses.get(p.name, ""), p.parameters, p.frozen) for p in builder.parts]

    def _open_workshop(self) -> Workshop:
        if self._workshop is None:
            import torch

            from trialbook.build import Workshop
            from trialbook.features import FeatureStore

            if self.settings.threads:
                torch.set_num_threads(self.settings.threads)
            store = FeatureStore(self.settings.runs / ".features")
            self._workshop = Workshop(
                self.book, store, self.settings.data_root, self.settings.runs, files=self.settings.files
            )
        return self._workshop

    def _accelerator(self, spec: RunSpec) -> Accelerator:
        """Device and precision of a run; its parts are made there."""
        from trialbook.engine.execute import make_accelerator

        accelerator = make_accelerator(self.settings.device, numerics_of(spec.config, self.settings).precision)
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
