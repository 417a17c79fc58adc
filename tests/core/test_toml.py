"""Positions of keys: every key that the parser reads is placed on the line where it was written."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from trialbook.config.toml import MOST_BYTES, KeyPath, parse_key, parse_toml, parse_value, read_toml
from trialbook.config.toml_nesting import MOST_LEVELS
from trialbook.errors import ExperimentErrors, TrialbookError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path("some.toml")

AWKWARD = '''\
# Does it work?
#
# mlrun run this.toml

title = "# not a comment [nor.a.table] = x"   # a comment = 3
"quoted key" = 1
'literal.key' = 2
"esc\\u0061ped\\"" = 3
a.b . "c d".e = 1979-05-27 07:32:00Z
empty = []
nested = [ [1, 2], # ] not the end
  [ "]", '[', """
]]
""" ],
]
multi = """
[fake]
fake = 1
"""
four = """a quote at the end:""\\""""""
literal = \'\'\'
# no comment
x = 'y'\'\'\'\'
inline = { use = "mlp", sizes = [1,
  2], deep = { x = 1 }, "k=v" = '}' }

[table]
x = -inf
[ table . sub ]
y = true # done
[[loss]]
use = "a"
[loss.inner]
z = 0x_1F
[[loss]]

use = "b"
[[loss.parts]]
q = 1
[[loss.parts]]
q = 2
[a.f]
g = 1
'''.replace("0x_1F", "0x1F")


def paths(value: Any, at: KeyPath = ()) -> list[KeyPath]:
    """Every key path of a document, tables and elements of arrays included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, below in items for path in ((*at, key), *paths(below, (*at, key)))]


def lines(text: str) -> dict[KeyPath, int]:
    return {path: position.line for path, position in parse_toml(text, FILE).positions.items()}


def line_with(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.split("\n"), 1) if part in line)


def test_an_awkward_document_is_placed_exactly() -> None:
    found = lines(AWKWARD)
    assert set(found) == set(paths(tomllib.loads(AWKWARD)))
    expected: dict[KeyPath, str] = {
        ("title",): "title =",
        ("quoted key",): '"quoted key"',
        ("literal.key",): "literal.key",
        ('escaped"',): "esc\\u0061ped",
        ("a", "b", "c d", "e"): "a.b .",
        ("nested", 1): '[ "]"',
        ("nested", 1, 2): '[ "]"',
        ("multi",): "multi =",
        ("four",): "four =",
        ("literal",): "literal =",
        ("inline", "sizes", 0): "inline =",
        ("inline", "sizes", 1): "2], deep",
        ("inline", "deep", "x"): "2], deep",
        ("inline", "k=v"): "2], deep",
        ("table", "x"): "x = -inf",
        ("table", "sub"): "[ table . sub ]",
        ("loss", 0, "inner", "z"): "z = ",
        ("loss", 1, "use"): 'use = "b"',
        ("loss", 1, "parts", 1, "q"): "q = 2",
        ("a",): "a.b .",
        ("a", "f"): "[a.f]",
    }
    assert {path: found[path] for path in expected} == {path: line_with(AWKWARD, s) for path, s in expected.items()}
    assert found[("loss", 1)] == found[("loss", 1, "use")] - 2


def test_windows_line_ends_count_once() -> None:
    assert lines(AWKWARD.replace("\n", "\r\n")) == lines(AWKWARD)


def test_the_opening_comment_is_kept() -> None:
    assert parse_toml(AWKWARD, FILE).comment == "Does it work?\n\nmlrun run this.toml"
    assert parse_toml("x = 1\n# later\n", FILE).comment == ""


def test_positions_carry_the_file() -> None:
    assert str(parse_toml("\nx = 1", FILE).positions[("x",)]) == "some.toml:2"


class Writer:
    """Writes random TOML and notes the line of everything it writes."""

    KEYS = ("a", "b-c", "d_1", '"e f"', "'g.h'", '"\\u00e9"', "7")
    SCALARS = ("1", "-2.5e3", "true", '"#"', '"a \\" ]"', "'}='", "nan", "07:32:00", "1979-05-27 07:32:00", '""', "''")
    LONG = ('"""\n[x]\ny = "1"\n"""', "'''#\n'\n'''", '"""\\\n  z"""', '""""two" ""\\""""""')

    def __init__(self, seed: int) -> None:
        self.rng, self.text, self.lines = random.Random(seed), "", {}

    @property
    def line(self) -> int:
        return self.text.count("\n") + 1

    def name(self) -> tuple[str, str]:
        written = self.rng.choice(self.KEYS)
        return written, next(iter(tomllib.loads(f"{written} = 1")))

    def document(self) -> str:
        self.keys(())
        for index in range(self.rng.randrange(5)):
            array = self.rng.random() < 0.4
            self.table((f"t{index}",), array)
            if self.rng.random() < 0.6:
                self.table((f"t{index}", *([1] if array else []), "sub"), False)
        return self.text

    def table(self, path: KeyPath, array: bool) -> None:
        """A table, or an array of two tables, with random space and comments."""
        left, right = ("[[", "]]") if array else ("[", "]")
        for index in range(2 if array else 1):
            self.text += self.rng.choice(["\n", "# a [comment]\n\n", ""])
            self.lines.setdefault(path, self.line)
            at: KeyPath = (*path, index) if array else path
            self.lines[at] = self.line
            dotted = self.rng.choice([".", " . "]).join(str(part) for part in path if isinstance(part, str))
            self.text += f"{left}{dotted}{right} {self.rng.choice(['', '# x = 1'])}\n"
            self.keys(at)

    def keys(self, path: KeyPath) -> None:
        used: set[str] = set()
        for _ in range(self.rng.randrange(4)):
            written, name = self.name()
            if name not in used:
                used.add(name)
                self.text += self.rng.choice(["", "  ", "\n", "#c\n"])
                self.pair(path, written, name)
                self.text += self.rng.choice(["\n", " # end\n"])

    def pair(self, path: KeyPath, written: str, name: str) -> None:
        self.lines[(*path, name)] = self.line
        self.text += f"{written}{self.rng.choice(['=', ' = '])}"
        self.value((*path, name), 0)

    def value(self, path: KeyPath, depth: int) -> None:
        kind = self.rng.random() if depth < 3 else 1.0
        if kind < 0.2:
            self.text += "["
            for index in range(self.rng.randrange(4)):
                self.text += self.rng.choice(["", " ", "\n", " # ]\n  "])
                self.lines[(*path, index)] = self.line
                self.value((*path, index), depth + 1)
                self.text += self.rng.choice([",", " ,", "\n,"])
            self.text += self.rng.choice(["]", "\n]"])
        elif kind < 0.35:
            self.text += "{ "
            for index, part in enumerate(("x", '"y z"')[: self.rng.randrange(3)]):
                self.text += ", " if index else ""
                self.lines[(*path, part.strip('"'))] = self.line
                self.text += f"{part} = "
                self.value((*path, part.strip('"')), depth + 1)
            self.text += " }"
        else:
            self.text += self.rng.choice(self.SCALARS if kind < 0.8 else self.LONG)


