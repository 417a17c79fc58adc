"""Every hook says when it is called and what the default does; docs/hooks.md is made of that, and its examples work."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from trialbook.config.kinds import CHECKS, KINDS, RECORDS, TRACKERS
from trialbook.contracts import Record
from trialbook.doctor.doctor import load_checks
from trialbook.errors import TrialbookError
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.scaffold import SUMMARIES, write_plugin
from trialbook.plugins.signature import load_target

OFFERS = {**KINDS, **CHECKS, **TRACKERS, **RECORDS}
#: What observers hear, by hook.
HEARD: dict[str, dict[str, Any]] = {
    "mlrun_run_started": {"run": "linear-s0-1a2b", "path": "runs/x", "config": {"task": {"use": "align"}}},
    "mlrun_run_recorded": {"run": "linear-s0-1a2b", "record": Record(3, {"loss": 4.0})},
    "mlrun_run_finished": {"run": "linear-s0-1a2b", "results": {"loss_end": 1.0}},
    "mlrun_run_failed": {"run": "linear-s0-1a2b", "error": "the disk is full"},
}
SAID = {
    "mlrun_run_started": "linear-s0-1a2b begins: task align\n",
    "mlrun_run_recorded": "linear-s0-1a2b step 3: loss 4.000\n",
    "mlrun_run_finished": "linear-s0-1a2b has finished: loss_end\n",
    "mlrun_run_failed": "\alinear-s0-1a2b failed: the disk is full\n",
}


def load_generator() -> ModuleType:
    file = Path(__file__).parents[2] / "docs/generate_hooks.py"
    spec = importlib.util.spec_from_file_location("docs_generate_hooks", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGE = load_generator()


@pytest.fixture(scope="module", autouse=True)
def my_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package that the examples speak of, as ``mlrun plugins new`` writes it."""
    folder = tmp_path_factory.mktemp("hooks") / "my-lab"
    write_plugin(folder, "my-lab", list(SUMMARIES))
    sys.path.insert(0, str(folder / "src"))
    yield
    sys.path.remove(str(folder / "src"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


def example(hook: str, file: Path = Path("example.py")) -> PluginManager:
    """The plugins of a process that has the example of a hook alone, as if it stood in a file."""
    module = ModuleType("example")
    module.__file__ = str(file)
    exec(PAGE.example_of(hook), module.__dict__)
    host = PluginManager.from_modules({"example": module})
    (info,) = host.plugins
    assert (info.error, info.hooks) == (None, (hook,))
    return host


def test_the_page_is_up_to_date_and_has_every_hook() -> None:
    assert PAGE.PAGE.read_text(encoding="utf-8") == PAGE.make_page(), "run 'make docs'"
    assert set(PAGE.hook_names()) == {*OFFERS.values(), *HEARD, "mlrun_templates", "mlrun_commands", "mlrun_launch"}


@pytest.mark.parametrize("hook", PAGE.hook_names())
def test_a_hook_says_when_it_is_called_and_what_happens_without_it(hook: str) -> None:
    parts = PAGE.parts_of(hook)
    assert {"", "Called", "Default", "Example"} <= set(parts)
    assert all(text.strip() for text in parts.values())


@pytest.mark.parametrize("kind", [*KINDS, *TRACKERS])
def test_an_example_offers_a_class_that_there_is(kind: str) -> None:
    host = example(OFFERS[kind])
    (offered,) = [*host.components(), *host.trackers()]
    assert (offered.kind, offered.name) == (kind, f"my-lab-{kind}")
    assert load_target(offered.target).__name__ == f"MyLab{kind.capitalize()}"


def test_the_example_of_a_check_can_be_loaded() -> None:
    (check,), notes = load_checks(example("mlrun_checks"))
    assert (check.name, notes) == ("my-lab-check", [])


def test_the_example_of_an_architecture_can_be_loaded() -> None:
    assert list(example("mlrun_architectures").records("architecture")) == ["my-lab-architecture"]


def test_the_example_of_templates_gives_the_folder_beside_the_module(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    assert example("mlrun_templates", tmp_path / "plugin.py").templates() == {"example": tmp_path / "templates"}


def test_the_example_of_a_command_adds_one() -> None:
    group = click.Group("mlrun")
    example("mlrun_commands").add_commands(group)
    assert CliRunner().invoke(group, ["my-lab-hello"]).output == "hello from my-lab\n"


def test_the_example_of_templates_names_its_folder(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    assert example("mlrun_templates", tmp_path / "plugin.py").templates() == {"example": tmp_path / "templates"}


def test_the_example_of_a_launcher_leaves_short_plans_to_the_next_one() -> None:
    host = example("mlrun_launch")
    assert host.hook.mlrun_launch(plan=SimpleNamespace(runs=(None,) * 100)) is None
    with pytest.raises(TrialbookError):
        host.launch(SimpleNamespace(runs=(None,) * 101))  # type: ignore[arg-type]


@pytest.mark.parametrize("hook", HEARD)
def test_the_example_of_an_observer_says_what_it_heard(
    hook: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        example(hook).notify(hook, **HEARD[hook])
    assert capsys.readouterr().out == SAID[hook]
    assert not caplog.records
