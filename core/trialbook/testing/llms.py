"""Checks of language models that take embeddings (``trialbook.contracts.LanguageModel``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trialbook.contracts import Generated, Piece, device_of
from trialbook.contracts.conversations import IMAGE, Turn
from trialbook.testing.common import Subject, check_gradients, ensure, near
from trialbook.testing.devices import ensure_on_device, on_device

_METHODS = ("render", "embed", "generate")
_TURNS = (
    Turn("user", f"What does {IMAGE} show? <s> </s>"),
    Turn("assistant", "a red square"),
    Turn("user", f"And {IMAGE}?"),
    Turn("assistant", "nothing"),
)


def check_llm(subject: Subject) -> None:
    """Pieces, padding, wanted positions, generation, gradients, state, devices.

    A language model with none of the methods is made for a task of another kind, and only its constructor is checked.
    """
    name, had = subject.name, [method for method in _METHODS if callable(getattr(subject.cls, method, None))]
    if not had:
        return
    ensure(len(had) == len(_METHODS), f"{name} has {', '.join(had)}: it must have all of {', '.join(_METHODS)}")
    made = subject.make()
    ensure(isinstance(made, nn.Module), f"{name} must be an nn.Module")
    model: Any = made.eval()
    for attribute in ("dim", "context"):
        ensure(isinstance(getattr(model, attribute, None), int), f"{name}.{attribute} must be a whole number")
    pieces = _check_pieces(name, model)
    embeds, mask = _check_logits(name, model, pieces)
    _check_generation(name, model, embeds, mask)
    if any(parameter.requires_grad for parameter in model.parameters()):
        check_gradients(
            name, model, model(_embedded(model, pieces)[None], torch.ones(1, _length(pieces), dtype=torch.bool))
        )
    twin = subject.make(seed=1).eval()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        ensure(near(twin(embeds, mask)[mask], model(embeds, mask)[mask]), f"state_dict does not hold all of {name}")
    ensure(twin.render(_TURNS, 3, answer=True) == pieces, f"state_dict does not hold the tokenizer of {name}")
    with torch.no_grad():
        logits, made = model(embeds, mask), model.generate(embeds, mask, max_new_tokens=4)
    with on_device(subject) as (there, device):
        _check_on_device(name, there.make().eval().to(device), pieces, embeds.to(device), mask.to(device), logits, made)


def _check_on_device(
    name: str, model: Any, pieces: list[Piece], embeds: Tensor, mask: Tensor, expected: Tensor, made: list[Generated]
) -> None:
    logits = model(embeds, mask)
    ensure_on_device(name, "logits", logits, embeds.device)
    ensure(near(logits[mask].cpu(), expected[mask.cpu()]), f"{name} gives other logits on a CUDA device")
    wanted = torch.tensor([1, 3], device=embeds.device)
    ensure_on_device(name, "logits at wanted positions", model(embeds, mask, wanted), embeds.device)
    embedded = _embedded(model, pieces)
    ensure_on_device(name, "embeddings", embedded, embeds.device)
    if any(parameter.requires_grad for parameter in model.parameters()):
        check_gradients(name, model, logits)
    again = model.generate(embeds, mask, max_new_tokens=4)
    ensure([one.ids for one in again] == [one.ids for one in made], f"{name} answers otherwise on a CUDA device")
    model.generate(embeds, mask, max_new_tokens=4, temperature=1.0, seed=5)


def _check_pieces(name: str, model: Any) -> list[Piece]:
    pieces: list[Piece] = model.render(_TURNS, 3, answer=True)
    kinds = {piece.kind for piece in pieces}
    ensure(kinds == {"prompt", "answer", "image"}, f"{name}.render gives pieces of the kinds {sorted(kinds)}")
    shown = [piece.image for piece in pieces if piece.kind == "image"]
    ensure(sorted(shown) == [0, 1, 2], f"{name}.render must give each of 3 images once, not {shown}")
    ensure(all(bool(piece.ids) != (piece.kind == "image") for piece in pieces), f"{name}: text has ids, an image none")
    answered = [piece.turn for piece in pieces if piece.kind == "answer"]
    ensure(answered == [1, 3], f"{name}.render gives answers of the turns {answered}, not of 1 and 3")
    ensure(pieces == model.render(_TURNS, 3, answer=True), f"{name}.render gives something else the second time")
    prompt = model.render(_TURNS[:3], 3, answer=False)
    ensure(prompt == pieces[: len(prompt)], f"{name} asks with other pieces than those that it learns with")
    ensure(len(prompt) == len(pieces) - 1, f"{name}: a prompt must hold everything before the answer")
    return pieces


def _check_logits(name: str, model: Any, pieces: list[Piece]) -> tuple[Tensor, Tensor]:
    """Embeddings and mask of two rows, padded on the right."""
    rows = [_embedded(model, pieces), _embedded(model, pieces[:3])]
    ensure(rows[0].shape[1] == model.dim, f"{name}.dim is {model.dim}, but its embeddings are {rows[0].shape[1]} wide")
    right, mask = _padded(rows, left=False)
    left, mask_left = _padded(rows, left=True)
    with torch.no_grad():
        logits = model(right, mask)
        ensure(
            logits.ndim == 3 and logits.shape[:2] == mask.shape,
            f"{name} gives {list(logits.shape)} for {list(mask.shape)}",
        )
        ensure(logits[mask].isfinite().all(), f"{name} gives logits that are not finite")
        ensure(
            near(model(left, mask_left)[mask_left], logits[mask]), f"padding on the left changes the logits of {name}"
        )
        alone = model(rows[1][None], torch.ones(1, len(rows[1]), dtype=torch.bool))[0]
        ensure(near(alone, logits[1][mask[1]]), f"{name} gives a row other logits alone than in a batch")
        cut = model(right[:, :4], mask[:, :4])
        ensure(near(cut, logits[:, :4]), f"{name} sees later tokens: it must be causal")
        wanted = torch.tensor([1, 3])
        ensure(near(model(right, mask, wanted), logits[:, wanted]), f"{name} gives other logits at wanted positions")
    return right, mask


def _check_generation(name: str, model: Any, embeds: Tensor, mask: Tensor) -> None:
    together = model.generate(embeds, mask, max_new_tokens=4)
    ensure(
        together == model.generate(embeds, mask, max_new_tokens=4),
        f"{name}.generate gives something else the second time",
    )
    for row, made in enumerate(together):
        ensure(isinstance(made, Generated), f"{name}.generate must give Generated, not {type(made).__name__}")
        ensure(
            len(made.logprobs) == len(made.ids) + made.stopped <= 4,
            f"{name}: a log-probability for every token, at most 4",
        )
        ensure(all(value <= 0 for value in made.logprobs), f"{name}: log-probabilities are not above 0")
        alone = model.generate(embeds[row][mask[row]][None], mask[row][mask[row]][None], max_new_tokens=4)[0]
        ensure(alone.ids == made.ids, f"{name} answers a row otherwise alone than in a batch")
    state = torch.get_rng_state()
    drawn = [model.generate(embeds, mask, max_new_tokens=4, temperature=1.0, seed=seed) for seed in (5, 5)]
    ensure(drawn[0] == drawn[1], f"{name}.generate must depend on its seed alone")
    ensure(torch.equal(state, torch.get_rng_state()), f"{name}.generate must not touch the global random numbers")


def _embedded(model: Any, pieces: list[Piece]) -> Tensor:
    """Embeddings [L, D] of pieces, two made-up tokens for an image."""
    generator, device = torch.Generator().manual_seed(0), device_of(model)
    parts = []
    for piece in pieces:
        if piece.kind == "image":
            parts.append(torch.randn(2, model.dim, generator=generator).to(device))
        else:
            parts.append(model.embed(torch.tensor([piece.ids], device=device))[0])
    return torch.cat(parts).detach()


def _length(pieces: list[Piece]) -> int:
    return sum(2 if piece.kind == "image" else len(piece.ids) for piece in pieces)


def _padded(rows: list[Tensor], *, left: bool) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    embeds = torch.full((len(rows), longest, rows[0].shape[1]), 0.5)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, values in enumerate(rows):
        place = slice(longest - len(values), None) if left else slice(0, len(values))
        embeds[row, place], mask[row, place] = values, True
    return embeds, mask