def test_random_documents_are_placed_exactly() -> None:
    for seed in range(400):
        writer = Writer(seed)
        text = writer.document()
        assert set(writer.lines) == set(paths(tomllib.loads(text))), text
        assert lines(text) == writer.lines, text


_VALUES = st.recursive(
    st.booleans() | st.integers(-99, 99) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=8), _VALUES, max_size=5))
def test_every_key_of_any_data_has_a_position(data: dict[str, Any]) -> None:
    text = tomli_w.dumps(data)
    document = parse_toml(text, FILE)
    assert document.data == tomllib.loads(text)
    assert set(document.positions) == set(paths(document.data))


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a = 1\nuse = mlp\n", 2, "text stands in quotes"),
        ("a = 1\n\na = 2\n", 3, "twice"),
        ("[train]\nx = 1\n[loss.a]\n[train]\ny = 1", 4, "[train] is there twice"),
        ('x = 1\ny = "abc\nz = 2\n', 2, "quote is opened but not closed"),
        ("x = 1\n[train\n", 2, "not TOML"),
        ("x = 1\nsteps 300\n", 2, "'=' is missing"),
        ("x = [1,\n2\n\n\n", 2, "not TOML"),
    ],
)
def test_a_syntax_error_names_its_line(text: str, line: int, part: str) -> None:
    with pytest.raises(ExperimentErrors) as caught:
        parse_toml(text, FILE)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("some.toml", line)
    assert part in str(problem)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("1e-3", 1e-3), ("true", True), ('"3"', "3"), ("[1, 2]", [1, 2]), ("{x = 1}", {"x": 1}), ("mlp", "mlp"),
     ("info-nce", "info-nce"), ("openai/clip-vit", "openai/clip-vit"), ("two words", "two words")],
)  # fmt: skip
def test_values_of_the_command_line(text: str, value: Any) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize("text", ["", "[1, 2", '"open', "a = b", "{x}", "1\ny = 2"])
def test_a_value_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="value"):
        parse_value(text)


