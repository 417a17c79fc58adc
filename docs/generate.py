"""Writes docs/experiment-file.md: a hand-written introduction, then every table and key, from the schemas of what is offered.

    python docs/generate.py            write the page
    python docs/generate.py --check    exit status 1 if the page is out of date

Only the first-party plugin is asked, whatever else is installed, and nothing on the page depends on the machine.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import trialbook_plugins.plugin
from trialbook.config.kinds import ARRAYS, KINDS, NAMED, RESERVED, part_kind
from trialbook.config.numerics import OF_THE_RUN
from trialbook.config.options import CORE_TABLES
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import ComponentSchema, SchemaBook
from trialbook.plugins.signature import documented
from trialbook.plugins.table_errors import describe

DOCS = Path(__file__).parent
INTRO = DOCS / "_experiment-file-intro.md"
PAGE = DOCS / "experiment-file.md"

_NOTE = "<!-- Made by 'make docs' from _experiment-file-intro.md and the components' constructors. -->\n"
_TITLES = {"llm": "LLMs", "loss": "Losses"}
#: Core table -> the table whose keys it inherits, and which are not listed again.
_INHERITS = {"stage": "train"}
_CORE_ARRAYS = ("stage", "gate", "stated")
_CORE_EITHER = ("claim", "decision")
_CORE_NAMED = ("published",)
#: Words of ``Task.takes``.
_TAKES = {"one": "one", "optional": "one or none", "many": "any number", "named": "any number, named",
          "modality": "one for each modality"}  # fmt: skip
_SECTION = re.compile(r"^(Args|Arguments|Attributes|Raises|Returns|Source):", re.MULTILINE)


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the page is out of date")
    arguments = parser.parse_args()
    page = make_page()
    if not arguments.check:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
        sys.exit(f"docs/{PAGE.name} is out of date: run 'make docs'")


def make_page() -> str:
    """The whole page."""
    with tempfile.TemporaryDirectory() as cache:
        book = SchemaBook(PluginManager.from_modules({"trialbook": trialbook_plugins.plugin}), Path(cache))
        sections = [_core_section(book), *(_kind_section(kind, book) for kind in KINDS)]
    return "\n".join([_NOTE, INTRO.read_text(encoding="utf-8").rstrip(), "", *sections]).rstrip() + "\n"


def _core_section(book: SchemaBook) -> str:
    lines = ["## Tables of the runner", ""]
    for name in CORE_TABLES:
        schema = book.core(name)
        above = book.core(_INHERITS[name]).json_schema["properties"] if name in _INHERITS else {}
        title = (
            f"`[[{name}]]`" if name in _CORE_ARRAYS else f"`[{name}.NAME]`" if name in _CORE_NAMED else f"`[{name}]`"
        )
        title += f" or `[[{name}]]`" if name in _CORE_EITHER else ""
        lines += [f"### {title}", "", *_prose(schema.doc), *_key_table(schema, leave_out=above), ""]
        if above:
            lines += [
                f"And every key of `[{_INHERITS[name]}]` but {_names(OF_THE_RUN)}, which hold for the whole run.",
                "",
            ]
    return "\n".join(lines)


def _kind_section(kind: str, book: SchemaBook) -> str:
    offered = [book.of(registered) for registered in book.host.components(kind)]
    header = f"[[{kind}]]" if kind in ARRAYS else f"[{kind}.NAME]" if kind in NAMED else f"[{kind}]"
    lines = [f"## {_TITLES.get(kind, f'{kind.capitalize()}s')}", ""]
    lines += [f"`{header}`. Keys of every such table, whatever it uses:", "", *_reserved_table(kind), ""]
    if not offered:
        lines += ["None comes with the runner; plugins may offer some.", ""]
    for schema in offered:
        lines += [f"### {kind} `{schema.name}`", "", *_prose(schema.doc), *_facts(schema), *_key_table(schema), ""]
        lines += _source(schema.doc)
    return "\n".join(lines)


def _reserved_table(kind: str) -> list[str]:
    rows = [
        (f"`{key}`", _type(one), _default(one, required=key == "use"), one.get("description", ""))
        for key, one in RESERVED[kind].items()
    ]
    return _table(rows)


def _key_table(schema: ComponentSchema, leave_out: Iterable[str] = ()) -> list[str]:
    """The keys of a table, nested components included; keys that must be given come first."""
    own, texts = schema.json_schema, documented(schema.doc)
    rows = [
        (f"`{key}`", _type(one), _default(one, required=key in own["required"]), one.get("description", ""))
        for key, one in own["properties"].items()
        if key not in leave_out
    ]
    for part, declared in schema.attributes.get("parts", {}).items():
        kind, named = part_kind(declared)
        what = (
            f"{kind}s under names: each its table, or its name alone"
            if named
            else f"a {kind}: its table, or its name alone"
        )
        default = "**required**" if part in schema.wired else "left out"
        rows.insert(0, (f"`{part}`", what, default, texts.get(part, "")))
    rows.sort(key=lambda row: row[2] != "**required**")
    return _table(rows) if rows else ["It has no keys of its own."]


def _table(rows: Iterable[tuple[str, str, str, str]]) -> list[str]:
    lines = ["| key | type | default | description |", "|---|---|---|---|"]
    return lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]


def _cell(text: str) -> str:
    return _code(text).replace("|", "\\|")


def _type(schema: Mapping[str, Any]) -> str:
    """What a key takes; choices as they are written in a file."""
    return re.sub(r"'([^']*)'", r'`"\1"`', describe(schema))


def _default(schema: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "**required**"
    value = schema.get("default")
    return "left out" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    """A value as it is written in a file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list | tuple) else str(value)


