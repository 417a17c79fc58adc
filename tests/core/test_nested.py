"""Components in components: one under a key, or any number of them under names."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from trialbook.config.kinds import part_kind
from trialbook.config.load import load_experiment
from trialbook.config.runspec import Plan
from trialbook.config.variants import ComponentTable
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.planning.planner import make_plan
from trialbook.plugins.construct import ComponentFactory
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.json_schema import experiment_json_schema
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook

PARTS = '''
class Measure:
    """Counts."""
    takes = {"dataset": "one"}
    provides = ()
    produces = ("rows",)
    def __init__(self, builder, /): ...

class Rows:
    """Rows."""
    modalities = {"x": "vector"}
    def __init__(self, *, count: int = 3, bias: float = 0.0):
        if count < 1:
            raise ValueError(f"count ({count}) must be at least 1")
        self.count = count

class Joined:
    """Several under names, and perhaps one more."""
    modalities = {"x": "vector"}
    parts = {"of": "dataset.*", "last": "dataset"}
    def __init__(self, of, last=None, /, *, scale: float = 1.0):
        self.of, self.last, self.scale = of, last, scale
'''
FILE = """
[task]
use = "measure"
[dataset]
use = "joined"
last = "rows"
[dataset.of.first]
use = "rows"
count = 5
[dataset.of.second]
use = "joined"
[dataset.of.second.of]
inner = "rows"
[arm.few.dataset.of.first]
count = 2
[arm.other.dataset.of.first]
use = "joined"
of = { a = "rows" }
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("nested")
    (folder / "nested_parts.py").write_text(PARTS)
    plugin = types.SimpleNamespace(
        mlrun_tasks=hookimpl(lambda: [Component("measure", "nested_parts:Measure", "")]),
        mlrun_datasets=hookimpl(
            lambda: [Component("rows", "nested_parts:Rows", ""), Component("joined", "nested_parts:Joined", "")]
        ),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield SchemaBook(PluginManager.from_modules({"nested": plugin}), folder / "cache")


def plan(tmp_path: Path, book: SchemaBook, *changes: tuple[str, str], **options: Any) -> Plan:
    text = FILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    file = tmp_path / "file.toml"
    file.write_text(text)
    return make_plan(load_experiment(file, **options), book)


def test_a_declaration_says_the_kind_and_whether_there_are_names() -> None:
    assert part_kind("loss") == ("loss", False)
    assert part_kind("dataset.*") == ("dataset", True)


def test_defaults_are_filled_in_at_every_depth(tmp_path: Path, book: SchemaBook) -> None:
    few, other = (run.config["dataset"] for run in plan(tmp_path, book).runs)
    rows = {"use": "rows", "count": 3, "bias": 0.0}
    second = {"use": "joined", "scale": 1.0, "of": {"inner": rows}}
    assert few == {
        "use": "joined", "scale": 1.0, "last": rows, "of": {"first": {**rows, "count": 2}, "second": second},
    }  # fmt: skip
    assert other["of"]["first"] == {"use": "joined", "scale": 1.0, "of": {"a": rows}}


def test_what_is_nested_counts_in_the_source(tmp_path: Path, book: SchemaBook) -> None:
    first, second = plan(tmp_path, book).runs
    assert first.sources["dataset"] != book.get("dataset", "joined").source
    assert first.id != second.id


def test_the_components_are_made_and_handed_over_by_name(tmp_path: Path, book: SchemaBook) -> None:
    run = plan(tmp_path, book).runs[0]
    made = ComponentFactory(book, "file.toml", run.positions, {}).construct(
        ComponentTable("dataset", ("dataset",), run.config["dataset"]), {}
    )
    assert list(made.of) == ["first", "second"]
    assert (made.of["first"].count, made.of["second"].of["inner"].count, made.last.count) == (2, 3, 3)
    assert made.of["second"].last is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("count = 5", "cuont = 5", "file.toml:9: [dataset.of.first] unknown key 'cuont'; did you mean 'count'?"),
        ("count = 2", "count = 'x'", "file.toml:15: [arm.few.dataset.of.first] 'count' must be an integer, not the string 'x'"),
        ('"rows"\ncount = 5', '"row"\ncount = 5', "file.toml:8: [dataset.of.first] unknown dataset 'row'; did you mean 'rows'?"),
        ('inner = "rows"', 'inner = "rwos"', "file.toml:13: [dataset.of.second.of.inner] unknown dataset 'rwos'; did you mean"),
        ('inner = "rows"', "inner = 3", "file.toml:13: [dataset.of.second] 'of.inner' must be a table or a string, not the"),
        ('[dataset.of.second]\nuse = "joined"', "[dataset.of.second]", "[dataset.of.second] missing key 'use'; there are joined"),
        ('use = "joined"\nlast', 'use = "joined"\nlsat', "[dataset] unknown key 'lsat'; did you mean 'last'?"),
    ],
)  # fmt: skip
def test_a_mistake_at_any_depth_comes_with_its_place(
    tmp_path: Path, book: SchemaBook, old: str, new: str, expected: str
) -> None:
    with pytest.raises(ExperimentErrors) as raised:
        plan(tmp_path, book, (old, new))
    assert any(expected in str(problem) for problem in raised.value.problems), str(raised.value)


def test_a_part_that_must_be_there_is_missed(tmp_path: Path, book: SchemaBook) -> None:
    file = tmp_path / "short.toml"
    file.write_text('[task]\nuse = "measure"\n[dataset]\nuse = "joined"\n')
    with pytest.raises(ExperimentErrors, match=r"3: \[dataset\] missing key 'of'"):
        make_plan(load_experiment(file), book)


def test_a_value_that_a_nested_constructor_refuses_is_named_with_its_line(tmp_path: Path, book: SchemaBook) -> None:
    run = plan(tmp_path, book, ("count = 2", "count = 0")).runs[0]
    with pytest.raises(ExperimentErrors, match=r"file.toml:15: \[dataset.of.first\] count \(0\) must be at least 1"):
        ComponentFactory(book, "file.toml", run.positions, {}).construct(
            ComponentTable("dataset", ("dataset",), run.config["dataset"]), {}
        )


def test_set_reaches_a_nested_key(tmp_path: Path, book: SchemaBook) -> None:
    found = plan(tmp_path, book, sets=["dataset.of.first.bias=0.5", "arm.few.dataset.of.second.scale=2.0"])
    assert found.runs[0].config["dataset"]["of"]["first"]["bias"] == 0.5
    assert [run.config["dataset"]["of"]["second"]["scale"] for run in found.runs] == [2.0, 1.0]


def test_a_wired_value_that_nobody_offers_is_an_error(book: SchemaBook) -> None:
    with pytest.raises(TrialbookError, match="task 'measure' wants 'builder', which the task does not offer"):
        ComponentFactory(book, "file.toml", {}, {}).construct(ComponentTable("task", ("task",), {"use": "measure"}), {})


def test_editors_know_nested_tables(book: SchemaBook) -> None:
    editor = jsonschema.Draft202012Validator(experiment_json_schema(book))
    right = {
        "task": {"use": "measure"},
        "dataset": {"use": "joined", "of": {"a": "rows", "b": {"use": "rows", "count": 2}}},
    }
    assert editor.is_valid(right)
    right["dataset"]["of"]["b"]["cuont"] = 2
    assert not editor.is_valid(right)
