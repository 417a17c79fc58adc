"""The statistics of embeddings that the doctor wants, and the share of the embeddings that is kept for plots."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: Groups that are looked at and kept.
MOST_GROUPS = 512
#: Cosines closer than this are tied; as in metric ``retrieval``.
_TIE = 1e-6
#: Shifts of groups that are tried.
_SHIFTS = (-3, -2, -1, 1, 2, 3)


def describe_embeddings(shown: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Statistics ``embeddings`` of what a task evaluated; see ``trialbook.doctor.evidence``.

    Args:
        shown: ``embeddings`` (modality -> [R, D]) and ``groups`` (modality -> [R]); rows of the first groups are taken.
    """
    embeddings, groups = shown.get("embeddings") or {}, shown.get("groups") or {}
    units, first = {}, {}
    for name, rows in embeddings.items():
        rows = rows.cpu() if rows.device.type == "mps" else rows  # MPS has no float64
        own = torch.as_tensor(groups[name]).to(rows.device)
        near = own < MOST_GROUPS
        units[name] = F.normalize(rows.detach()[near].float(), dim=-1)
        first[name] = _first_rows(units[name], own[near])
    found: dict[str, dict[str, Any]] = {name: _describe_one(rows) for name, rows in units.items() if len(rows) > 1}
    for a, b in permutations(first, 2):
        shared = sorted(first[a].keys() & first[b].keys())
        if len(shared) > 1:
            x, y = (torch.stack([first[name][group] for group in shared]) for name in (a, b))
            found[f"{a}>{b}"] = {"gap": _gap(units[a], units[b]), **_describe_pair(x @ y.T)}
    return found


def keep_embeddings(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays of the first groups: ``embeddings.<modality>`` [R, D], ``groups.<modality>`` [R], ``classes`` [G]."""
    kept: dict[str, Any] = {}
    for name, rows in (shown.get("embeddings") or {}).items():
        groups = np.asarray(torch.as_tensor(shown["groups"][name]).cpu(), dtype=np.int64)
        near = groups < MOST_GROUPS
        kept[f"embeddings.{name}"] = rows.detach().float().cpu().numpy()[near]
        kept[f"groups.{name}"] = groups[near]
    if kept and shown.get("classes") is not None:
        kept["classes"] = np.ascontiguousarray(np.asarray(shown["classes"], dtype=np.int64)[:MOST_GROUPS])
    return {name: np.ascontiguousarray(values) for name, values in kept.items()}


def _first_rows(rows: Tensor, groups: Tensor) -> dict[int, Tensor]:
    """Group -> its first row."""
    found: dict[int, Tensor] = {}
    for row, group in zip(rows, groups.tolist(), strict=True):
        found.setdefault(group, row)
    return found


def _describe_one(x: Tensor) -> dict[str, Any]:
    """Rows, width, effective rank (Roy & Vetterli 2007, of centred unit rows), mean cosine, spread of unit rows [R, D]."""
    rows, dim = x.shape
    total = x.double().sum(dim=0)
    centred = x.double() - total / rows
    gram = centred @ centred.T if rows < dim else centred.T @ centred
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt() if bool(torch.isfinite(gram).all()) else gram[0]
    share = singular / singular.sum()
    entropy = -(share * share.clamp(min=1e-300).log()).sum()
    return {
        "rows": rows, "dim": dim, "rank": float(entropy.exp()) if float(singular.sum()) > 1e-9 else 1.0,
        "cosine": float((total @ total - rows) / (rows * (rows - 1))),
        "spread": float(centred.square().mean(dim=0).sqrt().mean()) * dim**0.5,
    }  # fmt: skip


def _gap(x: Tensor, y: Tensor) -> float:
    return float((x.mean(dim=0) - y.mean(dim=0)).norm())


def _describe_pair(cosines: Tensor) -> dict[str, Any]:
    """Facts of the cosines [G, G] of the first rows of the same groups."""
    count = len(cosines)
    own = cosines.diagonal()
    best = cosines.max(dim=1).values
    tied_with_best = (cosines > best[:, None] - _TIE).sum(dim=1)
    hits = (own > best - _TIE).float() / tied_with_best
    near_own = (cosines - own[:, None]).abs() < _TIE
    shift, gain = _best_shift(cosines)
    return {
        "matching": float(own.mean()), "other": float((cosines.sum() - own.sum()) / (count * (count - 1))),
        "rows": count, "candidates": count, "expected@1": float(hits.mean()), "chance@1": 1 / count,
        "ties": float((near_own.sum(dim=1) > 1).float().mean()), "tie_odds": float((1 / near_own.sum(dim=1).clamp(min=1)).mean()),
        "shift": shift, "shift_gain": gain,
    }  # fmt: skip


def _best_shift(cosines: Tensor) -> tuple[int, float]:
    """The shift at which row i meets row i + shift best, and by how many standard errors better than without."""
    own, best = cosines.diagonal(), (0, 0.0)
    places = torch.arange(len(cosines), device=cosines.device)
    for shift in _SHIFTS if len(cosines) > 8 else ():
        gain = cosines[places, (places + shift) % len(cosines)] - own
        error = gain.std() / len(gain) ** 0.5
        score = float(gain.mean() / error.clamp(min=1e-12))
        if score > best[1]:
            best = (shift, score)
    return best