def _facts(schema: ComponentSchema) -> list[str]:
    """What a component needs, provides and records, a line each."""
    have = schema.attributes
    modalities = have.get("modalities")
    if isinstance(modalities, Mapping):
        modalities = ", ".join(f"`{name}` ({kind})" for name, kind in modalities.items())
    elif modalities is not None:
        modalities = f"the keys of `{modalities}`"
    takes = ", ".join(f"{kind} ({_TAKES.get(how, how)})" for kind, how in have.get("takes", {}).items())
    lines = [
        ("Modalities", modalities), ("Takes", takes), ("Reads", ", ".join(have.get("accepts", ()))),
        ("Needs from the task", _names(have.get("needs", ()))), ("Gives losses and metrics", _names(have.get("provides", ()))),
        ("Records", _names(_recorded(schema, "produces"))),
        ("Better when lower", _names(_recorded(schema, "lower_is_better")) if schema.kind == "metric" else None),
    ]  # fmt: skip
    found = [f"- {what}: {text}" for what, text in lines if text]
    return [*found, ""] if found else []


def _recorded(schema: ComponentSchema, attribute: str) -> list[str]:
    """Names of figures as they stand in records."""
    produced = schema.attributes.get(attribute, ())
    if schema.kind == "metric":
        return [f"{schema.name}/{name}" for name in produced]
    if schema.kind == "loss":
        return [f"{schema.name}/loss", *(f"{schema.name}/{name}" for name in produced)]
    return list(produced)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _prose(doc: str) -> list[str]:
    """The docstring up to its first section, a line a paragraph."""
    end = _SECTION.search(doc)
    paragraphs = doc[: end.start() if end else None].strip().split("\n\n")
    return [line for paragraph in paragraphs for line in (_code(" ".join(paragraph.split())), "")]


def _source(doc: str) -> list[str]:
    """The ``Source:`` section, if there is one."""
    found = re.search(r"^Source:(.*?)(?=^\w+:|\Z)", doc, re.MULTILINE | re.DOTALL)
    return [f"Source: {_code(' '.join(found[1].split()))}", ""] if found else []


def _code(text: str) -> str:
    """Markdown's code for that of docstrings."""
    return text.replace("``", "`")


if __name__ == "__main__":
    main()
