"""``mlrun plugins``: what is installed, what a component takes, a new plugin, a check of one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trialbook.cli.output import echo, echo_json, json_option
from trialbook.errors import printable

if TYPE_CHECKING:
    from trialbook.plugins.entrypoints import EntryPoint
    from trialbook.plugins.manager import PluginInfo, PluginManager, Registered
    from trialbook.plugins.schema import ComponentSchema


def open_host() -> PluginManager:
    """The plugins of this workplace, with those disabled whose commands are at fault."""
    from trialbook.cli.main import Commands
    from trialbook.config.settings import load_settings
    from trialbook.plugins.manager import PluginManager

    host = PluginManager.discover(load_settings().disabled_plugins)
    host.add_commands(Commands(PluginManager.from_modules({})))
    return host


@click.group()
def plugins() -> None:
    """List, show, make and check plugins."""


@plugins.command("list")
@json_option
def list_plugins(as_json: bool) -> None:
    """List plugins: version, where each is from, what it offers, or what is wrong with it."""
    host = open_host()
    rows = [_plugin_row(info, host.components()) for info in host.plugins]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        echo(f"{row['name']} {row['version'] or ''}  ({_origin(row)})")
        if row["error"]:
            echo(click.style(f"  disabled: {printable(row['error'])}", fg="red"), styled=True)
        for kind, names in row["components"].items():
            echo(f"  {kind:<10} {', '.join(names)}")


@plugins.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a component: what it does, its keys, where it is from.

    NAME is a name, kind:name, plugin:name or kind:plugin:name.
    """
    from trialbook.config.settings import load_settings
    from trialbook.plugins.provenance import provenance
    from trialbook.plugins.schema import SchemaBook

    host = open_host()
    registered = _find(host, name)
    schema = SchemaBook(host, load_settings().cache).of(registered)
    origin = provenance(registered)
    if as_json:
        described = {
            "kind": schema.kind, "name": schema.name, "plugin": schema.plugin, "summary": registered.summary,
            "doc": schema.doc, "keys": schema.json_schema, "injected": schema.injected,
            "injected_optional": schema.injected_optional,
            "attributes": schema.attributes, "provenance": origin,
        }  # fmt: skip
        echo_json(described)
        return
    echo(click.style(printable(f"{schema.kind} {schema.name}"), bold=True), styled=True)
    echo(f"\n{_without_args(schema.doc)}\n")
    _echo_rows("Keys", _key_rows(schema))
    _echo_rows("Injected by the task", [(one, "") for one in schema.injected + schema.injected_optional])
    _echo_rows("From", [(key, str(value)) for key, value in origin.items() if value is not None])


@plugins.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", help="Name of the plugin, in kebab-case; that of the directory if left out.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    default=["projector"],
    show_default=True,
    help="Kind of a component; may be repeated.",
)
def new(directory: Path, name: str | None, kinds: Sequence[str]) -> None:
    """Write a small plugin package into DIRECTORY: a component of each kind, tests, an entry point, workflows for GitHub.

    Kinds are task, dataset, encoder, projector, llm, decoder, probe, captioner, loss, metric, check, tracker, architecture and
    command.
    """
    from trialbook.plugins.scaffold import write_plugin

    files = write_plugin(directory, name or directory.absolute().name, kinds)
    for file in files:
        echo(f"wrote {file}")
    echo(f"now: pip install -e {directory} && python -m pytest {directory}")


@plugins.command()
@click.argument("package")
def check(package: str) -> None:
    """Check a plugin: its hooks, and the schemas of all that it offers.

    PACKAGE is a module to import, or the name of an installed plugin or distribution.
    """
    from tempfile import TemporaryDirectory

    from trialbook.cli.main import Commands
    from trialbook.plugins.manager import PluginManager
    from trialbook.plugins.schema import SchemaBook

    host = PluginManager()
    for point in _entry_points(package):
        host.load(point)
    host.add_commands(Commands(PluginManager.from_modules({})))
    wrong = 0
    with TemporaryDirectory() as cache:  # an empty one, so that everything is really loaded
        book = SchemaBook(host, Path(cache))
        for info in host.plugins:
            echo(f"plugin {info.name} {info.version or ''}: {info.error or ', '.join(info.hooks) or 'has no hooks'}")
            wrong += info.error is not None or not info.hooks
        for registered in host.components():
            complaints = _complaints(book, registered)
            wrong += len(complaints)
            echo(f"  {registered.kind} {registered.name}: {'; '.join(complaints) or 'ok'}")
    if wrong:
        echo(click.style(f"{wrong} found", fg="red"), err=True, styled=True)
        raise SystemExit(1)


