"""The format of run directories, and records of earlier formats under the names of this one.

Format 1 has no ``format`` in ``run.json``. Its files are never rewritten: their names are mapped each time they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trialbook.config.renamed import GONE_KEYS, LOSS_VALUES, METRIC_VALUES, RENAMED_KEYS, TABLES
from trialbook.errors import TrialbookError

if TYPE_CHECKING:
    from trialbook.config.toml import KeyPath

#: Format of the run directories that this version writes.
FORMAT = 2


class NewerFormat(TrialbookError):
    """A run directory was written by a later version of the program."""


def format_of(facts: Mapping[str, Any] | None) -> int:
    """The format of a run directory, by the content of its ``run.json``."""
    return int((facts or {}).get("format") or 1)


def check_format(facts: Mapping[str, Any], name: str) -> None:
    """Refuse a run of a later format.

    Args:
        facts: content of its ``run.json``.
        name: of the run, for the message.
    Raises:
        NewerFormat: it is of one.
    """
    if (number := format_of(facts)) > FORMAT:
        raise NewerFormat(
            f"{name} was recorded by a newer trialbook (format {number}; this one reads up to {FORMAT}): update trialbook"
        )


def earlier_name(experiment: str) -> str:
    """The name that format 1 filed an experiment or a preparation under."""
    from trialbook.config.experiment import PREPARE  # late, as below: runs of this format need no renaming

    return f"step.{experiment.removeprefix(PREPARE)}" if experiment.startswith(PREPARE) else experiment


def rename_path(path: KeyPath) -> KeyPath:
    """Return where a key of a configuration of format 1 stands now."""
    at = 2 if path[0] == "stage" else 1
    if len(path) <= at or (new := RENAMED_KEYS.get((str(path[0]), str(path[at])))) is None:
        return path
    return (*path[:at], new, *path[at + 1 :])


def rename_key(dotted: str) -> str:
    """The same for a dotted key."""
    return ".".join(map(str, rename_path(tuple(dotted.split(".")))))


def rename_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of format 1 under the keys of now, without those that are gone."""
    from trialbook.config.variants import component_tables

    found = {
        table: [_rename_table(table, one) for one in content]
        if table == "stage"
        else _rename_table(table, content)
        if table in ("train", "checkpoint")
        else content
        for table, content in config.items()
    }
    for table in component_tables(config):
        for (component, key), _ in GONE_KEYS.items():
            if component == f"{table.kind} {table.use}" and key in table.content:
                found = _without(found, (*table.path, key))
    return found


def _rename_table(table: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {RENAMED_KEYS.get((table, key), key): value for key, value in content.items()}


def _without(tree: Any, path: KeyPath) -> Any:
    """A copy of nested tables and arrays without one key."""
    first, *rest = path
    if not rest:
        return {key: value for key, value in tree.items() if key != first}
    if isinstance(tree, list):
        return [_without(value, tuple(rest)) if at == first else value for at, value in enumerate(tree)]
    return {**tree, first: _without(tree[first], tuple(rest))}


@dataclass(frozen=True)
class Format1:
    """Maps what a run of format 1 recorded.

    Args:
        losses: names of its losses.
        values: name of a metric to the values of it that have other names now.
        labels: ``,old=`` to ``,new=`` of keys of its grid, as they stand in labels of arms.
    """

    losses: frozenset[str]
    values: Mapping[str, Mapping[str, str]]
    labels: Mapping[str, str]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Format1:
        """The mapping for a run, by the content of its ``run.json``."""
        from trialbook.config.variants import component_tables, label

        config, point = facts.get("config", {}), facts.get("point") or {}
        tables = list(component_tables(config))
        old, new = (label("", dict.fromkeys(keys, "")).split(",")[1:] for keys in (point, map(rename_key, point)))
        return cls(
            frozenset(table.name for table in tables if table.kind == "loss"),
            {table.name: METRIC_VALUES[str(table.use)] for table in tables if table.use in METRIC_VALUES},
            {f",{was}": f",{now}" for was, now in zip(old, new, strict=True) if was != now},
        )

    def metric(self, name: str) -> str:
        """The name of a metric now; a pattern (``loss/*``) may stand for it."""
        *split, value, owner = ("", *name.split("/")) if "/" in name else ("", "", name)
        if value in LOSS_VALUES and len(split) <= 2 and (owner in self.losses or "*" in owner):
            return "/".join((*split[1:], owner, value))
        for metric, renamed in self.values.items():
            if owner in renamed and metric in split:
                return "/".join((*split[1:], value, renamed[owner]))
        return name

    def label(self, text: str) -> str:
        """The label of an arm now."""
        for was, now in self.labels.items():
            text = text.replace(was, now)
        return text

    def line(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """A line of ``metrics.jsonl``."""
        return {**line, "values": self._named(line["values"])}

    def results(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Content of ``results.json``."""
        return {**results, "metrics": self._named(results["metrics"])} if "metrics" in results else dict(results)

    def evaluation(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Content of a file in ``evaluations/``."""
        named = {key: self._named(facts[key]) for key in ("figures", "recorded") if key in facts}
        return {**facts, **named, "differing": self._metrics(facts.get("differing", ()))}

    def run(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Content of ``run.json``."""
        found = {TABLES.get(key, key): value for key, value in facts.items()}
        mappings: dict[str, Callable[[Any], Any]] = {
            "config": rename_config, "point": _keys, "arm": self.label, "arms": lambda arms: [*map(self.label, arms)],
            "headline": self._metrics, "lower_is_better": self._metrics, "gates": self._tables, "claims": self._tables,
            "results": lambda wanted: {name: self.metric(one) for name, one in wanted.items()},
            "factors": lambda factors: [[rename_key(name), levels] for name, levels in factors],
            "changes": lambda changes: {arm: [*map(rename_key, keys)] for arm, keys in changes.items()},
            "external_baseline": lambda tables: {name: self._baseline(one) for name, one in tables.items()},
        }  # fmt: skip
        return {key: mappings[key](value) if key in mappings and value else value for key, value in found.items()}

    def _metrics(self, names: Sequence[str]) -> list[str]:
        return [self.metric(name) for name in names]

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {self.metric(name): value for name, value in values.items()}

    def _tables(self, tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Gates and claims."""
        change: dict[str, Callable[[Any], Any]] = {"metric": self.metric, "factor": rename_key}
        return [{key: change.get(key, _same)(value) for key, value in table.items()} for table in tables]

    def _baseline(self, table: Mapping[str, Any]) -> dict[str, Any]:
        renamed = _rename_table("external_baseline", table)
        return {**renamed, "values": self._named(renamed.get("values", {}))}


def _keys(values: Mapping[str, Any]) -> dict[str, Any]:
    return {rename_key(key): value for key, value in values.items()}


def _same(value: Any) -> Any:
    return value


def mapping_of(facts: Mapping[str, Any], name: str) -> Format1 | None:
    """Return how the records of a run are read; None where they have the names of now.

    Args:
        facts: content of its ``run.json``.
        name: of the run, for the message.
    Raises:
        NewerFormat: this version cannot read it.
    """
    check_format(facts, name)
    return Format1.of(facts) if format_of(facts) < FORMAT else None
