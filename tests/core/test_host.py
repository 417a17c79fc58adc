"""Plugins are found and isolated: a broken one is disabled and named, everything else works."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest

from trialbook.errors import TrialbookError
from trialbook.plugins import slow
from trialbook.plugins.entrypoints import EntryPoint, find_entry_points, parse_group
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.manager import AmbiguousComponent, PluginManager, UnknownComponent

GOOD = """
from trialbook.plugins.hookspec import Component, hookimpl

@hookimpl
def mlrun_projectors():
    yield Component("good", "good.parts:Good", "a good one")
"""


class Offers:
    """A plugin that offers the projectors it is given."""

    def __init__(self, *offers: object) -> None:
        self.offers = offers

    @hookimpl
    def mlrun_projectors(self) -> Any:
        yield from self.offers


class Observer:
    """A plugin that notes what it is told, or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.heard = error, []  # type: ignore[var-annotated]

    @hookimpl
    def mlrun_run_finished(self, run: str) -> None:
        self.heard.append(run)
        if self.error:
            raise self.error


def linear() -> Component:
    return Component("linear", "some.module:Linear", "a map")


def error_of(host: PluginManager, name: str) -> str:
    (info,) = (info for info in host.plugins if info.name == name)
    assert info.error is not None
    return info.error


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write a module and the metadata of a distribution that offers it as a plugin, on the path."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, source: str, plugin: str | None = None, version: str = "1.2") -> None:
        (tmp_path / f"{name}_plugin.py").write_text(source)
        info = tmp_path / f"{name}_dist-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: {version}\n")
        entry = f"[console_scripts]\nx = y:z\n\n[trialbook.plugins]\n{plugin or name} = {name}_plugin\n"
        (info / "entry_points.txt").write_text(entry)

    yield write
    for name in set(sys.modules) - before:
        if name.endswith("_plugin"):
            del sys.modules[name]


def test_an_installed_plugin_is_found_with_its_distribution(install: Any) -> None:
    install("good", GOOD)
    found = PluginManager.discover().find("projector", "good")
    assert (found.target, found.summary) == ("good.parts:Good", "a good one")
    assert (found.plugin.name, found.plugin.distribution, found.plugin.version) == ("good", "good-dist", "1.2")
    assert found.plugin.hooks == ("mlrun_projectors",)


YIELDED = 'Component("good", "good.parts:Good", "a good one")'
BROKEN = {
    "import no_such_package": "importing bad_plugin raises ModuleNotFoundError: No module named 'no_such_package'",
    "import sys; sys.exit(3)": "importing bad_plugin calls sys.exit(3)",
    "def broken(:": "importing bad_plugin raises SyntaxError",
    GOOD.replace("mlrun_projectors", "mlrun_projector"): (
        "there is no hook 'mlrun_projector'; did you mean 'mlrun_projectors'?"
    ),
    GOOD.replace("@hookimpl\n", ""): "'mlrun_projectors' lacks the @hookimpl decorator",
    GOOD.replace("mlrun_projectors()", "mlrun_projectors(extra)"): "extra",
    GOOD.replace("yield", "raise ValueError('oh')\n    yield"): "mlrun_projectors raises ValueError: oh",
    GOOD.replace("yield", "raise SystemExit\n    yield"): "mlrun_projectors calls sys.exit()",
    GOOD.replace(YIELDED, "'good'"): "must yield Components, not 'good'",
    GOOD.replace("good.parts:Good", "good.parts.Good"): "write it as 'package.module:Class'",
    GOOD.replace('"good"', '"acme:good"'): "names look like 'attention-pool'",
    GOOD.replace("@hookimpl", "@hookimpl(wrapper=True)"): "hook wrapper",
}


@pytest.mark.parametrize(("source", "error"), BROKEN.items())
def test_a_broken_plugin_is_disabled(install: Any, source: str, error: str) -> None:
    install("good", GOOD)
    install("bad", source)
    host = PluginManager.discover()
    assert error in error_of(host, "bad")
    assert host.find("projector", "good").plugin.name == "good"
    assert [one for one in host.components() if one.plugin.name == "bad"] == []


