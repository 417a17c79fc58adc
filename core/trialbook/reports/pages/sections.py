"""Sections that pages of runs and of experiments share: setup, findings, provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trialbook.analysis.compare.findings import ArmFinding
from trialbook.analysis.compare.metrics import trained_by_part
from trialbook.contracts.files import read_text
from trialbook.contracts.findings import Finding
from trialbook.registry.ranks import processes_of
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.document.blocks import Block, Code, Notice, TableBlock, Text
from trialbook.reports.tables import Column, show_evidence, show_value

#: Keys of ``[train]`` and ``[[stage]]`` that a reader asks for first.
_TRAINING = (
    "name",
    "steps",
    "epochs",
    "batch_size",
    "lr",
    "schedule",
    "warmup",
    "weight_decay",
    "max_grad_norm",
    "accumulate",
    "precision",
    "matmul_precision",
    "deterministic",
)
#: Longest list or mapping that is written out in an evidence.
_LONGEST = 160


def setup_facts(config: Mapping[str, Any]) -> dict[str, Text]:
    """Describe what a run is made of and how it is trained, from its resolved tables."""
    found: dict[str, Text] = {}
    for name, table in config.items():
        if isinstance(table, Mapping) and "use" in table:
            found[name] = Code(table["use"])
        elif (
            isinstance(table, Mapping)
            and table
            and all(isinstance(one, Mapping) and "use" in one for one in table.values())
        ):
            for part, one in table.items():
                found[f"{name}, {part}"] = [Code(one["use"]), " (frozen)" if one.get("frozen") else ""]
        elif isinstance(table, list) and table and all("use" in one for one in table if isinstance(one, Mapping)):
            found[name] = ", ".join(str(one["use"]) for one in table)
    stages = config.get("stage") or ([config["train"]] if config.get("train") else [])
    said = ["; ".join(f"{key} {show_option(one[key])}" for key in _TRAINING if key in one) for one in stages]
    found |= {f"stage {i}" if len(said) > 1 else "training": text for i, text in enumerate(said, start=1)}
    return found if stages else {**found, "training": "none: nothing is trained"}


def show_option(value: Any) -> str:
    """A value of a configuration: floats as they were written, lists and tables as JSON."""
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def overlap_sentence(overlap: Mapping[str, Any] | str) -> str:
    """An entry of ``overlaps`` in ``data.json`` in words; runs of older versions have the words themselves."""
    if isinstance(overlap, str):
        return overlap
    return "{count} rows of '{modality}' stand in '{first}' and '{second}'".format_map(overlap)


def data_facts(data: Mapping[str, Any]) -> dict[str, Text]:
    """Splits, what stands in two of them, and the fingerprint."""
    dataset = data.get("dataset") or {}
    found: dict[str, Text] = {}
    if splits := dataset.get("splits"):
        found["splits"] = ", ".join(f"{name} {size:,}" for name, size in splits.items())
    if overlaps := data.get("overlaps"):
        found["in two splits"] = "; ".join(map(overlap_sentence, overlaps))
    if "fingerprint" in dataset:
        found["fingerprint of the data"] = Code(str(dataset["fingerprint"]))
    return found


def finding_notice(finding: Finding | ArmFinding, place: str = "") -> Notice:
    """A finding of the doctor: its message, where it holds, its numbers, what to try.

    Args:
        finding: of a run or of an arm.
        place: which runs have it, where that must be said.
    """
    details: dict[str, Text] = {}
    if finding.component:
        details["component"] = Code(finding.component)
    if place:
        details["in"] = place
    if finding.evidence:
        details["evidence"] = "; ".join(
            f"{name} {show_evidence(value, _LONGEST)}" for name, value in finding.evidence.items()
        )
    if finding.advice:
        details["try"] = finding.advice
    message = finding.sentence if isinstance(finding, ArmFinding) else finding.message
    return Notice(finding.severity, f"{message} ({finding.check})", details)


def environment_facts(around: Mapping[str, Any]) -> dict[str, Text]:
    """Commit, hardware, how numbers were computed, versions, from ``env.json``."""
    hardware, git, platform = (around.get(name) or {} for name in ("hardware", "git", "platform"))
    changed = " with changes (dirty.patch)" if git.get("dirty") else ""
    facts: dict[str, Any] = {
        "commit": [Code(git["commit"]), changed] if git.get("commit") else "not under version control",
        "processor": f"{hardware['cpu']}, {hardware.get('threads')} threads" if hardware.get("cpu") else None,
        "device": device_sentence(around),
        "numbers": numerics_sentence(around.get("compute") or {}),
        "processes": f"{several}, each with batch_size samples of a step" if (several := processes_of(around)) > 1 else None,
        "system": platform.get("os"), "Python": platform.get("python"),
        "versions": ", ".join(f"{name} {version}" for name, version in (around.get("versions") or {}).items()),
    }  # fmt: skip
    return {name: value if isinstance(value, list) else show_value(value) for name, value in facts.items() if value}


def device_sentence(around: Mapping[str, Any]) -> str:
    """The device that a run computed on; of a run of an older version the GPUs that there were."""
    device, processes = around.get("device") or {}, (around.get("compute") or {}).get("processes", 1)
    if not device:
        return ", ".join((around.get("hardware") or {}).get("gpus") or ())
    said = str(device.get("name") or device["type"])
    if device.get("memory"):
        said += f", {device['memory'] / 2**30:.0f} GiB"
    versions = (("CUDA", "cuda"), ("cuDNN", "cudnn"), ("driver", "driver"))
    said += "".join(f", {name} {device[key]}" for name, key in versions if device.get(key))
    return said + (f", {processes} processes" if processes > 1 else "")


def numerics_sentence(compute: Mapping[str, Any]) -> str:
    """Say how numbers were computed; empty where it was not recorded."""
    named = (("precision", "precision"), ("matrix products", "matmul_precision"))
    said = [f"{name} {compute[key]}" for name, key in named if key in compute]
    said += ["TF32"] * bool(compute.get("matmul_tf32") or compute.get("cudnn_tf32"))
    said += [key.replace("_", " ") for key in ("deterministic", "cudnn_benchmark") if compute.get(key)]
    return ", ".join(said)


def component_grid(
    components: Mapping[str, Mapping[str, Any]], data: Mapping[str, Any], config: Mapping[str, Any]
) -> list[Block]:
    """Return where each part comes from, how large it is, and whether it is trained."""
    sizes, frozen = data.get("parameters") or {}, set(data.get("frozen") or ())
    learning = trained_by_part(data, config)
    names = ("part", "component", "parameters", "trained", "plugin", "version", "commit", "source")
    columns = [Column(name, right=name == "parameters") for name in names]
    rows: list[list[Text]] = []
    for part, one in components.items():
        size = sizes.get(part)
        trained = "no, frozen" if part in frozen else "–" if not size else "yes" if learning.get(part) else "no"
        where = [f"{size:,}" if size else "–", trained, show_value(one.get("plugin")), show_value(one.get("version"))]
        rows.append(
            [part, Code(show_value(one.get("target"))), *where, _short(one.get("commit")), _short(one.get("source"))]
        )
    return [TableBlock("Parts and where they come from", columns, rows)] if rows else []


def session_sentence(sessions: Sequence[Mapping[str, Any]]) -> str:
    """Say when a run was worked at, and whether it was killed on the way."""
    if not sessions:
        return "never"
    ends = [one.get("ended") for one in sessions]
    killed = sum(bool(one.get("killed")) for one in sessions)
    hosts = ", ".join(dict.fromkeys(str(one["host"]) for one in sessions if one.get("host")))
    said = f"{sessions[0].get('started')} to {ends[-1] or 'now'}"
    said += f", on {hosts}" if hosts else ""
    return said + (f", in {len(sessions)} sessions, {killed} of which were killed" if len(sessions) > 1 else "")


def config_text(run: RunDirectory) -> str:
    """The resolved configuration as it lies there; empty where it is gone."""
    return read_text(run.config, errors="replace") or ""


def _short(value: Any) -> Text:
    return Code(value[:12]) if isinstance(value, str) else "–"
