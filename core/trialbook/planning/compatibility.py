"""Checks that the parts of a resolved configuration fit one another: task, data, losses, metrics, stages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from trialbook.config.kinds import ARRAYS, KINDS, NAMED
from trialbook.config.options import EvaluateOptions, TrainOptions
from trialbook.config.toml import KeyPath
from trialbook.config.variants import component_tables
from trialbook.contracts.metric_names import expand_produces
from trialbook.contracts.records import answer_name, curve_name
from trialbook.planning.components import ComponentCheck, TableReport
from trialbook.plugins.schema import ComponentSchema

#: Metrics that the engine records of every training run.
ENGINE_FIGURES = ("loss", "lr", "grad_norm")


class CompatibilityCheck:
    """Checks one configuration whose single tables have been checked.

    Args:
        tables: the check of its tables, with the schemas that it found.
        report: takes the problems.
    """

    def __init__(self, tables: ComponentCheck, report: TableReport) -> None:
        self.report, self.schemas, self.unsound = report, tables.schemas, tables.unsound
        self.data = report.document.data
        self.tables = list(component_tables(self.data))
        self.misnamed = False  # whether a table has the name of no modality
        self.task = self.schemas.get(("task",))
        self.takes: Mapping[str, str] = self.task.attributes.get("takes", {}) if self.task else {}

    def check(self) -> None:
        """Check everything that needs more than one table."""
        self.kinds()
        self.modalities_of_parts()
        self.names()
        self.needs()
        self.patterns()
        self.doubtful()

    # --- the task and what it takes ---------------------------------------------------------------------------------

    def kinds(self) -> None:
        """Tables that the task does not take or cannot do without."""
        if "task" not in self.data:
            self.missing("task", (), "the file has no [task]; every experiment names one")
            return
        if self.task is None:
            return
        for kind in KINDS:
            present = bool(self.data.get(kind))
            if present and kind != "task" and kind not in self.takes:
                taken = ", ".join(self.takes)
                self.report.add(self.first(kind), (), f"task '{self.task.name}' takes no {kind}; it takes {taken}")
            elif not present and self.takes.get(kind) == "one":
                self.missing(kind, ("task",), f"task '{self.task.name}' needs a [{kind}], which is not in the file")
            elif self.takes.get(kind) == "one" and kind in NAMED and len(self.data[kind]) > 1:
                self.report.add(self.first(kind), (), f"task '{self.task.name}' takes one {kind}, not several")
        self.training()

    def training(self) -> None:
        """A task that trains and is not told how long, and one that is told and trains nothing."""
        if self.task is None:
            return
        told = [name for name in ("train", "stage") if self.data.get(name)]
        trains = self.task.attributes.get("trains")
        if not told and self.data.get("loss") and "loss" in self.takes:
            self.missing("train", ("loss", 0), "there are losses, but no [train] says how long to minimise them")
        elif not told and trains:
            self.missing("train", ("task",), f"task '{self.task.name}' trains, but no [train] says how long")
        for name in told if trains is False else ():
            path: KeyPath = (name,) if name == "train" else (name, 0)
            self.report.add(path, (), f"task '{self.task.name}' has nothing to train: leave [{name}] out")
        if told and not self.unsound & {("dataset",), ("train",)}:
            self.batches()

    def batches(self) -> None:
        """Batches larger than the training samples, where the options of the dataset say how many there are."""
        schema = self.schemas.get(("dataset",))
        counted = schema.attributes.get("counted", {}) if schema else {}
        samples = self.options(("dataset",)).get(counted["train"]) if "train" in counted else None
        base = self.data.get("train", {}).get("batch_size", TrainOptions.batch_size)
        stages: list[tuple[KeyPath, Mapping[str, Any]]] = [
            (("stage", number), stage) for number, stage in enumerate(self.data.get("stage", []))
        ]
        for path, table in stages or [(("train",), {})]:
            size = table.get("batch_size", base)
            if isinstance(samples, int) and path not in self.unsound and size > samples:
                place = path if "batch_size" in table else ("train",)
                key = ("batch_size",) if (*place, "batch_size") in self.report.document.positions else ()
                told = f"batch_size ({size}) is larger than the {samples} training samples of [dataset]"
                self.report.add(place, key, told)

    def missing(self, table: str, near: KeyPath, message: str) -> None:
        """A table that is not there, unless one of the problems is probably its misspelt name."""
        if table not in self.report.problems.lost:
            self.report.add(near[:1], near[1:], message)

    def first(self, kind: str) -> KeyPath:
        """Path of the first table of a kind."""
        return next(table.path for table in self.tables if table.kind == kind)

    # --- modalities -------------------------------------------------------------------------------------------------

    def data_modalities(self) -> dict[str, str | None] | None:
        """Modalities of the dataset and their kinds (None where not known); None if they cannot be known."""
        schema = self.schemas.get(("dataset",))
        declared = schema.attributes.get("modalities") if schema else None
        if isinstance(declared, dict):
            return dict(declared)
        given = self.options(("dataset",)).get(declared) if isinstance(declared, str) else None
        return dict.fromkeys(given) if isinstance(given, dict | list) else None

    def modalities_of_parts(self) -> None:
        """Tables named after a modality that the data do not have, or whose encoder cannot read it."""
        known = self.data_modalities()
        if known is None:
            return
        for table in self.tables:
            if self.takes.get(table.kind) != "modality":
                continue
            if table.name not in known:
                self.misnamed = True
                message = f"unknown modality '{table.name}'; the dataset has {', '.join(known)}"
                self.report.add(table.path, (), message, word=table.name, known=known)
                continue
            schema, kind = self.schemas.get(table.path), known[table.name]
            accepted = schema.attributes.get("accepts") if schema else None
            if accepted and kind is not None and kind not in accepted:
                reads = " or ".join(accepted)
                message = f"{table.kind} '{table.use}' reads {reads}, but modality '{table.name}' is of kind {kind}"
                self.report.add(table.path, ("use",), message)

    def modalities(self) -> list[str]:
        """The modalities that the task works on: those with an encoder, or else all of the data."""
        if self.takes.get("encoder") == "modality":
            return [str(name) for name in self.data.get("encoder", {})]
        return list(self.data_modalities() or {})

    # --- losses and metrics -----------------------------------------------------------------------------------------

    def names(self) -> None:
        """Two losses or two metrics of one name."""
        for kind in ARRAYS:
            seen: set[str] = set()
            for table in (table for table in self.tables if table.kind == kind and table.use):
                if table.name in seen:
                    key = "name" if "name" in table.content else "use"
                    message = (
                        f"two {'losses' if kind == 'loss' else 'metrics'} are called '{table.name}'; give one a 'name'"
                    )
                    self.report.add(table.path, (key,), message)
                seen.add(table.name)

    def needs(self) -> None:
        """Losses and metrics that the task cannot feed."""
        if self.task is None:
            return
        provided = self.task.attributes.get("provides", [])
        for path, schema in self.schemas.items():
            if schema.kind not in self.takes:
                continue
            if lacking := [need for need in schema.attributes.get("needs", []) if need not in provided]:
                wants = " and ".join(f"'{need}'" for need in lacking)
                task = f"task '{self.task.name}' does not provide; it provides {', '.join(provided) or 'nothing'}"
                self.report.add(path, ("use",), f"{schema.kind} '{schema.name}' needs {wants}, which {task}")

    def figures(self) -> list[str] | None:
        """Names of all that the run will record, the answer's first; None if a mistake leaves them unknown.

        Where a mistake leaves a part of a name unknown, ``*`` stands for it.
        """
        metrics = [table for table in self.tables if table.kind == "metric"]
        losses = [table for table in self.tables if table.kind == "loss"]
        if self.task is None or self.report.problems.lost.intersection(KINDS):
            return None
        if any(table.path not in self.schemas and "name" not in table.content for table in (*metrics, *losses)):
            return None
        evaluated: list[str] = []
        for table in metrics:
            schema = self.schemas.get(table.path)
            evaluated += [f"{table.name}/{figure}" for figure in (self.expand(schema, table.path) if schema else ["*"])]
        evaluated += self.expand(self.task, ("task",))
        trained = [*ENGINE_FIGURES, *(f"{table.name}/loss" for table in losses)]
        for table in losses:
            trained += [f"{table.name}/{figure}" for figure in self.reported(table.path)]
        return list(dict.fromkeys([*self.recorded(evaluated), *trained]))

    def reported(self, path: KeyPath) -> list[str]:
        """Names of what a loss reports beside its value, those of the losses in it included."""
        inside = [schema for at, schema in self.schemas.items() if at[: len(path)] == path]
        unknown = ["*"] if any(at[: len(path)] == path for at in self.unsound) else []
        return [*(figure for schema in inside for figure in schema.attributes.get("produces", [])), *unknown]

    def lower_is_better(self) -> list[str]:
        """Names of the metrics that are declared to be better when lower."""
        tables = [t for t in self.tables if t.kind == "metric" and t.path in self.schemas]
        names = [
            f"{t.name}/{name}" for t in tables for name in self.expand(self.schemas[t.path], t.path, "lower_is_better")
        ]
        if self.task is not None:
            names += self.expand(self.task, ("task",), "lower_is_better")
        return self.recorded(names)

    def recorded(self, figures: Sequence[str]) -> list[str]:
        """Names under which evaluated metrics are recorded: as answers, then as curves."""
        table = self.data.get("evaluate", {})
        if ("evaluate",) in self.unsound:
            return [*figures, *(f"*/{name}" for name in figures)]
        final, split = str(table.get("final", EvaluateOptions.final)), str(table.get("split", EvaluateOptions.split))
        return [*(answer_name(final, name) for name in figures), *(curve_name(split, name) for name in figures)]

    def expand(self, schema: ComponentSchema, path: KeyPath, attribute: str = "produces") -> list[str]:
        """Names that a component's ``produces``, or another attribute with such templates, stands for."""
        losses = [table.name for table in self.tables if table.kind == "loss"]
        templates = schema.attributes.get(attribute, [])
        if path in self.unsound:
            templates = [re.sub(r"\{[\w.]+\}", "*", one) for one in templates]
        elif self.misnamed or (("dataset",) in self.unsound and not self.modalities()):
            templates = [re.sub(r"\{(pair|couple|modality)\}", "*", one) for one in templates]
        return list(expand_produces(templates, self.options(path), self.modalities(), losses, self.probed(path)))

    def probed(self, path: KeyPath) -> list[str]:
        """Names of the metrics of all probes, for the task that uses them."""
        if path != ("task",):
            return []
        named: list[str] = []
        for table in (table for table in self.tables if table.kind == "probe"):
            schema = self.schemas.get(table.path)
            named += [f"{table.name}/{figure}" for figure in (self.expand(schema, table.path) if schema else ["*"])]
        return named

    def options(self, path: KeyPath) -> dict[str, Any]:
        """Options of a component, defaults included."""
        table = next(table for table in self.tables if table.path == path)
        return {**self.schemas[path].defaults(), **table.content}

    def doubts(self) -> dict[str, str]:
        """Patterns of metrics that the task or a probe says no conclusion may stand on, and why."""
        found: dict[str, str] = dict(self.task.attributes.get("doubtful", {})) if self.task else {}
        patterns = {"task": "*", "probe": "*/{name}/*"}
        for table in self.tables:
            if table.kind in patterns and table.path in self.schemas:
                options = self.options(table.path)
                for key, reasons in self.schemas[table.path].attributes.get("doubtful_when", {}).items():
                    if (why := reasons.get(str(options.get(key)))) is not None:
                        found[patterns[table.kind].format(name=table.name)] = why
        return found

    def doubtful(self) -> None:
        """Gates on such metrics."""
        experiment, warned = self.report.experiment, self.doubts()
        for index, gate in enumerate(experiment.gates):
            for pattern, why in warned.items():
                if fnmatchcase(str(gate.get("metric")), pattern):
                    place = experiment.place("gate", index, "metric")
                    self.report.problems.add(place, "gate", f"'{gate['metric']}' decides nothing: {why}")

    # --- patterns of parts ------------------------------------------------------------------------------------------

    def patterns(self) -> None:
        """Patterns of ``train`` and ``lr_multipliers`` that fit no part; not where a part's own name is in doubt."""
        doubtful = any(table.path not in self.schemas for table in self.tables)
        if doubtful or self.misnamed or self.report.problems.lost.intersection(KINDS):
            return
        parts = [table.part for table in self.tables if table.kind not in ("task", "dataset", "metric")]
        stages = self.data.get("stage", [])
        for index, stage in enumerate(stages):
            trained = stage.get("train", [])
            for number, pattern in enumerate(trained if isinstance(trained, list) else []):
                self.pattern(("stage", index), ("train", number), pattern, parts)
            self.scales(("stage", index), stage, parts)
        self.scales(("train",), self.data.get("train", {}), parts)

    def scales(self, path: KeyPath, table: Mapping[str, Any], parts: list[str]) -> None:
        """The patterns in ``lr_multipliers``."""
        scales = table.get("lr_multipliers", {})
        for pattern in scales if isinstance(scales, dict) else {}:
            self.pattern(path, ("lr_multipliers", pattern), pattern, parts)

    def pattern(self, path: KeyPath, key: KeyPath, pattern: Any, parts: list[str]) -> None:
        """One pattern."""
        if isinstance(pattern, str) and not any(may_match(pattern, part) for part in parts):
            kinds = dict.fromkeys(f"{part.partition('.')[0]}.*" for part in parts if "." in part)
            message = f"pattern '{pattern}' fits no part; there are {', '.join(parts)}"
            self.report.add(path, key, message, word=pattern, known=[*parts, *kinds])


def may_match(pattern: str, part: str) -> bool:
    """Return whether a pattern of parameter names can fit a parameter of ``part``, as far as names are known without it."""
    if fnmatchcase(part, pattern) or fnmatchcase(f"{part}.", pattern):
        return True
    return all(fnmatchcase(name, piece) for name, piece in zip(part.split("."), pattern.split("."), strict=False))