def test_dotted_keys_of_the_command_line() -> None:
    assert parse_key('arm."a b".loss.0.weight') == ("arm", "a b", "loss", "0", "weight")
    with pytest.raises(ValueError, match="not a dotted key"):
        parse_key("a..b")


@pytest.mark.parametrize(
    "line",
    [
        f"x = {'[' * 5000}", f"x = {'[' * 5000}{']' * 5000}", f"x = {'{a = ' * 3000}1{'}' * 3000}",
        ".".join(["a"] * 10_000) + " = 1", f"[{'.'.join(['a'] * 10_000)}]", "[" + " . ".join(['"a b"'] * 100) + "]",
    ],
)  # fmt: skip
def test_what_nests_too_deeply_is_refused_at_its_line(line: str) -> None:
    with pytest.raises(ExperimentErrors) as caught:
        parse_toml(f"# nothing\ny = '[[['\n{line}\n", FILE)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("some.toml", 3)


def test_levels_up_to_the_bound_are_read_and_signs_in_texts_and_comments_do_not_count() -> None:
    levels = MOST_LEVELS
    assert parse_toml("x = " + "[" * levels + "]" * levels, FILE).data["x"]
    assert parse_toml("#" + "[" * 500 + "\nx = '" + "{" * 500 + "'\ny = \"" + "a." * 500 + '"', FILE).data["y"]
    with pytest.raises(ValueError, match="64"):
        parse_value("[" * 5000)
    with pytest.raises(ValueError, match="64"):
        parse_key(".".join("a" * 500))


def test_a_number_without_end_is_no_traceback() -> None:
    with pytest.raises(ExperimentErrors):
        parse_toml("x = " + "1" * 10_000, FILE)


def test_a_file_is_read_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "marked.toml"
    file.write_bytes(b"\xef\xbb\xbf# why\r\n[a]\r\nx = 1\r\n")
    read = read_toml(file)
    assert (read.data, read.comment, read.positions["a", "x"].line) == ({"a": {"x": 1}}, "why", 3)
    assert parse_toml("\ufeffx = 1", None).data == {"x": 1}


@pytest.mark.parametrize("kind", ["folder", "pipe", "large", "latin", "missing"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "odd.toml"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "large":
        file.write_bytes(b"#" * (MOST_BYTES + 1))
    elif kind == "latin":
        file.write_bytes(b"x = '\xe9'")
    with pytest.raises(TrialbookError, match=r"odd\.toml"):
        read_toml(file)
