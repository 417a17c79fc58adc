"""One run, from its start or from where it was killed to its end: work, record, doctor, trackers, pages, failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.config.numerics import numerics_of
from trialbook.config.options import DoctorOptions
from trialbook.config.runspec import Outcome, RunSpec
from trialbook.contracts.data_files import noting_files
from trialbook.contracts.records import Event, Item, Record
from trialbook.doctor.doctor import format_finding, load_checks
from trialbook.doctor.live import LiveDoctor, NullDoctor
from trialbook.engine.inventory import components_of, describe, parameters_of
from trialbook.errors import TrialbookError
from trialbook.execution.failure import Failure, PeerFailed, error_line
from trialbook.execution.run_services import RunServices
from trialbook.execution.trackers import Tracking
from trialbook.plugins.isolation import PLUGIN_ERRORS
from trialbook.plugins.provenance import provenance
from trialbook.plugins.signature import load_target
from trialbook.registry.environment import environment
from trialbook.registry.lock import RunLocked
from trialbook.registry.ranks import check_processes, is_first_process, rank, world_size
from trialbook.registry.recorder import NullRecorder, Recorder
from trialbook.registry.run_directory import RunDirectory

if TYPE_CHECKING:
    from trialbook.engine.execute import Start


class RunSession:
    """Does one run; an error of it does not touch others.

    Args:
        spec: the run.
        recorder: writes it down.
        inputs: directories of the runs that it needs, by name.
        services: what the runs of a command share.
        tracking: trackers that are told of it.
    """

    def __init__(
        self, spec: RunSpec, recorder: Recorder | NullRecorder, inputs: Mapping[str, Path], services: RunServices,
        tracking: Tracking,
    ) -> None:  # fmt: skip
        self.spec, self.recorder, self.inputs = spec, recorder, inputs
        self.services, self.tracking = services, tracking

    def run(self) -> Outcome:
        """Do the run, unless another process has finished it meanwhile; all processes return the first one's outcome."""
        peers = self.services.peers
        try:
            with ExitStack() as stack:
                finished = peers.first(lambda: self._open(stack))
                outcome = self.end("kept") if finished else self._record()
        except RunLocked as error:
            outcome = self.end(
                "busy",
                f"it is in use by {error.holder}, which does this run; give the command again once that has ended",
            )
        except TrialbookError as error:  # it cannot be resumed; what it has recorded is left alone
            outcome = self.end("failed", str(error))
        except OSError as error:  # the disk is full or read-only: there is nowhere to write this down
            outcome = self.end("failed", f"{self.recorder.run.path} cannot be written: {error}")
        except Exception as error:  # before the work began: it is this run's alone
            outcome = self.end("failed", error_line(error))
        state, message = peers.first(lambda: (outcome.state, outcome.message))
        if state == "failed":
            peers.leave_group()
        return Outcome(self.spec, state, message)

    def keep(self) -> Outcome:
        """Leave a finished run as it is; one whose record is damaged failed, as nothing can be read from it."""
        damage = self.recorder.run.find_damage(lines=())
        return self.end("kept") if damage is None else self.end("failed", str(damage))

    def end(self, state: str, message: str = "") -> Outcome:
        """Show how the run ended."""
        self.services.progress.run_ended(self.spec, state, message)
        return Outcome(self.spec, state, message)

    def _open(self, stack: ExitStack) -> bool:
        """Take the run's directory and write down that it begins; True if the run is finished already."""
        stack.enter_context(self.recorder)
        run, host = self.recorder.run, self.services.host
        if run.has("results"):  # another process has finished it since the plan was begun
            return True
        check_processes(run)
        components = {part: provenance(host.find(*named)) for part, named in components_of(self.spec).items()}
        self.recorder.start(self.spec, environment(self.services.settings), components)
        return False

    def _record(self) -> Outcome:
        """Do the work and write down how it ended."""
        spec, path = self.spec, self.recorder.run.path
        self.services.notify("mlrun_run_started", run=spec.name, path=str(path), config=dict(spec.config))
        if self.tracking.followers:
            self._import_all()
        self._note_trackers(self.tracking.started(spec.name, path, spec.config))
        try:
            with self.services.peers.working(self._failure, self._fail_at_once):
                parameters = self._compute()
            results = self.recorder.finish({"parameters": parameters})
        except PLUGIN_ERRORS as error:
            return self._fail(self._failure(error))
        self.services.notify("mlrun_run_finished", run=spec.name, results=results)
        self._conclude("finished", results)
        return self.end("finished")

    def _import_all(self) -> None:
        """Import what the run needs on this thread: trackers that import the same at once on theirs would get half of it."""
        for module in ("builder", "execute"):
            import_module(f"trialbook.engine.{module}")
        for kind, name in components_of(self.spec).values():
            with suppress(TrialbookError):  # it is met again where the component is made, and written down then
                load_target(self.services.host.find(kind, name).target)

    def _compute(self) -> dict[str, int]:
        """Do the run's work, as its file and the workplace say that numbers are computed; parameters by part."""
        from trialbook.engine.compute import computing

        settings = self.services.settings
        with computing(numerics_of(self.spec.config, settings.numerics), settings.device):
            return self._work()

    def _work(self) -> dict[str, int]:
        """Make the parts, train and measure; parameters by part."""
        from trialbook.engine.builder import RunBuilder
        from trialbook.engine.compute import compute_facts
        from trialbook.engine.execute import execute
        from trialbook.engine.instrumentation import PartView
        from trialbook.engine.timing import reset_peak

        spec, recorder, peers = self.spec, self.recorder, self.services.peers
        accelerator = self.services.accelerator(spec)
        recorder.surround(compute_facts(accelerator))
        accelerator.free_memory()  # what the run before left must not count, nor lie in the way
        reset_peak(accelerator.device)
        builder = RunBuilder(spec, self.services.build_context, self._finished_inputs())
        with noting_files() as noted:
            task = builder.task()
            recorder.describe(describe(builder))
        builder.files.add(noted)
        recorder.note_files(builder.files, builder.data_root)
        options = DoctorOptions(**spec.info.doctor)
        doctor = self._live_doctor(options)
        items = execute(
            task, dict(spec.config), seed=spec.seed, accelerator=accelerator,
            checkpoints=recorder.run.path / "checkpoints", recorded=lambda: peers.first(lambda: recorder.recorded),
            begin=partial(self._begin, doctor), doctor=options, lineage=builder.lineage,
            parts=[PartView(part.name, part.module, part.frozen) for part in builder.parts],
            safe_point=self.services.interrupt.safe_point,
        )  # fmt: skip
        with doctor, self.services.interrupt.stepping():
            for item in items:
                self._take(item, doctor)
                self.services.interrupt.safe_point()
        return parameters_of(builder)

    def _finished_inputs(self) -> Mapping[str, Path]:
        """Directories of the runs that this one needs, by name.

        Raises:
            TrialbookError: one of them is not finished.
        """
        for name, path in self.inputs.items():
            if RunDirectory(path).status() != "finished":
                raise TrialbookError(f"this run needs '{self.spec.inputs[name]}', which is not finished")
        return self.inputs

    def _live_doctor(self, options: DoctorOptions) -> LiveDoctor | NullDoctor:
        if not isinstance(self.recorder, Recorder):
            return NullDoctor()
        checks, notes = load_checks(self.services.host, options.ignore or ())
        return LiveDoctor(
            self.spec, self.recorder, checks, notes, strict=self.services.strict or options.strict,
            tell=lambda finding: self._show(Event(finding.step, "finding", format_finding(finding))),
        )  # fmt: skip

    def _begin(self, doctor: LiveDoctor | NullDoctor, start: Start) -> None:
        """Cut the record to where the run resumes, and record the events of resuming."""
        self.recorder.rewind(start.records)
        doctor.begin(start.records, start.step)
        for event in start.events:
            self._add_event(event)
        self.services.progress.run_started(self.spec, start.total, start.step)

    def _take(self, item: Item, doctor: LiveDoctor | NullDoctor) -> None:
        """Record an item and tell all who follow the run; observers and trackers hear of records that are new."""
        new = self.recorder.add(item)
        self._show(item)
        doctor.see(item)
        if isinstance(item, Record) and new:
            self.services.notify("mlrun_run_recorded", run=self.spec.name, record=item)
            self._note_trackers(self.tracking.recorded(item.step, item.values), item.step)

    def _show(self, item: Item) -> None:
        self.services.progress.item(self.spec, item)

    def _add_event(self, event: Event) -> None:
        self.recorder.add(event)
        self._show(event)

    def _note_trackers(self, news: Sequence[str], step: int = 0) -> None:
        """Record which trackers failed and are told nothing more."""
        for message in news:
            self._add_event(Event(step, "tracker-disabled", message))

    def _failure(self, error: BaseException) -> Failure:
        """Return what an error means; where several processes are at work, each leaves its own beside ``error.txt``."""
        failure = Failure.of(error, self.spec.config, self.services.host.packages())
        if world_size() > 1 and not isinstance(error, PeerFailed):
            with suppress(OSError):  # a full disk; it is told on the screen and to the first process
                self.recorder.run.error_of(rank()).write_text(failure.text.rstrip() + "\n", encoding="utf-8")
        return failure

    def _fail(self, failure: Failure) -> Outcome:
        """Write a failure down."""
        self.recorder.fail(failure.full_text)
        self.services.notify("mlrun_run_failed", run=self.spec.name, error=failure.full_message)
        self._conclude("failed", {"error": failure.full_message})
        return self.end("failed", failure.full_message)

    def _fail_at_once(self, failure: Failure) -> None:
        """Write a failure down from another thread, while the one that works hangs: without pages, but in the registry."""
        self.recorder.fail(failure.full_text)
        self.recorder.settle()
        self.services.notify("mlrun_run_failed", run=self.spec.name, error=failure.full_message)
        self.end("failed", failure.full_message)

    def _conclude(self, status: str, results: Mapping[str, Any]) -> None:
        """Tell trackers and write the pages of a run that has ended; what goes wrong with them does not touch how it ended."""
        events = [Event(0, "tracker-disabled", message) for message in self.tracking.ended(status, results)]
        events += [Event(0, "page-incomplete", problem) for problem in self._write_pages()]
        for event in events:
            with suppress(OSError):  # a full disk; it is shown all the same
                self.recorder.add(event)
            self._show(event)

    def _write_pages(self) -> Sequence[str]:
        """Write the run's pages; returns what went wrong with them."""
        if not is_first_process():
            return ()
        from trialbook.reports.pages.write import PageOptions, write_run_pages  # late: only what runs needs it

        options = PageOptions(self.services.plots, templates=self.services.host.templates())
        return write_run_pages(self.recorder.run, options).problems