def _plugin_row(info: PluginInfo, components: Sequence[Registered]) -> dict[str, Any]:
    from trialbook.plugins.provenance import installed_from

    origin, editable, _ = installed_from(info.distribution)
    offers: dict[str, list[str]] = {}
    for one in components:
        if one.plugin.name == info.name:
            offers.setdefault(one.kind, []).append(one.name)
    return {
        "name": info.name, "version": info.version, "distribution": info.distribution, "installed_from": origin,
        "editable": editable, "error": info.error, "hooks": info.hooks, "components": offers,
    }  # fmt: skip


def _origin(row: Mapping[str, Any]) -> str:
    words = [row["distribution"] or "not installed", "editable" if row["editable"] else "", row["installed_from"] or ""]
    return ", ".join(filter(None, words))


def _find(host: PluginManager, name: str) -> Registered:
    """The only component that ``name`` means, of whatever kind."""
    from trialbook.config.kinds import KINDS
    from trialbook.errors import TrialbookError
    from trialbook.plugins.manager import UnknownComponent

    kind, _, rest = name.partition(":")
    if rest and kind in KINDS:
        return host.find(kind, rest)
    plugin, _, bare = name.rpartition(":")
    offers = [one for one in host.components() if one.name == bare and plugin in ("", one.plugin.name)]
    if not offers:
        known = sorted({one.name for one in host.components()})
        raise UnknownComponent("component", name, known, [info for info in host.plugins if info.error])
    if len(offers) > 1:
        names = " or ".join(f"'{one.kind}:{one.plugin.name}:{one.name}'" for one in offers)
        raise TrialbookError(f"'{name}' may be {names}; say which")
    return offers[0]


def _key_rows(schema: ComponentSchema) -> list[tuple[str, str]]:
    """Key, and its type, default and description."""
    from trialbook.config.kinds import part_kind
    from trialbook.plugins.table_errors import describe, describe_literal

    rows = []
    for key, one in schema.json_schema["properties"].items():
        if "default" in one:
            default = "off" if one["default"] is None else f"default {describe_literal(one['default'])}"
        else:
            default = "required"
        rows.append((key, f"{describe(one)}, {default}. {one.get('description', '')}"))
    for part, declared in schema.attributes.get("parts", {}).items():
        kind, named = part_kind(declared)
        rows.append((part, f"nested {kind}s, each under a name of its own" if named else f"a nested {kind}"))
    return rows


def _echo_rows(title: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        formatter = click.HelpFormatter(width=min(110, shutil.get_terminal_size((110, 24)).columns))
        with formatter.section(title):
            formatter.write_dl(rows)
        echo(formatter.getvalue())


def _without_args(doc: str) -> str:
    """A docstring without its ``Args:`` section, which the table of keys replaces."""
    lines, inside = [], False
    for line in doc.splitlines():
        inside = line.startswith("Args:") or (inside and (not line or line.startswith(" ")))
        if not inside:
            lines.append(line)
    return "\n".join(lines).strip()


def _entry_points(package: str) -> list[EntryPoint]:
    from trialbook.plugins.entrypoints import EntryPoint, find_entry_points
    from trialbook.plugins.hookspec import ENTRY_POINT_GROUP

    def names(point: EntryPoint) -> set[str]:
        module = point.value.partition(":")[0]
        return {point.name, point.distribution or "", module, module.partition(".")[0]}

    found = [point for point in find_entry_points(ENTRY_POINT_GROUP) if package in names(point)]
    return found or [EntryPoint(package, package)]


def _complaints(book: Any, registered: Registered) -> list[str]:
    """List what is wrong with a component, as far as its constructor tells."""
    from trialbook.errors import TrialbookError

    try:
        schema = book.of(registered)
    except TrialbookError as error:
        return [str(error)]
    properties = schema.json_schema["properties"]
    complaints = [
        f"key '{key}' is not described in the docstring" for key in properties if not properties[key].get("description")
    ]
    return complaints if schema.doc else ["has no docstring", *complaints]