def test_a_plugin_that_fails_in_one_hook_offers_nothing_at_all() -> None:
    class Half(Offers):
        @hookimpl
        def mlrun_metrics(self) -> Any:
            raise RuntimeError("half")

    host = PluginManager.from_modules({"half": Half(linear())})
    assert host.components("projector") == []
    assert error_of(host, "half") == "mlrun_metrics raises RuntimeError: half"


def test_two_plugins_of_one_name_are_told_apart(install: Any) -> None:
    install("first", GOOD, plugin="same")
    install("second", GOOD, plugin="same")
    host = PluginManager.discover()
    assert host.find("projector", "good").plugin.distribution == "first-dist"
    assert error_of(host, "same@second-dist") == "the plugin name 'same' is taken by first-dist 1.2"


def test_a_name_offered_twice_must_be_picked_by_plugin() -> None:
    host = PluginManager.from_modules({"ours": Offers(linear()), "acme": Offers(linear())})
    with pytest.raises(AmbiguousComponent, match="'acme' and 'ours' both offer projector 'linear'") as caught:
        host.find("projector", "linear")
    assert caught.value.candidates == ("acme:linear", "ours:linear")
    assert host.find("projector", "acme:linear").plugin.name == "acme"


def test_a_name_yielded_twice_by_one_plugin_is_its_fault() -> None:
    host = PluginManager.from_modules({"acme": Offers(linear(), linear())})
    assert error_of(host, "acme") == "mlrun_projectors yields 'linear' twice"


def test_an_unknown_component_comes_with_candidates_and_what_was_meant() -> None:
    host = PluginManager.from_modules({"ours": Offers(linear())})
    with pytest.raises(UnknownComponent, match="unknown projector 'liner'; did you mean 'linear'") as caught:
        host.find("projector", "liner")
    assert caught.value.candidates == ("linear",)
    with pytest.raises(UnknownComponent, match="did you mean 'ours:linear'"):
        host.find("projector", "our:linear")


def test_an_unknown_component_names_plugins_that_were_disabled() -> None:
    host = PluginManager.from_modules({"ours": Offers(linear()), "bad": Offers(3)})
    with pytest.raises(UnknownComponent, match="disabled: plugin 'bad'"):
        host.find("projector", "perceiver")


@pytest.mark.parametrize("name", ["good", "good-dist"])
def test_a_plugin_that_is_left_out_is_not_imported(install: Any, name: str) -> None:
    install("good", "raise AssertionError")
    assert "good" not in [info.name for info in PluginManager.discover(disabled=[name]).plugins]
    assert "good_plugin" not in sys.modules


def commands(*names: str, error: Exception | None = None) -> object:
    @hookimpl
    def mlrun_commands(cli: click.Group) -> None:
        for name in names:
            cli.add_command(click.Command(name))
        if error:
            raise error

    module = ModuleType("commands")
    module.mlrun_commands = mlrun_commands  # type: ignore[attr-defined]
    return module


def test_plugins_add_commands_and_a_taken_one_sets_aside() -> None:
    cli = click.Group(commands={"run": click.Command("run")})
    run = cli.commands["run"]
    plugins = {
        "good": commands("hello"), "thief": commands("mine", "run"), "broken": commands("half", error=ValueError("no")),
    }  # fmt: skip
    host = PluginManager.from_modules(plugins)
    host.add_commands(cli)
    assert sorted(cli.commands) == ["hello", "run"]
    assert cli.commands["run"] is run
    assert error_of(host, "thief") == "the command 'run' exists already"
    assert error_of(host, "broken") == "mlrun_commands raises ValueError: no"


