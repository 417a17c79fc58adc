"""The constructor is the schema: what it allows, what it says of a mistake, and that checking imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jsonschema
import pytest
from pydantic import Field

from trialbook.config.kinds import RESERVED
from trialbook.contracts.metric_names import expand_produces
from trialbook.errors import TrialbookError
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.json_schema import experiment_json_schema
from trialbook.plugins.manager import PluginManager, UnknownComponent
from trialbook.plugins.schema import ComponentSchema, SchemaBook, construct, table_problems
from trialbook.plugins.signature import describe_class, documented


class Head:
    """A head for tests.

    Args:
        dim: width, injected.
        model: name of
            the model.
        layers: number of layers.
        ratio: a share.
        pool: how tokens are pooled.
        betas: two numbers.
        sizes: one size or several.
        scale: factor by part.
        size: bounded.
        file: where it is read.
        off: not used unless given.

    Source: none.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    parts: ClassVar[Mapping[str, str]] = {"of": "loss"}

    def __init__(
        self, dim: int, of: Any, extra: str = "x", /, *, model: str, layers: int = 2, ratio: float = 0.5,
        pool: Literal["mean", "attention"] = "mean", betas: tuple[float, float] = (0.9, 0.99),
        sizes: int | list[int] = 3, scale: dict[str, float] | None = None, size: Annotated[int, Field(ge=1)] = 1,
        file: Path = Path("a"), off: int | None = None,
    ) -> None:  # fmt: skip
        self.got = dict(locals())


def schema_of(cls: type) -> ComponentSchema:
    described = {**describe_class(cls)}
    injected = {key: tuple(described.pop(key)) for key in ("injected", "injected_optional")}
    return ComponentSchema("projector", "head", "t:T", "tests", "0" * 64, **described, **injected)


GOOD: dict[str, Any] = {"use": "head", "model": "m", "of": {"use": "x"}}


def says(**table: Any) -> list[tuple[tuple[str | int, ...], str]]:
    found = table_problems({**GOOD, **table}, schema_of(Head), RESERVED["projector"])
    return [(problem.path, str(problem)) for problem in found]


def test_a_good_table_has_no_problem() -> None:
    full: dict[str, Any] = {
        "layers": 3,
        "ratio": 1,
        "pool": "attention",
        "betas": [0, 0.5],
        "sizes": [1, 2],
        "frozen": True,
    }
    assert says(**full, scale={"a": 1}, size=2, file="b.txt", off=3, id="clip") == []


