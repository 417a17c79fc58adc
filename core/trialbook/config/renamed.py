"""Names that tables and keys had in earlier versions, and what became of them."""

from __future__ import annotations

#: Top-level table of an experiment file to its new name.
TABLES = {"step": "prepare", "stated": "manual_score", "published": "external_baseline"}

#: Table (of a component: kind and name) and key to what a person who wrote it has to know.
KEYS: dict[tuple[str, str], str] = {
    **{(table, "clip"): "'clip' is now 'max_grad_norm'" for table in ("train", "stage")},
    **{(table, "lr_scale"): "'lr_scale' is now 'lr_multipliers'" for table in ("train", "stage")},
    ("checkpoint", "keep"): "'keep' is now 'keep_last'",
    ("external_baseline", "figures"): "'figures' is now 'values'",
    ("task speed", "device"): "'device' is gone: it is measured where the run computes ('device' in runner.toml)",
    ("metric pretrained-detection", "device"): "'device' is gone: the metric computes where the run does",
}

#: Key of ``runner.toml`` to its new name.
SETTINGS = {"leave_out": "disabled_plugins"}