@pytest.mark.parametrize("error", [ValueError("oh"), SystemExit(1)])
def test_an_observer_that_raises_is_warned_of_once_and_kills_nothing(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = Observer(), Observer(error)
    host = PluginManager.from_modules({"good": good, "bad": bad})
    with caplog.at_level(logging.WARNING):
        host.notify("mlrun_run_finished", run="a", results={})
        host.notify("mlrun_run_finished", run="b", results={})
    assert (good.heard, bad.heard) == (["a", "b"], ["a"])
    assert len(caplog.records) == 1
    assert "'bad'" in caplog.text


def test_an_observer_cannot_change_what_the_run_goes_by() -> None:
    class Meddler:
        @hookimpl
        def mlrun_run_started(self, config: Any) -> None:
            config["train"]["steps"] = 1

    config = {"train": {"steps": 20}}
    PluginManager.from_modules({"meddler": Meddler()}).notify("mlrun_run_started", run="a", path="", config=config)
    assert config == {"train": {"steps": 20}}


def test_an_interrupt_passes_through_an_observer() -> None:
    host = PluginManager.from_modules({"bad": Observer(KeyboardInterrupt())})
    with pytest.raises(KeyboardInterrupt):
        host.notify("mlrun_run_finished", run="a", results={})


def test_an_observer_that_raised_still_offers_its_components() -> None:
    class Both(Offers):
        @hookimpl
        def mlrun_run_failed(self, error: str) -> None:
            raise RuntimeError

    host = PluginManager.from_modules({"both": Both(linear())})
    host.notify("mlrun_run_failed", run="a", error="b")
    assert host.find("projector", "linear").plugin.error is None


def test_the_first_launcher_that_takes_the_plan_runs_it() -> None:
    def launcher(result: object) -> object:
        return SimpleNamespace(mlrun_launch=hookimpl(lambda plan: result))

    host = PluginManager.from_modules({"local": launcher("local"), "cluster": launcher(None)})
    assert host.launch(SimpleNamespace()) == "local"
    with pytest.raises(TrialbookError, match="no plugin launches"):
        PluginManager.from_modules({"cluster": launcher(None)}).launch(SimpleNamespace())


def test_entry_points_agree_with_importlib_metadata() -> None:
    from importlib import metadata

    for group in ("console_scripts", "pytest11", "no.such.group"):
        ours = {(p.name, p.value, p.distribution, p.version) for p in find_entry_points(group)}
        known = metadata.entry_points(group=group)
        theirs = {(p.name, p.value.partition("[")[0].strip(), p.dist.name, p.dist.version) for p in known}
        assert ours == theirs


def test_of_two_distributions_of_one_name_the_first_on_the_path_counts(tmp_path: Path) -> None:
    for folder, version in (("a", "2.0"), ("b", "1.0")):
        info = tmp_path / folder / f"some_name-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text("[g]\np = m\n")
    found = find_entry_points("g", [str(tmp_path / "a"), str(tmp_path / "none"), str(tmp_path / "b")])
    assert found == [EntryPoint("p", "m", "some_name", "2.0")]


def test_comments_and_extras_of_entry_points_are_left_aside() -> None:
    text = "[other]\na = b\n[g]\n# c = d\n\np = m:f [extra]\n[last]\nq = r\n"
    assert parse_group(text, "g") == [("p", "m:f")]


def test_a_plugin_that_keeps_the_command_waiting_is_named_and_not_ended(
    install: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slow, "LIMIT", 0.2)
    monkeypatch.setattr(slow, "PERIOD", 0.02)
    install("sluggish", "import time\ntime.sleep(0.5)\n" + GOOD + "    time.sleep(0.5)\n")
    host = PluginManager()
    host.load(EntryPoint("sluggish", "sluggish_plugin"))
    host.register("quick", Offers(linear()))
    assert {one.name for one in host.components()} == {"good", "linear"}
    said = capsys.readouterr().err.splitlines()
    assert [("sluggish" in line, "mlrun_projectors" in line) for line in said] == [(True, False), (True, True)]
    host.components()
    assert capsys.readouterr().err == ""
