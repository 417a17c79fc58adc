"""The differences between now and the time when a run was made, as far as they can change a result."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trialbook.config.numerics import CUBLAS_VARIABLE, Numerics
from trialbook.config.settings import Settings
from trialbook.config.toml import Document
from trialbook.config.variants import ComponentTable, component_tables, nested_tables
from trialbook.errors import ErrorCollector, ExperimentErrors, TrialbookError
from trialbook.planning.planner import source_hashes
from trialbook.plugins.manager import AmbiguousComponent, PluginManager, UnknownComponent
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.environment import environment
from trialbook.registry.ranks import world_size
from trialbook.replay.recorded_run import RecordedRun

#: Variables of the environment that change how numbers come out.
_VARIABLES = (CUBLAS_VARIABLE, "NVIDIA_TF32_OVERRIDE", "PYTHONHASHSEED")
#: What of a device changes how numbers come out.
_DEVICE = ("name", "capability", "cuda", "cudnn", "driver")


@dataclass(frozen=True)
class Change:
    """Something that is other now: what it is, as it was then, as it is now."""

    what: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.what}: {_shown(self.then)} then, {_shown(self.now)} now"


def check_components(recorded: RecordedRun, book: SchemaBook) -> None:
    """Check that every component of the run is there and still takes the options that it had.

    Raises:
        TrialbookError: one is not offered any more, or by several plugins.
        ExperimentErrors: its options do not fit any more; the error names the lines of the run's ``config.toml``.
    """
    from trialbook.planning.components import ComponentCheck, Judge, TableReport

    spec = recorded.spec
    for table in component_tables(spec.config):
        _check_offered(table, recorded, book)
    problems = ErrorCollector(recorded.run.config)
    document = Document(dict(spec.config), dict(spec.positions))
    ComponentCheck(TableReport(recorded.experiment, document, problems), Judge(book)).check()
    if len(problems):
        raise ExperimentErrors(problems)


def _check_offered(table: ComponentTable, recorded: RecordedRun, book: SchemaBook) -> None:
    source = recorded.components.get(table.part, {})
    whose = " ".join(str(source[key]) for key in ("plugin", "version") if source.get(key))
    named = f"{table.part} of {recorded.run.path.name} is {table.kind} '{table.use}'" + (
        f" of {whose}" if whose else ""
    )
    try:
        schema = book.get(table.kind, table.use or "")
    except UnknownComponent as error:
        origin = f" from {source['installed_from']}" if source.get("installed_from") else ""
        aside = error.message.partition(" (disabled")
        hint = f"fix it{''.join(aside[1:])}" if aside[1] else f"install its plugin{origin}"
        raise TrialbookError(f"{named}, which no plugin offers now; {hint} to repeat the run") from error
    except AmbiguousComponent as error:
        raise TrialbookError(
            f"{named}, which several plugins offer now; name the others in disabled_plugins of runner.toml"
        ) from error
    for inner in nested_tables(table, schema.attributes.get("parts", {})):
        _check_offered(inner, recorded, book)


def check_processes(recorded: RecordedRun) -> None:
    """Check that as many processes are at work as did the run.

    Raises:
        TrialbookError: they are not.
    """
    here = world_size()
    if here != recorded.processes:
        how = f"torchrun --nproc-per-node {recorded.processes} -m trialbook" if recorded.processes > 1 else "mlrun"
        raise TrialbookError(
            f"{recorded.run.path.name} was done by {recorded.processes} process{'es' * (recorded.processes > 1)}, "
            f"not by {here}; repeat it with '{how} reproduce …'"
        )


def find_changes(recorded: RecordedRun, settings: Settings, host: PluginManager, book: SchemaBook) -> list[Change]:
    """List what has changed since the run was made: sources of parts, plugins, commit, versions, hardware, settings.

    Args:
        recorded: the run.
        settings: under which it is repeated.
        host, book: the plugins of now.
    """
    then, now = recorded.environment, {**environment(settings), "device": device_now(settings)}
    found = [*_parts(recorded, host, book), *_commits(then.get("git", {}), now["git"])]
    for what, group, keys in (
        ("", "platform", ("python", "implementation", "machine")),
        ("", "versions", tuple(sorted({**then.get("versions", {}), **now["versions"]}))),
        ("", "hardware", ("cpu",)),
        ("device's ", "device", _DEVICE if then.get("device", {}).get("type") == now["device"]["type"] else ()),
        ("variable ", "variables", _VARIABLES),
    ):
        before, here = then.get(group, {}), now[group]
        found += [
            Change(what + key, before.get(key), here.get(key)) for key in keys if before.get(key) != here.get(key)
        ]
    return found


def _parts(recorded: RecordedRun, host: PluginManager, book: SchemaBook) -> Iterator[Change]:
    now = source_hashes(recorded.spec.config, book)
    for table in component_tables(recorded.spec.config):
        part, source = table.part, recorded.components.get(table.part, {})
        plugin = host.find(table.kind, table.use or "").plugin
        if source.get("plugin", plugin.name) != plugin.name:
            yield Change(f"plugin of {part} ('{table.use}')", source["plugin"], plugin.name)
        if recorded.spec.sources.get(part) != now[part]:
            yield Change(f"source of {part} ('{table.use}')", recorded.spec.sources.get(part), now[part])


def _commits(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    if then.get("commit") != now["commit"]:
        yield Change("commit", then.get("commit"), now["commit"])
    if then.get("patch_sha256") != now["patch_sha256"]:
        yield Change("uncommitted changes", _patch(then), _patch(now))


def _patch(git: Mapping[str, Any]) -> str:
    """``none``, or by what its patch is known."""
    return f"patch {git['patch_sha256'][:12]}" if git.get("patch_sha256") else "none"


def _shown(value: Any) -> str:
    if value in (None, "", []):
        return "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    text = str(value)
    return text[:12] if len(text) >= 40 and " " not in text else text


def device_now(settings: Settings) -> dict[str, Any]:
    """Describe the device that runs of this workplace compute on, as ``env.json`` has it."""
    import torch

    from trialbook.engine.compute import device_facts
    from trialbook.engine.execute import available_device

    return device_facts(torch.device(available_device(settings.device)))


def as_then(recorded: RecordedRun, settings: Settings) -> tuple[Settings, list[Change]]:
    """The workplace with the run's device, threads and numerics, and which of them could not be had."""
    import torch

    then = recorded.environment
    if variable := then.get("variables", {}).get(CUBLAS_VARIABLE):  # read when CUDA begins
        os.environ.setdefault(CUBLAS_VARIABLE, variable)
    device = _device_then(then)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(device, True)
    now = device if there else "cuda" if torch.cuda.is_available() else "cpu"
    changes = [] if there else [Change("device", device, now)]
    threads = settings.threads or recorded.threads or torch.get_num_threads()
    if recorded.threads not in (None, threads):
        changes.append(Change("threads", recorded.threads, f"{threads} by runner.toml"))
    if threads == torch.get_num_threads():
        threads = 0  # torch is left alone: to set what it has already would switch MKL's own choice off
    return replace(settings, device=now, threads=threads, **numerics_then(then, settings)), changes


def numerics_then(around: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the settings by which a run's numbers were computed; runs of older versions recorded the precision alone.

    Args:
        around: its ``env.json``.
        settings: of the workplace.
    """
    found = {"precision": around.get("settings", {}).get("precision", settings.precision)}
    compute = around.get("compute", {})
    return {**vars(Numerics()), **found, **{key: compute[key] for key in vars(Numerics()) if key in compute}}


def _device_then(around: Mapping[str, Any]) -> str:
    """The device that a run computed on; where it was not recorded, what its settings and the GPUs there were let expect."""
    if recorded := around.get("device"):
        return str(recorded["type"])
    device = around.get("settings", {}).get("device", "auto")
    hidden = around.get("variables", {}).get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if device != "auto":
        return str(device)
    return "cuda" if around.get("hardware", {}).get("gpus") and not hidden else "cpu"
