"""Checks of encoders and projectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trialbook.contracts import Features, LayerEncoder, to_device
from trialbook.testing.common import (
    Subject,
    check_gradients,
    check_names,
    ensure,
    features_of,
    made_up_rows,
    near,
    same,
)
from trialbook.testing.devices import ensure_on_device, on_device


def check_encoder(subject: Subject) -> None:
    """Shapes, rows that do not influence each other, repetition, gradients, state, devices."""
    name = subject.name
    check_names(name, "accepts", getattr(subject.cls, "accepts", None))
    encoder = _module(subject)
    raw = subject.inputs if subject.inputs is not None else made_up_rows(subject.modality)
    ensure(len(raw) > 1, "give at least two rows as `inputs`")
    features = features_of(encoder, raw)
    _check_features(name, features, len(raw), getattr(encoder, "dim", None))
    ensure(same(tuple(features), tuple(features_of(encoder, raw))), f"{name} gives something else the second time")
    for i in range(len(raw)):
        alone = features_of(encoder, raw[i : i + 1])
        ensure(
            near(_kept(alone)[0], _kept(features)[i]),
            f"{name} gives row {i} other tokens alone than in a batch: it must treat each row by itself",
        )
    tokens = encoder(encoder.prepare(raw)).tokens  # type: ignore[operator]
    check_gradients(name, encoder, tokens)
    twin = _twin(subject, encoder)
    ensure(near(features_of(twin, raw).tokens, features.tokens), f"state_dict does not hold all of {name}")
    with on_device(subject) as (there, device):
        encoder = _module(there).to(device)
        given = to_device(encoder.prepare(raw), device)  # type: ignore[operator]
        found = encoder(given)
        ensure_on_device(name, "tokens or their mask", tuple(found), device)
        ensure(near(found.tokens.cpu(), features.tokens), f"{name} gives other tokens on a CUDA device")
        check_gradients(name, encoder, found.tokens)
        if isinstance(encoder, LayerEncoder):
            ensure_on_device(name, "tokens of a point", encoder.encode_layers(given), device)


def check_projector(subject: Subject) -> None:
    """Shapes, the mask, rows that do not influence each other, repetition, gradients, state, devices."""
    name = subject.name
    projector = _module(subject)
    dim_in, dim_out = subject.injected.get("dim_in", 16), subject.injected.get("dim_out", 8)
    tokens, mask = _tokens(subject.inputs, dim_in)
    keeps = getattr(projector, "keeps_tokens", None)
    ensure(isinstance(keeps, bool), f"{name}.keeps_tokens must be true or false, not {keeps!r}")
    for given in (None, mask):
        with torch.no_grad():
            output = projector(tokens, given)
            again = projector(tokens, given)
        ensure(output.ndim == 3, f"{name} must give [B, M, D_out], not {list(output.shape)}")
        rows, count, width = output.shape
        ensure((rows, width) == (len(tokens), dim_out), f"{name} gives {list(output.shape)} for dim_out = {dim_out}")
        ensure(
            not keeps or count == tokens.shape[1], f"{name} says keeps_tokens but makes {count} of {tokens.shape[1]}"
        )
        ensure(output.isfinite().all(), f"{name} gives values that are not finite")
        ensure(same(output, again), f"{name} gives something else the second time")
        with torch.no_grad():
            alone = torch.cat(
                [projector(tokens[i : i + 1], None if given is None else given[i : i + 1]) for i in range(rows)]
            )
        ensure(near(output, alone), f"{name} gives a row another output alone than in a batch")
    _check_mask(name, projector, tokens, mask, keeps=bool(keeps))
    check_gradients(name, projector, projector(tokens, mask))
    twin = _twin(subject, projector)
    with torch.no_grad():
        expected = projector(tokens, mask)
        ensure(near(twin(tokens, mask), expected), f"state_dict does not hold all of {name}")
    with on_device(subject) as (there, device):
        projector = _module(there).to(device)
        for given in (None, mask):
            output = projector(*to_device((tokens, given), device))
            ensure_on_device(name, "its output", output, device)
            check_gradients(name, projector, output)
        ensure(near(output.cpu(), expected), f"{name} gives another output on a CUDA device")


def _module(subject: Subject) -> nn.Module:
    made = subject.make()
    ensure(isinstance(made, nn.Module), f"{subject.name} must be an nn.Module")
    module: nn.Module = made.eval()
    return module


def _twin(subject: Subject, module: nn.Module) -> nn.Module:
    """Another instance with other weights, then with those of ``module``."""
    twin: nn.Module = subject.make(seed=1).eval()
    twin.load_state_dict(module.state_dict())
    return twin


def _check_features(name: str, features: Features, rows: int, dim: Any) -> None:
    tokens, mask = features
    ensure(tokens.ndim == 3 and len(tokens) == rows, f"{name} must give [B, N, D], not {list(tokens.shape)}")
    ensure(isinstance(dim, int), f"{name}.dim must be the width of its tokens, not {dim!r}")
    ensure(tokens.shape[2] == dim, f"{name}.dim is {dim}, but its tokens are {tokens.shape[2]} wide")
    ensure(tokens.is_floating_point(), f"{name} must give floating-point tokens, not {tokens.dtype}")
    ensure(tokens.isfinite().all(), f"{name} gives tokens that are not finite")
    if mask is not None:
        ensure(mask.dtype == torch.bool, f"the mask of {name} must be bool, not {mask.dtype}")
        ensure(
            mask.shape == tokens.shape[:2], f"the mask of {name} is {list(mask.shape)}, its tokens {list(tokens.shape)}"
        )
        ensure(mask.any(dim=1).all(), f"{name} gives a row without any real token")


def _kept(features: Features) -> list[Tensor]:
    """The real tokens of every row."""
    tokens, mask = features
    return list(tokens) if mask is None else [row[kept] for row, kept in zip(tokens, mask, strict=True)]


def _tokens(inputs: Any, dim_in: int) -> tuple[Tensor, Tensor]:
    if inputs is not None:
        return inputs["tokens"], inputs["mask"]
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[0, 4:] = False
    mask[2, 2:5] = False
    return torch.randn(3, 7, dim_in, generator=generator), mask


def _check_mask(name: str, projector: nn.Module, tokens: Tensor, mask: Tensor, *, keeps: bool) -> None:
    """Masked tokens must not change the output; where tokens are kept, it may matter to themselves."""
    changed = torch.where(mask[..., None], tokens, tokens.flip(0) * 7 + 3)
    with torch.no_grad():
        one, other = projector(tokens, mask), projector(changed, mask)
    if keeps:
        one, other = one[mask], other[mask]
    ensure(near(one, other), f"masked tokens change the output of {name}")
