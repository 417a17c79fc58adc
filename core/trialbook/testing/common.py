"""Shared by the checks of all kinds: the component under test, its construction, comparison of values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trialbook.contracts import Features
from trialbook.contracts.datasets import Modality
from trialbook.plugins.schema import construct
from trialbook.plugins.signature import describe_class, documented
from trialbook.plugins.table_errors import schema_problems

#: Kinds whose docstring names the source of their mathematics.
_SOURCED = ("encoder", "projector", "llm", "loss", "metric")
_TEXTS = ("a red square", "two blue circles near a green triangle", "nothing", "a red circle", "a green square")
_SHAPES: dict[str, tuple[int, ...]] = {"image": (3, 32, 32), "vector": (16,), "series": (12, 4), "text": ()}


@dataclass
class Subject:
    """A component under test with what it is made from."""

    cls: type
    kind: str
    options: dict[str, Any]
    injected: dict[str, Any]
    inputs: Any
    schema: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the class, for messages."""
        return self.cls.__name__

    @property
    def all_options(self) -> dict[str, Any]:
        """Options, defaults included."""
        properties = self.schema["json_schema"]["properties"]
        return {key: one["default"] for key, one in properties.items() if "default" in one} | self.options

    def make(self, seed: int = 0) -> Any:
        """A new instance; its weights depend on ``seed``."""
        torch.manual_seed(seed)
        return construct(self.cls, {**self._made_up(), **self.injected}, self.options)

    def _made_up(self) -> dict[str, Any]:
        return {
            "modality": self.modality, "dim_in": 16, "dim_out": 8, "dim": 16, "seed": 0, "data_root": None, "files": {},
            "device": torch.device("cpu"), "corpus": lambda: _TEXTS,
            "modalities": {name: Modality("vector", (16,)) for name in ("image", "text")},
        }  # fmt: skip

    @property
    def modality(self) -> Modality:
        """The modality given, or one of the first kind that an encoder accepts; images for a decoder."""
        given = self.injected.get("modality")
        if isinstance(given, Modality):
            return given
        kind = next(iter(getattr(self.cls, "accepts", ())), "image" if self.kind == "decoder" else "vector")
        return Modality(kind, _SHAPES.get(kind, ()), corpus=(lambda: _TEXTS) if kind == "text" else None)


def ensure(condition: object, message: str) -> None:
    """Raise an AssertionError with ``message`` unless ``condition`` holds (with ``python -O``, too)."""
    if not condition:
        raise AssertionError(message)


def check_constructor(subject: Subject) -> None:
    """The constructor makes a schema, its keys are documented, and it takes no others."""
    subject.schema = describe_class(subject.cls)
    name, doc = subject.name, subject.schema["doc"]
    own_doc = subject.cls.__dict__.get("__doc__")
    ensure(own_doc, f"{name} has no docstring; `mlrun plugins show` prints it")
    first = doc.partition("\n\n")[0]
    is_sentence = first.rstrip().endswith(tuple(".…:!?])`"))
    ensure(is_sentence, f"the docstring of {name} must begin with one sentence: {first!r}")
    texts = documented(inspect.getdoc(subject.cls.__dict__.get("__init__")) or "") | documented(doc)
    for key in subject.schema["json_schema"]["properties"]:
        ensure(texts.get(key), f"parameter '{key}' of {name} is not described under 'Args:'")
    if subject.kind in _SOURCED:
        has_source = re.search(r"^Source: *\S|^Source:\n +\S", doc, re.MULTILINE)
        ensure(has_source, f"the docstring of {name} must say where it comes from: 'Source: …'")
    wrong = [str(one) for one in schema_problems(subject.options, subject.schema["json_schema"])]
    ensure(not wrong, f"the options given for {name} do not fit its schema: {'; '.join(wrong)}")
    unknown = schema_problems({**subject.options, "no_such_key": 1}, subject.schema["json_schema"])
    ensure(unknown, f"{name} takes unknown keys")


def made_up_rows(modality: Modality, count: int = 5) -> Any:
    """Raw rows of a modality.

    Raises:
        AssertionError: nothing is known of its kind.
    """
    random = np.random.default_rng(0)
    shape = modality.shape or _SHAPES.get(modality.kind, ())
    if modality.kind == "text":
        return [_TEXTS[i % len(_TEXTS)] for i in range(count)]
    if modality.kind == "image":
        return random.integers(0, 256, (count, *shape), dtype=np.uint8)
    ensure(
        modality.kind in ("vector", "series"), f"give `inputs`: rows of the kind '{modality.kind}' cannot be made up"
    )
    return random.standard_normal((count, *shape)).astype(np.float32)


def features_of(encoder: nn.Module, raw: Any) -> Features:
    """Prepare and encode, without gradient."""
    with torch.no_grad():
        features = encoder(encoder.prepare(raw))  # type: ignore[operator]
    ensure(isinstance(features, Features), f"forward must return Features(tokens, mask), not {type(features).__name__}")
    return Features(*features)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal to the bit, arrays and tensors inside of them too."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.shape == other.shape and bool(torch.equal(one, other))
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def near(one: Tensor, other: Tensor) -> bool:
    """Equal up to the rounding of float32 sums in another order."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def check_gradients(name: str, module: nn.Module, output: Tensor) -> None:
    """Every trainable parameter takes part in ``output``, and no gradient is NaN or infinite."""
    module.zero_grad(set_to_none=True)
    generator = torch.Generator().manual_seed(0)
    if output.requires_grad:
        (output * torch.rand(output.shape, generator=generator).to(output.device)).sum().backward()  # type: ignore[no-untyped-call]
    for label, parameter in module.named_parameters():
        if parameter.requires_grad:
            ensure(parameter.grad is not None, f"parameter '{label}' of {name} gets no gradient: it is not used")
            ensure(parameter.grad.isfinite().all(), f"the gradient of '{label}' of {name} is not finite")  # type: ignore[union-attr]


def check_signature(name: str, function: Any, needs: tuple[str, ...]) -> None:
    """``needs`` names exactly what the function takes."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    taken = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    required = {p.name for p in parameters if p.name in taken and p.default is p.empty}
    ensure(len(taken) == len(parameters), f"{name}.{function.__name__} must take its inputs by keyword, each by name")
    ensure(required <= set(needs), f"{name}.{function.__name__} takes {sorted(required - set(needs))}, not in `needs`")
    ensure(set(needs) <= taken, f"{name}.needs names {sorted(set(needs) - taken)}, not taken by {function.__name__}")


def check_names(name: str, attribute: str, value: Any) -> None:
    """A class attribute that must be a tuple of names."""
    is_names = isinstance(value, tuple) and all(isinstance(one, str) and one for one in value)
    ensure(is_names, f"{name}.{attribute} must be a tuple of names, not {value!r}")
