"""Names that tables, keys and metrics had in earlier versions, and what became of them.

Experiment files are answered with the new names; records of earlier versions are read under them (``config/run_format.py``).
"""

from __future__ import annotations

#: Top-level table of an experiment file to its new name.
TABLES = {"step": "prepare", "stated": "manual_score", "published": "external_baseline"}

#: Table and key to the key's new name.
RENAMED_KEYS = {
    ("train", "clip"): "max_grad_norm",
    ("train", "lr_scale"): "lr_multipliers",
    ("stage", "clip"): "max_grad_norm",
    ("stage", "lr_scale"): "lr_multipliers",
    ("checkpoint", "keep"): "keep_last",
    ("external_baseline", "figures"): "values",
}

#: Component (kind and name) and a key that it no longer has, to what does its work now.
GONE_KEYS = {
    ("task speed", "device"): "it is measured where the run computes ('device' in runner.toml)",
    ("metric pretrained-detection", "device"): "the metric computes where the run does",
}

#: Table (of a component: kind and name) and key to what a person who wrote it has to know.
KEYS: dict[tuple[str, str], str] = {
    **{(table, key): f"'{key}' is now '{new}'" for (table, key), new in RENAMED_KEYS.items()},
    **{(table, key): f"'{key}' is gone: {why}" for (table, key), why in GONE_KEYS.items()},
}

#: Key of ``runner.toml`` to its new name.
SETTINGS = {"leave_out": "disabled_plugins"}

#: Values of a loss that were recorded as ``VALUE/LOSS`` and are ``LOSS/VALUE`` now.
LOSS_VALUES = ("loss", "logit_scale", "logit_bias", "queue_filled", "excluded")

#: ``use`` of a metric to the last part of the names of its values, and what that is now.
METRIC_VALUES = {"modality-gap": {"matching": "positive", "other": "negative"}}
