"""Finding plugins and asking them. Each is isolated: a broken one is disabled and named, and the rest works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pluggy

from trialbook.config.kinds import CHECKS, KINDS, RECORDS, TRACKERS
from trialbook.errors import TrialbookError, suggest
from trialbook.plugins.entrypoints import EntryPoint, find_entry_points
from trialbook.plugins.hookspec import ENTRY_POINT_GROUP, PROJECT, Hooks
from trialbook.plugins.isolation import PLUGIN_ERRORS, checked_components, checked_folder, describe_failure, hook_error
from trialbook.plugins.slow import SlowPlugins

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from trialbook.config.runspec import Outcome, Plan


@dataclass(frozen=True)
class PluginInfo:
    """A plugin, working or disabled.

    Args:
        name: name of its entry point; it stands before the colon in ``use = "acme:perceiver"``.
        distribution: the installed distribution that it comes from; None for one that was handed in.
        version: of the distribution.
        error: why it was disabled; None if it works.
        hooks: names of the hooks that it implements.
    """

    name: str
    distribution: str | None = None
    version: str | None = None
    error: str | None = None
    hooks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Registered:
    """A component and the plugin that offers it; the other fields are those of ``Component``."""

    kind: str
    name: str
    target: str
    summary: str
    plugin: PluginInfo


class UnknownComponent(TrialbookError):
    """No plugin offers this component; ``candidates`` are the names there are, ``suggestion`` the closest of them."""

    def __init__(self, kind: str, name: str, candidates: Sequence[str], aside: Sequence[PluginInfo] = ()) -> None:
        self.kind, self.name, self.candidates = kind, name, tuple(candidates)
        self.suggestion = suggest(name, self.candidates)
        self.message = f"unknown {kind} '{name}'"
        if aside:
            self.message += " (disabled: " + ", ".join(f"plugin '{info.name}'" for info in aside) + ")"
        super().__init__(self.message + (f"; did you mean '{self.suggestion}'?" if self.suggestion else ""))


class AmbiguousComponent(TrialbookError):
    """Several plugins offer one name; ``candidates`` are the full names that pick one."""

    def __init__(self, kind: str, name: str, offers: Sequence[Registered]) -> None:
        self.kind, self.name = kind, name
        self.candidates = tuple(f"{offer.plugin.name}:{offer.name}" for offer in offers)
        self.suggestion = None
        plugins = " and ".join(f"'{offer.plugin.name}'" for offer in offers)
        names = " or ".join(f"'{candidate}'" for candidate in self.candidates)
        self.message = f"plugins {plugins} both offer {kind} '{name}'; write {names}"
        super().__init__(self.message)


class PluginManager:
    """The plugins of one process. Passed around; there is no global one."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(Hooks)
        self._infos: dict[str, PluginInfo] = {}
        self._collected: list[Registered] | None = None
        self._templates: dict[str, Path] = {}
        self._muted: set[str] = set()
        self._slow = SlowPlugins()

    @classmethod
    def discover(cls, disabled: Iterable[str] = ()) -> PluginManager:
        """Load every installed plugin but those named (by entry point or distribution) in ``disabled``."""
        host, left_out = cls(), set(disabled)
        points = find_entry_points(ENTRY_POINT_GROUP)
        for point in sorted(points, key=lambda p: (p.distribution != PROJECT, p.distribution or "", p.name)):
            if not {point.name, point.distribution} & left_out:
                host.load(point)
        return host

    @classmethod
    def from_modules(cls, plugins: Mapping[str, object]) -> PluginManager:
        """A host of these plugins alone: name to a module or any object with hooks."""
        host = cls()
        for name, plugin in plugins.items():
            host.register(name, plugin)
        return host

    @property
    def hook(self) -> pluggy.HookRelay:
        """pluggy's relay. A plugin that raises is not isolated there: see ``notify`` and ``components``."""
        return self._manager.hook

    @property
    def plugins(self) -> list[PluginInfo]:
        """All plugins, those disabled included, ordered by name."""
        self._collect()
        return sorted(self._infos.values(), key=lambda info: info.name)

    def load(self, point: EntryPoint) -> None:
        """Import a plugin and take it in; one that cannot be imported is disabled."""
        module, _, attribute = point.value.partition(":")
        try:
            with self._slow.watching(point.name, f"importing {module}"):
                plugin: object = import_module(module)
            for part in filter(None, attribute.split(".")):
                plugin = getattr(plugin, part)
        except PLUGIN_ERRORS as fault:
            name, _ = self._admit(PluginInfo(point.name, point.distribution, point.version))
            self._disable(name, f"importing {point.value} {describe_failure(fault)}")
        else:
            self.register(point.name, plugin, point.distribution, point.version)

    def register(self, name: str, plugin: object, distribution: str | None = None, version: str | None = None) -> None:
        """Take in a plugin; one with a wrong hook or a taken name is disabled."""
        self._collected = None
        name, free = self._admit(PluginInfo(name, distribution, version))
        if not free:
            return
        error = hook_error(self._manager, plugin)
        if error is None:
            try:
                self._manager.register(plugin, name)
            except pluggy.PluginValidationError as fault:
                error = " ".join(str(fault).split())
        if error is not None:
            self._disable(name, error)
            return
        hooks = tuple(caller.name for caller in self._manager.get_hookcallers(plugin) or ())
        self._infos[name] = replace(self._infos[name], hooks=tuple(sorted(hooks)))

    def components(self, kind: str | None = None) -> list[Registered]:
        """List what the working plugins offer to experiment files, of one kind or of all."""
        return [one for one in self._collect() if kind == one.kind or (kind is None and one.kind in KINDS)]

    def packages(self) -> set[str]:
        """The top-level packages that hold what the working plugins offer."""
        return {one.target.partition(":")[0].partition(".")[0] for one in self._collect()}

    def checks(self) -> list[Registered]:
        """The checks of the doctor that the working plugins offer."""
        return [one for one in self._collect() if one.kind in CHECKS]

    def trackers(self) -> list[Registered]:
        """The trackers that the working plugins offer."""
        return [one for one in self._collect() if one.kind in TRACKERS]

    def templates(self) -> dict[str, Path]:
        """Plugin to the folder of templates that it adds to reports."""
        self._collect()
        return {name: folder for name, folder in self._templates.items() if self._infos[name].error is None}

    def records(self, kind: str) -> dict[str, Any]:
        """The records of ``kind`` that the working plugins offer, loaded, by name; ``plugin:name`` where several offer one.

        Raises:
            TrialbookError: one cannot be loaded.
        """
        offers = [one for one in self._collect() if one.kind == kind and one.kind in RECORDS]
        names = [one.name for one in offers]
        loaded: dict[str, Any] = {}
        for one in offers:
            name = one.name if names.count(one.name) == 1 else f"{one.plugin.name}:{one.name}"
            module, _, attribute = one.target.partition(":")
            try:
                loaded[name] = getattr(import_module(module), attribute)
            except PLUGIN_ERRORS as fault:
                what = describe_failure(fault)
                raise TrialbookError(
                    f"{kind} '{one.name}' of plugin '{one.plugin.name}' {what} when it is loaded"
                ) from fault
        return loaded

    def find(self, kind: str, name: str) -> Registered:
        """The component ``name`` of ``kind``; ``plugin:name`` picks that plugin's.

        Raises:
            UnknownComponent: no plugin offers it.
            AmbiguousComponent: several do, and the name does not say which.
        """
        plugin, _, bare = name.rpartition(":")
        of_kind = self.components(kind)
        offers = [one for one in of_kind if one.name == bare and plugin in ("", one.plugin.name)]
        if not offers:
            full = [f"{one.plugin.name}:{one.name}" if plugin else one.name for one in of_kind]
            raise UnknownComponent(kind, name, sorted(set(full)), [info for info in self.plugins if info.error])
        if len(offers) > 1:
            raise AmbiguousComponent(kind, name, offers)
        return offers[0]

    def add_commands(self, cli: click.Group) -> None:
        """Let every plugin add its commands; one that raises or takes an existing name is disabled and adds none."""
        import click  # late: this module is imported where there is no command line, too

        for name, function in self._implementations("mlrun_commands"):
            own = click.Group(cli.name)
            try:
                with self._slow.watching(name, "in mlrun_commands"):
                    function(cli=own)
            except PLUGIN_ERRORS as fault:
                self._disable(name, f"mlrun_commands {describe_failure(fault)}")
                continue
            taken = sorted(set(own.commands) & set(cli.list_commands(click.Context(cli))))
            if taken:
                self._disable(name, f"the command '{taken[0]}' exists already")
                continue
            for command_name, command in own.commands.items():
                cli.add_command(command, command_name)

    def notify(self, hook_name: str, **values: Any) -> None:
        """Call an observer hook of every plugin; one that raises is warned of and not asked again.

        Each hears of copies, so that none can change the run or what the next one hears.
        """
        for name, function in self._implementations(hook_name):
            if name in self._muted:
                continue
            try:
                with self._slow.watching(name, f"in {hook_name}"):
                    function(**deepcopy(values))
            except PLUGIN_ERRORS as fault:
                import logging  # late: it would be a tenth of the time of ``mlrun --help``

                self._muted.add(name)
                what = f"{hook_name} {describe_failure(fault)}"
                logging.getLogger(__name__).warning("plugin '%s' hears no more of this run: %s", name, what)

    def launch(self, plan: Plan) -> Sequence[Outcome]:
        """Hand the plan to the first launcher that takes it, and return how each run ended.

        Raises:
            TrialbookError: no launcher takes it.
        """
        result: Sequence[Outcome] | None = self._manager.hook.mlrun_launch(plan=plan)
        if result is None:
            raise TrialbookError("no plugin launches runs; is 'trialbook' itself in 'disabled_plugins' of runner.toml?")
        return result

    def _admit(self, info: PluginInfo) -> tuple[str, bool]:
        """List a plugin, under a longer name and disabled where its own is taken; name and if it is free."""
        other = self._infos.get(info.name)
        if other is None:
            self._infos[info.name] = info
            return info.name, True
        label = f"{info.name}@{info.distribution}"
        owner = " ".join(filter(None, (other.distribution, other.version)))
        self._infos[label] = replace(info, name=label, error=f"the plugin name '{info.name}' is taken by {owner}")
        return label, False

    def _disable(self, name: str, error: str) -> None:
        self._infos[name] = replace(self._infos[name], error=error)
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)
        if self._collected is not None:
            self._collected = [one for one in self._collected if one.plugin.name != name]

    def _implementations(self, hook_name: str) -> list[tuple[str, Callable[..., Any]]]:
        """Plugin name and hook of every working plugin, in pluggy's calling order."""
        impls = getattr(self._manager.hook, hook_name).get_hookimpls()
        return [(impl.plugin_name, partial(_call, impl)) for impl in reversed(impls)]

    def _collect(self) -> list[Registered]:
        """Ask every plugin for all that it offers, once; one that fails in any hook offers nothing."""
        if self._collected is None:
            self._collected = []
            hooks = {**KINDS, **CHECKS, **TRACKERS, **RECORDS}
            for kind, hook_name in hooks.items():
                for name, function in self._implementations(hook_name):
                    try:
                        with self._slow.watching(name, f"in {hook_name}"):
                            offers = checked_components(hook_name, function())
                    except PLUGIN_ERRORS as fault:
                        why = (
                            str(fault)
                            if isinstance(fault, TrialbookError)
                            else f"{hook_name} {describe_failure(fault)}"
                        )
                        self._disable(name, why)
                        continue
                    info = self._infos[name]
                    self._collected += [Registered(kind, c.name, c.target, c.summary, info) for c in offers]
            self._collect_templates()
            self._collected.sort(key=lambda one: (list(hooks).index(one.kind), one.name, one.plugin.name))
        return self._collected

    def _collect_templates(self) -> None:
        """Ask every plugin for its folder of templates."""
        for name, function in self._implementations("mlrun_templates"):
            try:
                with self._slow.watching(name, "in mlrun_templates"):
                    self._templates[name] = checked_folder(function())
            except PLUGIN_ERRORS as fault:
                why = str(fault) if isinstance(fault, TrialbookError) else describe_failure(fault)
                self._disable(name, f"mlrun_templates {why}")


def _call(impl: pluggy.HookImpl, **values: Any) -> Any:
    """Call one plugin's hook with those of the values that it asks for."""
    return impl.function(*(values[name] for name in impl.argnames))