@pytest.mark.parametrize(
    ("table", "path", "message"),
    [
        ({"layers": "64"}, ("layers",), "'layers' must be an integer, not the string '64'"),
        ({"layers": 1.0}, ("layers",), "'layers' must be an integer, not the float 1.0"),
        ({"layers": True}, ("layers",), "'layers' must be an integer, not true"),
        ({"ratio": False}, ("ratio",), "'ratio' must be a number, not false"),
        ({"model": 3}, ("model",), "'model' must be a string, not the integer 3"),
        ({"frozen": "yes"}, ("frozen",), "'frozen' must be true or false, not the string 'yes'"),
        ({"pool": "men"}, ("pool",), "'pool' must be one of 'mean', 'attention', not 'men'; did you mean 'mean'?"),
        ({"pool": 3}, ("pool",), "'pool' must be one of 'mean', 'attention', not the integer 3"),
        ({"betas": [0.9]}, ("betas",), "'betas' must be an array of 2 numbers, not an array of 1"),
        ({"betas": [0.9, "a"]}, ("betas", 1), "'betas[1]' must be a number, not the string 'a'"),
        ({"betas": 0.9}, ("betas",), "'betas' must be an array of 2 numbers, not the float 0.9"),
        ({"sizes": "a"}, ("sizes",), "'sizes' must be an integer or an array of integers, not the string 'a'"),
        ({"sizes": [1, 1.5]}, ("sizes", 1), "'sizes[1]' must be an integer, not the float 1.5"),
        ({"scale": {"a": "b"}}, ("scale", "a"), "'scale.a' must be a number, not the string 'b'"),
        ({"scale": 3}, ("scale",), "'scale' must be a table of numbers, not the integer 3"),
        ({"size": 0}, ("size",), "'size' must be at least 1, not 0"),
        ({"off": "x"}, ("off",), "'off' must be an integer, not the string 'x'"),
        ({"of": 3}, ("of",), "'of' must be a table or a string, not the integer 3"),
        ({"laers": 3}, ("laers",), "unknown key 'laers'; did you mean 'layers'?"),
        ({"frosen": True}, ("frosen",), "unknown key 'frosen'; did you mean 'frozen'?"),
        ({"zzzzzzzzz": 1}, ("zzzzzzzzz",), "unknown key 'zzzzzzzzz'"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_at_its_place(table: dict[str, Any], path: tuple[str | int, ...], message: str) -> None:
    assert says(**table) == [(path, message)]


def test_all_mistakes_come_out_together_in_the_order_of_the_file() -> None:
    found = says(ratio="a", laers=2, pool="x")
    assert [path for path, _ in found] == [("ratio",), ("laers",), ("pool",)]


def test_a_missing_key_and_a_missing_part_are_named() -> None:
    found = [str(p) for p in table_problems({"use": "head"}, schema_of(Head), RESERVED["projector"])]
    assert found == ["missing key 'model'", "missing key 'of'"]


def test_a_misspelt_required_key_is_not_missing_as_well() -> None:
    found = table_problems({"modle": "m", "of": "x"}, schema_of(Head))
    assert [str(p) for p in found] == ["unknown key 'modle'; did you mean 'model'?"]


def test_a_schema_holds_what_checks_need() -> None:
    schema = schema_of(Head)
    assert (schema.injected, schema.injected_optional) == (("dim", "of"), ("extra",))
    assert schema.attributes == {"needs": ["embeddings"], "parts": {"of": "loss"}}
    assert schema.defaults() == {
        "layers": 2, "ratio": 0.5, "pool": "mean", "betas": [0.9, 0.99], "sizes": 3, "scale": None,
        "size": 1, "file": "a", "off": None,
    }  # fmt: skip
    assert schema.json_schema["properties"]["model"]["description"] == "name of the model."
    jsonschema.Draft202012Validator.check_schema(schema.json_schema)


def test_documented_parameters_end_with_their_section() -> None:
    doc = "One.\n\nArgs:\n    a: first\n        and more.\n\n    b (int): second.\nRaises:\n    c: not one."
    assert documented(doc) == {"a": "first and more.", "b": "second."}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Args:
        names: some.
        count: how many.
    """

    names: list[str] = field(default_factory=lambda: ["a"])
    count: int


def test_a_dataclass_is_a_schema_too() -> None:
    schema = schema_of(Table)
    assert schema.defaults() == {"names": ["a"]}
    assert schema.json_schema["required"] == ["count"]
    assert construct(Table, {}, {"count": 3}) == Table(count=3)


class Anything:
    def __init__(self, **options: int) -> None: ...


class Untyped:
    def __init__(self, *, a=1) -> None: ...  # type: ignore[no-untyped-def]


class Loose:
    def __init__(self, width: int = 3) -> None: ...


class Odd:
    def __init__(self, *, a: object.__class__, b: type[int] = int) -> None: ...  # type: ignore[name-defined]


class Lost:
    def __init__(self, *, a: NoSuchType = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821


class Plain:
    """No constructor."""


class NoPart:
    parts: ClassVar[Mapping[str, str]] = {"of": "loss"}

    def __init__(self, *, of: int = 1) -> None: ...


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Anything, r"takes '\*\*options: .*int.*': name every option"),
        (Untyped, "parameter 'a' of .*Untyped' has no type"),
        (Loose, "parameter 'width' of .* must stand before '/' .* or after '\\*'"),
        (Odd, "parameter 'a' of .*Odd' is of a type that a TOML file cannot hold"),
        (Lost, "a type of .*Lost' cannot be resolved: name 'NoSuchType'"),
        (NoPart, "names the part 'of', which is no positional-only parameter"),
    ],
)
def test_a_constructor_that_breaks_a_rule_is_refused(cls: type, message: str) -> None:
    with pytest.raises(TrialbookError, match=message):
        describe_class(cls)


def test_a_class_without_a_constructor_has_no_keys() -> None:
    assert schema_of(Plain).json_schema["properties"] == {}
    assert isinstance(construct(Plain, {"dim": 3}, {}), Plain)


def test_constructing_coerces_as_the_hints_say() -> None:
    got = construct(
        Head, {"dim": 4, "of": "part", "unused": 1}, {"model": "m", "betas": [0, 1], "ratio": 1, "file": "f"}
    ).got
    assert (got["dim"], got["of"], got["extra"]) == (4, "part", "x")
    assert got["betas"] == (0.0, 1.0)
    assert isinstance(got["ratio"], float)
    assert got["file"] == Path("f")
    assert got["pool"] == "mean"


def test_constructing_refuses_what_the_check_refuses() -> None:
    with pytest.raises(TrialbookError, match="'layers' must be an integer, not the string '64'"):
        construct(Head, {"dim": 4, "of": 1}, {"model": "m", "layers": "64"})
    with pytest.raises(TrialbookError, match="needs 'dim'"):
        construct(Head, {}, {"model": "m"})


def test_infinity_and_nan_are_numbers() -> None:
    assert construct(Head, {"dim": 1, "of": 1}, {"model": "m", "ratio": float("inf")}).got["ratio"] == float("inf")


PARTS = '''
import torch
class Head:
    """A head."""
    def __init__(self, dim: int, /, *, layers: int = 2) -> None: ...
class Needy:
    """Needs something."""
    from no_such_package import thing
'''


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SchemaBook:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "schemed.py").write_text(PARTS.partition("class Needy")[0].replace("import torch", ""))
    (tmp_path / "needy.py").write_text("import no_such_package\nclass Needy: ...")

    class Plugin:
        @hookimpl
        def mlrun_projectors(self) -> Any:
            yield Component("head", "schemed:Head", "a head")
            yield Component("needy", "needy:Needy", "needs a package")

    from trialbook.plugins.provenance import source_hash

    source_hash.cache_clear()
    sys.modules.pop("schemed", None)
    return SchemaBook(PluginManager.from_modules({"tests": Plugin()}), tmp_path / "cache")


def test_a_schema_that_is_cached_is_read_and_not_made(book: SchemaBook, tmp_path: Path) -> None:
    first = book.get("projector", "head")
    (file,) = (tmp_path / "cache/schemas").iterdir()
    described = json.loads(file.read_text())
    file.write_text(json.dumps({**described, "doc": "from the cache"}))
    again = SchemaBook(book.host, tmp_path / "cache").get("projector", "head")
    assert (first.doc, again.doc) == ("A head.", "from the cache")
    assert again.injected == first.injected == ("dim",)


def test_a_changed_source_is_another_schema(book: SchemaBook, tmp_path: Path) -> None:
    from trialbook.plugins.provenance import source_hash

    assert "width" not in book.get("projector", "head").json_schema["properties"]
    (tmp_path / "schemed.py").write_text(
        PARTS.partition("class Needy")[0].replace("layers", "width").replace("import torch", "")
    )
    source_hash.cache_clear()
    del sys.modules["schemed"]
    changed = SchemaBook(book.host, tmp_path / "cache").get("projector", "head")
    assert list(changed.json_schema["properties"]) == ["width"]


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"doc": 3'])
def test_a_broken_cache_costs_nothing_but_time(book: SchemaBook, tmp_path: Path, damage: str) -> None:
    first = book.get("projector", "head")
    for file in (tmp_path / "cache/schemas").iterdir():
        file.write_text(damage)
    assert SchemaBook(book.host, tmp_path / "cache").get("projector", "head") == first


def test_a_cache_that_cannot_be_written_is_none(book: SchemaBook, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    schema = SchemaBook(book.host, tmp_path / "file/cache").get("projector", "head")
    assert schema.defaults() == {"layers": 2}


def test_a_component_that_lacks_a_package_says_which(book: SchemaBook) -> None:
    with pytest.raises(TrialbookError, match="needs the package 'no_such_package'; install it"):
        book.get("projector", "needy")
    assert [schema.name for schema in book.all()] == ["head"]
    with pytest.raises(UnknownComponent):
        book.get("projector", "hed")


def test_core_tables_have_schemas(book: SchemaBook) -> None:
    problems = table_problems({"steps": 10, "shedule": "cosine", "betas": [0.9, 0.99], "warmup": 1}, book.core("train"))
    assert [str(problem) for problem in problems] == ["unknown key 'shedule'; did you mean 'schedule'?"]
    assert book.core("evaluate").defaults()["split"] == "val"


def test_a_warm_check_imports_neither_torch_nor_pydantic(book: SchemaBook, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.hookspec import Component, hookimpl
from trialbook.plugins.schema import SchemaBook, table_problems
class Plugin:
    @hookimpl
    def mlrun_projectors(self):
        yield Component("head", "heavy:Head", "")
book = SchemaBook(PluginManager.from_modules({{"tests": Plugin()}}), Path({str(tmp_path / "warm")!r}))
problems = table_problems({{"laers": 1}}, book.get("projector", "head"))
print([str(problem) for problem in problems], book.core("train").defaults()["lr"])
print(sorted({{"torch", "pydantic", "heavy", "numpy"}} & set(sys.modules)))
"""
    (tmp_path / "heavy.py").write_text(PARTS.partition("class Needy")[0])
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for _ in range(2)
    ]
    assert outputs[0][0] == outputs[1][0] == "[\"unknown key 'laers'; did you mean 'layers'?\"] 0.001"
    assert "torch" in outputs[0][1]
    assert outputs[1][1] == "[]"


def test_templates_stand_for_names() -> None:
    modalities = ["image", "text"]
    assert expand_produces(["{pair}@{k}"], {"k": [1, 5]}, modalities) == ["i2t@1", "i2t@5", "t2i@1", "t2i@5"]
    assert expand_produces(["{couple}"], {}, ["a", "b", "c"]) == ["a-b", "a-c", "b-c"]
    assert expand_produces(["loss", "{loss}/loss"], {}, [], ["a", "b"]) == ["loss", "a/loss", "b/loss"]
    assert expand_produces(["{modality}/r2@{ridge}"], {"ridge": [1.0, 0.1]}, ["x"]) == ["x/r2@1", "x/r2@0.1"]
    assert expand_produces(["gap/{t}", "{off}"], {"t": 2, "off": None}, []) == ["gap/2"]


@pytest.fixture
def editor(book: SchemaBook) -> jsonschema.Draft202012Validator:
    schema = experiment_json_schema(book)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_editors_schema_takes_a_whole_file(editor: jsonschema.Draft202012Validator) -> None:
    head = {"use": "head", "layers": 3, "frozen": True}
    file = {
        "name": "x", "question": "?", "extends": ["a.toml"], "seeds": [0, 1], "baseline": "a", "headline": ["m"],
        "projector": {"image": head, "text": {"use": "tests:head"}}, "train": {"lr": 1e-3}, "evaluate": {"every": 3},
        "stage": [{"name": "a", "train": ["x"]}], "checkpoint": {"keep_last": 1}, "results": {"a": "loss"},
        "arm": {"a": {}, "b": {"projector": {"image": {"layers": 4}}, "needs": ["a"]}}, "grid": {"train.lr": [1, 2]},
        "gate": [{"metric": "m", "at_least": 0.5}], "profile": {"full": {"projector": {"image": head}, "seeds": [3]}},
    }  # fmt: skip
    assert list(editor.iter_errors(file)) == []


@pytest.mark.parametrize(
    "file",
    [
        {"projectr": {}},
        {"projector": {"image": {"use": "head", "laers": 3}}},
        {"projector": {"image": {"use": "hed"}}},
        {"projector": {"image": {"use": "head", "layers": "3"}}},
        {"projector": {"image": {"laers": 3}}},
        {"projector": [{"use": "head"}]},
        {"loss": {"use": "x"}},
        {"train": {"leraning_rate": 1}},
        {"gate": [{"at_least": 3}]},
        {"seeds": ["a"]},
        {"arm": {"a": {"seeds": [1]}}},
        {"arm": {"a": {"projector": {"image": {"laers": 3}}}}},
        {"profile": {"full": {"extends": "x"}}},
        {"grid": {"train.lr": 3}},
    ],
)
def test_the_editors_schema_refuses_mistakes(editor: jsonschema.Draft202012Validator, file: dict[str, Any]) -> None:
    assert list(editor.iter_errors(file))


def test_the_editors_schema_has_descriptions_and_defaults(book: SchemaBook) -> None:
    schema = experiment_json_schema(book)
    component = schema["$defs"]["projector/tests:head"]
    assert component["description"] == "A head."
    assert component["properties"]["layers"] == {"type": "integer", "default": 2}
    assert component["properties"]["use"]["enum"] == ["head", "tests:head"]
    assert schema["$defs"]["core/train"]["properties"]["lr"]["default"] == 1e-3
    assert "learning rate" in schema["$defs"]["core/train"]["properties"]["lr"]["description"]
