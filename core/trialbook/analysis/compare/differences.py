"""Other differences between an arm and its baseline: all but those that the experiment named as its question."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialbook.analysis.selection import Facts, flatten
from trialbook.registry.query import Registry, Run

#: Parts of the environment that no result depends on.
_IGNORED = (
    "environment.git.untracked", "environment.git.branch", "environment.device.index", "environment.device.visible",
    "environment.variables.CUDA_VISIBLE_DEVICES", "environment.variables.SLURM_JOB_ID", "environment.variables.TRIALBOOK_RUNS",
)  # fmt: skip
#: How a run computes -> the key of ``[train]`` (or ``[evaluate]``) that asks for it, where that has another name.
_ASKED_BY = {"matmul_tf32": "matmul_precision", "cudnn_tf32": "matmul_precision"}
_COMPUTE = "environment.compute."
#: Facts of a component that are compared: where it is installed is another matter than what it is.
_PROVENANCE = ("target", "version", "commit", "dirty", "source")
#: Those that are the working copy's own, and so are said once, where the component stands in it.
_OF_COPY = ("commit", "dirty")

Sheet = dict[str, frozenset[str]]


@dataclass(frozen=True)
class Difference:
    """A key that differs, which nobody named.

    Args:
        key: ``train.lr``, ``environment.git.commit``, ``components.projector.image.source``, ``data.dataset.fingerprint``.
        arms: where it differs from the baseline; empty where it differs among the seeds of ``baseline``.
        baseline: the arm that they are compared with.
        before: values there.
        now: values in the arms.
    """

    key: str
    arms: tuple[str, ...]
    baseline: str
    before: tuple[Any, ...]
    now: tuple[Any, ...] = ()

    def __str__(self) -> str:
        if not self.arms:
            return f"{self.key} is mixed among the runs of {self.baseline}: {_shown(self.before)}"
        return f"{self.key}: {_shown(self.before)} in {self.baseline}, {_shown(self.now)} in {', '.join(self.arms)}"


class Sheets:
    """All that is known of how groups of runs were made, under dotted keys.

    Args:
        registry: where the documents are.
        facts: of the same registry.
    """

    def __init__(self, registry: Registry, facts: Facts) -> None:
        self._registry, self._facts = registry, facts
        self._flat: dict[tuple[str, int], dict[str, Any]] = {}

    def of(self, runs: Iterable[Run]) -> Sheet:
        """Every key with the values that it has among the runs, as JSON."""
        found: dict[str, set[str]] = {}
        distinct = {(run.plan, run.config, run.environment, run.components, run.data): run for run in runs}
        whole = [self._one(run) for run in distinct.values()]
        for key in {key for sheet in whole for key in sheet}:
            found[key] = {json.dumps(sheet.get(key), sort_keys=True) for sheet in whole}
        return {key: frozenset(values) for key, values in found.items()}

    def _one(self, run: Run) -> dict[str, Any]:
        around = self._flattened("environment", run.environment)
        parts = self._flattened("components", run.components)
        data = self._flattened("data", run.data)
        commit = around.get("environment.git.commit")

        def compared(key: str) -> bool:
            component, _, last = key.rpartition(".")
            return last in _PROVENANCE and (last not in _OF_COPY or parts.get(f"{component}.commit") != commit)

        return {
            "profile": self._registry.info(run).profile,
            **self._facts.config(run),
            **{key: value for key, value in around.items() if key not in _IGNORED},
            **{key: value for key, value in parts.items() if compared(key)},
            **{key: value for key, value in data.items() if key.startswith("data.dataset.")},
        }

    def _flattened(self, kind: str, number: int) -> dict[str, Any]:
        if (kind, number) not in self._flat:
            self._flat[kind, number] = flatten(self._registry.document(number), f"{kind}.")
        return self._flat[kind, number]


def find_differences(
    groups: Mapping[str, Sequence[Run]],
    baselines: Mapping[str, str],
    sheets: Sheets,
    named: Mapping[str, frozenset[str] | None],
) -> list[Difference]:
    """Find what differs between groups and their baselines, and what is mixed within a group.

    Args:
        groups: label to its runs.
        baselines: label to the label of its baseline, for those that have one.
        sheets: of the registry.
        named: label to the keys that the experiment named for it; where that is None, another ``use`` names its table.
    """
    made = {label: sheets.of(runs) for label, runs in groups.items()}
    found: dict[tuple[str, str, frozenset[str], frozenset[str]], list[str]] = {}
    for label, base in baselines.items():
        here, there = made[label], made[base]
        swapped = frozenset(k for k in here.keys() & there.keys() if k.endswith(".use") and here[k] != there[k])
        keys = frozenset().union(*(swapped if own is None else own for own in (named[label], named[base])))
        for key in sorted(here.keys() | there.keys()):
            before, now = there.get(key, frozenset({"null"})), here.get(key, frozenset({"null"}))
            if before != now and not is_named(key, keys) and not _asked_for(key, here, there):
                found.setdefault((key, base, before, now), []).append(label)
    different = [Difference(k, tuple(arms), base, _values(b), _values(n)) for (k, base, b, n), arms in found.items()]
    return different + _mixed(made)


def is_named(key: str, named: Iterable[str]) -> bool:
    """Return whether a key, or a table that it stands in, is among those that the experiment named.

    Naming a table's ``use`` names the table; naming anything of an array names the array; naming the dataset names its content.
    """
    plain = key.removeprefix("components.").removeprefix("data.")
    if key.startswith(_COMPUTE):
        return any(is_named(one, named) for one in _asking(key))
    for name in named:
        table, _, last = name.rpartition(".")
        prefix = table if last == "use" and table else name
        parts = prefix.split(".")
        if len(parts) > 1 and parts[1].isdigit():
            prefix = parts[0]
        if plain == prefix or plain.startswith(f"{prefix}.") or (key.startswith("data.") and parts[0] == "dataset"):
            return True
    return False


def _asking(key: str) -> tuple[str, ...]:
    """Keys of a configuration that ask for what a run recorded of its computing."""
    own = key.removeprefix(_COMPUTE)
    return tuple(f"{table}.{_ASKED_BY.get(own, own)}" for table in ("train", "evaluate"))


def _asked_for(key: str, here: Sheet, there: Sheet) -> bool:
    """Return whether a difference at this key only follows from a key of the configuration that differs too."""
    return key.startswith(_COMPUTE) and any(here.get(one) != there.get(one) for one in _asking(key))


def _mixed(made: Mapping[str, Sheet]) -> list[Difference]:
    found: dict[tuple[str, frozenset[str]], list[str]] = {}
    for label, sheet in made.items():
        for key, values in sheet.items():
            asked = key.startswith(_COMPUTE) and any(len(sheet.get(one, ())) > 1 for one in _asking(key))
            if len(values) > 1 and not asked:
                found.setdefault((key, values), []).append(label)
    ordered = sorted(found.items(), key=str)
    return [Difference(key, (), ", ".join(labels), _values(values)) for (key, values), labels in ordered]


def _values(texts: frozenset[str]) -> tuple[Any, ...]:
    return tuple(json.loads(text) for text in sorted(texts))


def _shown(values: Sequence[Any]) -> str:
    texts = ["not set" if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
    return " and ".join(text if len(text) <= 48 else f"{text[:12]}…" for text in texts)
