"""Checks of datasets."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from trialbook.contracts.datasets import Modality, Split, find_overlaps
from trialbook.testing.common import Subject, ensure, same
from trialbook.testing.devices import on_device


def check_dataset(subject: Subject) -> None:
    """Splits that keep the protocol, read the same in any order, share nothing, and have one fingerprint."""
    name = subject.name
    dataset, twin = subject.make(), subject.make(seed=1)
    kinds = _declared(subject)
    splits = dict(dataset.splits())
    ensure(next(iter(splits), None) == "train", f"the first split of {name} must be 'train', not {list(splits)}")
    for label, split in splits.items():
        ensure(
            isinstance(split, Split), f"split '{label}' of {name} lacks a part of trialbook.contracts.datasets.Split"
        )
        ensure(split.name == label, f"split '{label}' of {name} calls itself '{split.name}'")
        ensure(len(split) > 0, f"split '{label}' of {name} is empty; leave it out of splits()")
        for modality, kind in kinds.items():
            described = dataset.describe(modality)
            if kind is not None:
                ensure(
                    described.kind == kind,
                    f"{name} declares '{modality}' as {kind} but describes it as {described.kind}",
                )
            _check_split(f"'{label}' of {name}", split, modality, described)
            rows = np.arange(min(4, len(split.groups(modality))))
            other = twin.splits()[label]
            ensure(
                same(split.read(modality, rows), other.read(modality, rows)), f"two instances of {name} read other rows"
            )
    with on_device(subject):
        for label, split in splits.items():
            for modality in kinds:
                rows = np.arange(min(2, len(split.groups(modality))))
                again = twin.splits()[label].read(modality, rows)
                ensure(same(split.read(modality, rows), again), f"{name} reads other rows beside a CUDA device")
    overlaps = find_overlaps(splits, kinds) if not subject.all_options.get("allow_overlap") else []
    ensure(not overlaps, f"splits of {name} share content: {overlaps[:1]}")
    fingerprint = dataset.fingerprint
    ensure(
        re.fullmatch("[0-9a-f]{64}", fingerprint), f"the fingerprint of {name} must be 64 hex digits: {fingerprint!r}"
    )
    ensure(fingerprint == twin.fingerprint, f"two instances of {name} with the same options have other fingerprints")


def _declared(subject: Subject) -> dict[str, str | None]:
    """Modality name to declared kind, or to None where the options name the modalities."""
    declared = getattr(subject.cls, "modalities", None)
    if isinstance(declared, str):
        named = subject.options.get(declared)
        ensure(named, f"give the option '{declared}', whose keys are the modalities of {subject.name}")
        return dict.fromkeys(named or ())
    ensure(declared, f"{subject.name}.modalities must map modality names to kinds, or name the option that does")
    return dict(declared or {})


def _check_split(label: str, split: Split, modality: str, described: Modality) -> None:
    groups = split.groups(modality)
    _check_groups(label, groups, len(split), modality)
    content = split.content(modality)
    ensure(
        len(content) == len(groups), f"split {label} has {len(groups)} rows of '{modality}' but {len(content)} hashes"
    )
    order = np.random.default_rng(0).permutation(len(groups))[:8]
    together = split.read(modality, order)
    ensure(len(together) == len(order), f"split {label} reads {len(together)} rows of '{modality}' for {len(order)}")
    for place, row in enumerate(order):
        alone = split.read(modality, np.array([row]))
        ensure(
            same(together[place], alone[0]), f"row {row} of '{modality}' of split {label} depends on the batch it is in"
        )
        _check_row(label, together[place], modality, described)
    try:
        split.labels("no such annotation")
    except KeyError:
        return
    raise AssertionError(f"split {label} must raise KeyError for an annotation that it does not have")


def _check_groups(label: str, groups: Any, length: int, modality: str) -> None:
    """The group of each row is one of as many groups as the split is long, and there are rows enough to be told apart."""
    is_array = isinstance(groups, np.ndarray) and groups.dtype == np.int64 and groups.ndim == 1
    ensure(
        is_array, f"groups('{modality}') of split {label} must be a NumPy array, int64 [R], not {_described(groups)}"
    )
    ensure(
        len(groups) > 1,
        f"split {label} has {len(groups)} row of '{modality}': give options that make at least two, since on one row it cannot "
        "be tried whether rows depend on their order or on their batch",
    )
    least, most = int(groups.min()), int(groups.max())
    ensure(
        least >= 0 and most < length,
        f"len() of split {label} is {length}, but groups('{modality}') is out of range, from {least} to {most}: len() is the "
        "number of groups, and groups are counted from 0",
    )
    missing = np.setdiff1d(np.arange(length), groups)
    ensure(
        not len(missing),
        f"len() of split {label} is {length}, but {len(missing)} of these groups have no row of '{modality}': len() is the "
        "number of groups, not of rows, and every group needs a row of every modality",
    )


def _described(value: Any) -> str:
    """Type, dtype and number of axes of a value, as far as it has them."""
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    return f"{value.dtype} with {value.ndim} axes"


def _check_row(label: str, row: Any, modality: str, described: Modality) -> None:
    if described.kind == "text":
        ensure(isinstance(row, str), f"split {label} must read '{modality}' as str, not {type(row).__name__}")
    elif described.kind in ("image", "vector", "series"):
        dtype = np.uint8 if described.kind == "image" else np.float32
        ensure(
            isinstance(row, np.ndarray) and row.dtype == dtype,
            f"split {label} must read '{modality}' as NumPy {np.dtype(dtype)}, not {_described(row)}",
        )
        fits = row.ndim == len(described.shape) and all(
            want in (0, have) for want, have in zip(described.shape, row.shape, strict=False)
        )
        ensure(fits, f"split {label} reads '{modality}' as {row.shape}, described as {described.shape}")
