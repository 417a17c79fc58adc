"""Checks of probes and decoders."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trialbook.contracts import Decodes, LatentShape
from trialbook.contracts.metric_names import expand_produces, is_recorded
from trialbook.testing.common import Subject, check_names, ensure, near, same
from trialbook.testing.devices import ensure_on_device, on_device


def check_probe(subject: Subject) -> None:
    """Check what it declares; with ``inputs`` also values that repeat, under the names declared, and an oracle of the samples."""
    name, cls = subject.name, subject.cls
    check_names(name, "labels", getattr(cls, "labels", None))
    check_names(name, "produces", getattr(cls, "produces", None))
    main = getattr(cls, "main", None)
    ensure(main in cls.produces, f"{name}.main is {main!r}; it must be one of `produces`: {', '.join(cls.produces)}")  # type: ignore[attr-defined]
    ensure(isinstance(getattr(cls, "spatial", None), bool), f"{name}.spatial must be true or false")
    if subject.inputs is None:
        return
    others = {split: data for split, data in subject.inputs.items() if split != "train"}
    found = subject.make().measure(subject.inputs["train"], others, 0)
    ensure(set(found) == set(others), f"{name}.measure must give values of {sorted(others)}, not of {sorted(found)}")
    for values in found.values():
        _check_values(subject, values)
    again = subject.make().measure(subject.inputs["train"], others, 0)
    ensure(same(found, again), f"another instance of {name} gives other values with the same seed")
    data = subject.inputs["train"]
    told = subject.make().oracle(data, 0)
    wanted = list(data.features.shape[:3])
    ensure(list(told.shape[:3]) == wanted, f"{name}.oracle must give {wanted} and a width, not {list(told.shape)}")


def _check_values(subject: Subject, values: Mapping[str, float]) -> None:
    name = subject.name
    declared = expand_produces(subject.cls.produces, subject.all_options, ())  # type: ignore[attr-defined]
    for key, value in values.items():
        plain = key.removesuffix("/low").removesuffix("/high")
        ensure(is_recorded(plain, declared), f"{name} gives '{key}', which it does not declare in `produces`")
        number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isinf(value)
        ensure(number, f"'{key}' of {name} must be a number, not {value!r}")
    for key in values:
        if f"{key}/low" in values:
            inside = not values[f"{key}/low"] > values[key] and not values[key] > values[f"{key}/high"]
            ensure(inside, f"'{key}' of {name} lies outside of its interval")


def check_decoder(subject: Subject) -> None:
    """Latents of the shape that it says, images in the shape that they had, rows that do not influence each other, devices."""
    name = subject.name
    ensure(isinstance(subject.make(), Decodes), f"{name} must have `latents`, `encode` and `decode`")
    decoder = subject.make()
    shape = LatentShape(*decoder.latents)
    pictures = subject.inputs if subject.inputs is not None else _made_up_pictures(subject)
    with torch.no_grad():
        latents, alone = decoder.encode(pictures), decoder.encode(pictures[:1])
        decoded = decoder.decode(latents)
        again = decoder.decode(latents)
    ensure(
        tuple(latents.shape[1:]) == tuple(shape),
        f"{name}.latents is {tuple(shape)}, but encode gives {list(latents.shape)}",
    )
    ensure(decoded.shape == pictures.shape, f"{name} decodes {list(pictures.shape)} to {list(decoded.shape)}")
    ensure(same(decoded, again), f"{name} gives something else the second time")
    ensure(near(alone, latents[:1]), f"{name} gives a row other latents alone than in a batch")
    leaf = latents.clone().requires_grad_()
    decoder.decode(leaf).mean().backward()
    ensure(leaf.grad is not None, f"{name}.decode gives no gradient to the latents")
    with on_device(subject) as (there, device):
        found = there.make().to(device).encode(pictures.to(device))
        ensure_on_device(name, "latents", found, device)
        ensure(near(found.cpu(), latents), f"{name} gives other latents on a CUDA device")


def _made_up_pictures(subject: Subject) -> Tensor:
    """Images [2, 1, 3, H, W] in 0 to 1."""
    shape = subject.modality.shape
    return torch.from_numpy(np.random.default_rng(0).random((2, 1, *shape), dtype=np.float32))
