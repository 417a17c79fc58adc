"""The hooks that a plugin may implement. One hook a kind yields typed records; listing them imports nothing heavy.

Each docstring says when the hook is called, what happens where no plugin implements it, and how to write one;
``docs/hooks.md`` is made of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from trialbook.config.runspec import Outcome, Plan
    from trialbook.contracts.records import Record

PROJECT = "trialbook"
ENTRY_POINT_GROUP = "trialbook.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True)
class Component:
    """Something that an experiment file can name after ``use =``.

    Args:
        name: what stands after ``use =``, in kebab-case.
        target: ``"package.module:Class"``; imported only when the component is built or its schema is not cached.
        summary: one line for listings.
    """

    name: str
    target: str
    summary: str


class Hooks:
    """Hook specifications of the project, prefixed ``mlrun_``."""

    @hookspec
    def mlrun_tasks(self) -> Iterable[Component]:
        """Offer tasks: how components are put together, and what is optimised or measured.

        Called: once a process, when a command first asks what there is. The class named after ``use`` in ``[task]`` is
        made once a run, before all other parts.

        Default: the plugin offers no task; those of other plugins are there all the same.

        Returns:
            a ``Component`` for each; its target is a class that keeps the contract of its kind.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_tasks():
                yield Component("my-lab-task", "my_lab.task:MyLabTask", "statistics of the rows of a data set")
        """
        raise AssertionError

    @hookspec
    def mlrun_datasets(self) -> Iterable[Component]:
        """Offer datasets: splits of samples, with a fingerprint of their content.

        Called: once a process, when a command first asks what there is. The class is made once a process for each table
        ``[dataset]``, however many runs share it.

        Default: the plugin offers no dataset; those of other plugins are there all the same.

        Returns:
            a ``Component`` for each; its target is a class that keeps the contract of its kind.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_datasets():
                yield Component("my-lab-dataset", "my_lab.dataset:MyLabDataset", "points on a noisy circle")
        """
        raise AssertionError

    @hookspec
    def mlrun_encoders(self) -> Iterable[Component]:
        """Offer encoders: raw rows of one modality to tokens.

        Called: once a process, when a command first asks what there is. The class is made by the task, for each
        ``[encoder.MODALITY]``.

        Default: the plugin offers no encoder; those of other plugins are there all the same.

        Returns:
            a ``Component`` for each; its target is a class that keeps the contract of its kind.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_encoders():
                yield Component("my-lab-encoder", "my_lab.encoder:MyLabEncoder", "one layer with tanh over vectors")
        """
        raise AssertionError

    @hookspec
    def mlrun_projectors(self) -> Iterable[Component]:
        """Offer projectors (connectors, heads): tokens of one width to tokens of another.

        Called: once a process, when a command first asks what there is. The class is made by the task, for each
        ``[projector.MODALITY]``.

        Default: the plugin offers no projector; those of other plugins are there all the same.

        Returns:
            a ``Component`` for each; its target is a class that keeps the contract of its kind.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_projectors():
                yield Component("my-lab-projector", "my_lab.projector:MyLabProjector", "a linear map with a learned factor")
        """
        raise AssertionError

    @hookspec
    def mlrun_llms(self) -> Iterable[Component]:
        """Offer language models.

        Called: once a process, when a command first asks what there is. The class is made by the task, for ``[llm]``.

        Default: the plugin offers no language model; those of other plugins are there all the same.

        Returns:
            a ``Component`` for each; its target is a class that keeps the contract of its kind.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_llms():
                yield Component("my-lab-llm", "my_lab.llm:MyLabLlm", "bytes, from the mean of what came before")
        """
        raise AssertionError

    @hookspec
    def mlrun_decoders(self) -> Iterable[Component]:
        """Offer decoders: latents back to images or clips.

        Called: once a process, when a command first asks what there is. The class is made by the task, for each
        ``[decoder.NAME]``.

        Default: the plugin offers no decoder; those of other plugins are there all the same.

        Returns:
            a ``Component`` for each; its target is a class that keeps the contract of its kind.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_decoders():
                yield Component("my-lab-decoder", "my_lab.decoder:MyLabDecoder", "patches of pixels as latents")
        """
        raise AssertionError

    @hookspec
    def mlrun_probes(self) -> Iterable[Component]:
        """Offer probes: what can be read out of stored features.

        Called: once a process, when a command first asks what there is. The class is made by the task, for each
        ``[probe.NAME]``.

        Default: the plugin offers no probe; those of other plugins are there all the same.

        Returns:
            a ``Component`` for each; its target is a class that keeps the contract of its kind.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_probes():
                yield Component("my-lab-probe", "my_lab.probe:MyLabProbe", "the nearest class centroid")
        """
        raise AssertionError

    @hookspec
    def mlrun_captioners(self) -> Iterable[Component]:
        """Offer captioners: what is known of a sample, in words.

        Called: once a process, when a command first asks what there is. The class is made by the dataset or task that has
        a ``captioner`` among its parts.

        Default: the plugin offers no captioner; those of other plugins are there all the same.

        Returns:
            a ``Component`` for each; its target is a class that keeps the contract of its kind.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_captioners():
                yield Component("my-lab-captioner", "my_lab.captioner:MyLabCaptioner", "facts, one after the other")
        """
        raise AssertionError

    @hookspec
    def mlrun_losses(self) -> Iterable[Component]:
        """Offer losses: scalars to minimise.

        Called: once a process, when a command first asks what there is. The class is made by the task, for each
        ``[[loss]]``.

        Default: the plugin offers no loss; those of other plugins are there all the same.

        Returns:
            a ``Component`` for each; its target is a class that keeps the contract of its kind.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_losses():
                yield Component("my-lab-loss", "my_lab.loss:MyLabLoss", "cosine distance of matching rows")
        """
        raise AssertionError

    @hookspec
    def mlrun_metrics(self) -> Iterable[Component]:
        """Offer metrics: values of a whole split, computed at evaluation.

        Called: once a process, when a command first asks what there is. The class is made by the task, for each
        ``[[metric]]``, and asked after every evaluation.

        Default: the plugin offers no metric; those of other plugins are there all the same.

        Returns:
            a ``Component`` for each; its target is a class that keeps the contract of its kind.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_metrics():
                yield Component("my-lab-metric", "my_lab.metric:MyLabMetric", "how evenly the embeddings lie on the sphere")
        """
        raise AssertionError

    @hookspec
    def mlrun_checks(self) -> Iterable[Component]:
        """Offer checks of the doctor: what looks broken in a run.

        Called: once a process, when a command first asks what there is. The checks themselves are asked often while a run
        trains, after it, and by ``mlrun doctor``.

        Default: the plugin adds no check; the doctor has those of the other plugins.

        Returns:
            a ``Component`` for each; its target is a function ``check(evidence: RunEvidence) -> Iterable[Finding]``, both of
            ``trialbook.contracts``.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_checks():
                yield Component("my-lab-check", "my_lab.check:my_lab_check", "the loss has not fallen")
        """
        raise AssertionError

    @hookspec
    def mlrun_trackers(self) -> Iterable[Component]:
        """Offer trackers: other programs that are told what runs record.

        Called: once a process, when a command first asks what there is. A tracker is made only where ``runner.toml`` or
        the experiment file names it.

        Default: the plugin offers no tracker.

        Returns:
            a ``Component`` for each; its target is a class that keeps ``trialbook.contracts.trackers.Tracker``.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_trackers():
                yield Component("my-lab-tracker", "my_lab.tracker:MyLabTracker", "every point as a line of a file")
        """
        raise AssertionError

    @hookspec
    def mlrun_architectures(self) -> Iterable[Component]:
        """Offer architectures: tables that say where a model's layers lie, for encoders that read layers.

        Called: once a process, when a command first asks what there is. The tables are loaded when such an encoder is
        made.

        Default: the plugin adds none; encoders know the architectures of the other plugins.

        Returns:
            a ``Component`` for each; its target is the table, such as a ``trialbook_plugins.vlms.architecture.Architecture``.

        Example::

            from trialbook import Component, hookimpl


            @hookimpl
            def mlrun_architectures():
                yield Component("my-lab-architecture", "my_lab.architecture:MY_LAB_ARCHITECTURE", "points A1 and A2")
        """
        raise AssertionError

    @hookspec
    def mlrun_templates(self) -> Path:
        """Add Jinja2 templates to reports: sections, or the page around them.

        Called: once, when plugins are asked for what they offer.

        Default: pages hold what the program itself writes. A path that is no folder disables the plugin; a template that
        fails when a page is written is left out of it, with a note there.

        Returns:
            the folder. ``run/energy_use.html`` in it adds the section "Energy use" to ``report.html`` of a run,
            ``run/energy_use.md`` to ``report.md``; ``page.html`` extends the page. See docs/reports.md.

        Example::

            from pathlib import Path

            from trialbook import hookimpl


            @hookimpl
            def mlrun_templates():
                return Path(__file__).with_name("templates")
        """
        raise AssertionError

    @hookspec
    def mlrun_commands(self, cli: click.Group) -> None:
        """Add click commands to ``mlrun``.

        Called: for ``mlrun --help``, for completion, and for a command that the program itself does not have; other
        commands never ask for it. Import heavy things inside of the command.

        Default: nothing is added. A name that exists already disables the plugin; ``mlrun plugins list`` says so.

        Args:
            cli: the group to add to.

        Example::

            import click

            from trialbook import hookimpl


            @hookimpl
            def mlrun_commands(cli):
                @cli.command("my-lab-hello")
                def hello():
                    click.echo("hello from my-lab")
        """

    @hookspec(firstresult=True)
    def mlrun_launch(self, plan: Plan) -> Sequence[Outcome] | None:
        """Run all runs of a plan somewhere, or leave it to the next launcher.

        Called: by ``mlrun run``, once for each plan, when the file has passed its check. Plugins are asked one after the
        other, until one does not return None.

        Default: the runs are done one after the other in this process, with several processes in each of them.

        Args:
            plan: ``plan.runs`` in the order in which they must be done, ``plan.experiment`` the file.
        Returns:
            a ``trialbook.Outcome`` for each run of ``plan.runs``, in their order; None to leave the plan to the next launcher.

        Example::

            from trialbook import TrialbookError, hookimpl


            @hookimpl
            def mlrun_launch(plan):
                if len(plan.runs) > 100:
                    raise TrialbookError(f"{len(plan.runs)} runs are too many for this machine; name some with --arm")
                return None  # the next launcher does them
        """

    @hookspec
    def mlrun_run_started(self, run: str, path: str, config: dict[str, Any]) -> None:
        """Hear that a run begins, or is resumed.

        Called: in the first process of a run, when its directory is written and before its parts are built. An
        implementation that raises is warned of and not called again in this process; the run continues. This holds for all
        hooks that hear.

        Default: nothing happens.

        Args:
            run: ``<arm>-s<seed>-<id>``.
            path: its directory.
            config: its resolved configuration, a copy.

        Example::

            from trialbook import hookimpl


            @hookimpl
            def mlrun_run_started(run, config):
                print(f"{run} begins: task {config['task']['use']}")
        """

    @hookspec
    def mlrun_run_recorded(self, run: str, record: Record) -> None:
        """Hear of a record.

        Called: in the first process of a run, between two steps, when a record stands in ``metrics.jsonl``; be quick.
        Records that a resumed run makes a second time are not told again.

        Default: nothing happens.

        Args:
            run: ``<arm>-s<seed>-<id>``.
            record: ``record.step`` and ``record.values``, metric name to value; a copy.

        Example::

            from trialbook import hookimpl


            @hookimpl
            def mlrun_run_recorded(run, record):
                if "loss" in record.values:
                    print(f"{run} step {record.step}: loss {record.values['loss']:.3f}")
        """

    @hookspec
    def mlrun_run_finished(self, run: str, results: dict[str, Any]) -> None:
        """Hear that a run ended well.

        Called: in the first process of a run, when ``results.json`` is written and before its report is.

        Default: nothing happens.

        Args:
            run: ``<arm>-s<seed>-<id>``.
            results: content of ``results.json``, a copy.

        Example::

            from trialbook import hookimpl


            @hookimpl
            def mlrun_run_finished(run, results):
                print(f"{run} has finished: {', '.join(sorted(results))}")
        """

    @hookspec
    def mlrun_run_failed(self, run: str, error: str) -> None:
        """Hear that a run ended with an error.

        Called: in the first process of a run, when ``error.txt`` is written. A run that was killed tells nobody.

        Default: nothing happens.

        Args:
            run: ``<arm>-s<seed>-<id>``.
            error: the error in one sentence.

        Example::

            from trialbook import hookimpl


            @hookimpl
            def mlrun_run_failed(run, error):
                print(f"\\a{run} failed: {error}")
        """
