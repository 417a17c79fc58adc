"""The conformance suite passes what keeps its contract and says what is wrong with the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trialbook.contracts import Features, LatentShape, MetricValues, Probed
from trialbook.contracts.datasets import Modality, content_hash
from trialbook.contracts.records import Record
from trialbook.testing import PartsBuilder, check_component


class Project(nn.Module):
    """A linear map.

    Args:
        bias: add a bias.

    Source: none.
    """

    keeps_tokens = True

    def __init__(self, dim_in: int, dim_out: int, /, *, bias: bool = True) -> None:
        super().__init__()
        self.map = nn.Linear(dim_in, dim_out, bias)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.map(tokens)


class Encode(nn.Module):
    """Words to vectors, padded to the longest.

    Args:
        width: of the vectors.

    Source: none.
    """

    accepts: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, modality: Modality, /, *, width: int = 4) -> None:
        super().__init__()
        self.dim = width
        self.table = nn.Embedding(32, width)

    def prepare(self, raw: Any) -> tuple[Tensor, Tensor]:
        words = [[len(word) for word in text.split()] for text in raw]
        longest = max(map(len, words))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in words])
        return ids, ids > 0

    def forward(self, prepared: tuple[Tensor, Tensor]) -> Features:
        return Features(self.table(prepared[0]), prepared[1])


class Pull(nn.Module):
    """Squared distance of matching rows.

    Args:
        weight: a factor.

    Source: none.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(weight))

    def forward(self, *, embeddings: Mapping[str, Tensor]) -> Tensor:
        a, b = embeddings.values()
        return self.scale * (a - b).square().mean()


class Spread:
    """Standard deviation.

    Args:
        power: of it.

    Source: none.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    produces: ClassVar[tuple[str, ...]] = ("{modality}^{power}",)

    def __init__(self, *, power: list[int] = [1]) -> None:  # noqa: B006
        self.power = power

    def compute(self, *, embeddings: Mapping[str, Tensor]) -> dict[str, float]:
        return {f"{name}^{p}": float(x.std()) ** p for name, x in embeddings.items() for p in self.power}


class Half:
    """Numbers of one split."""

    def __init__(self, name: str, rows: Any) -> None:
        self.name, self.rows = name, rows

    def __len__(self) -> int:
        return len(self.rows)

    def groups(self, modality: str) -> Any:
        return np.arange(len(self.rows))

    def read(self, modality: str, rows: Any) -> Any:
        return self.rows[rows]

    def content(self, modality: str) -> list[str]:
        return [content_hash(row) for row in self.rows]

    def labels(self, name: str) -> Any:
        raise KeyError(name)


class Numbers:
    """Numbers.

    Args:
        count: how many.
    """

    modalities: ClassVar[dict[str, str]] = {"x": "vector"}
    part = Half

    def __init__(self, *, count: int = 6) -> None:
        rows = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
        self.rows = {"train": rows[: count // 2], "val": rows[count // 2 :]}

    def describe(self, modality: str) -> Modality:
        return Modality("vector", (2,))

    def splits(self) -> dict[str, Half]:
        return {name: self.part(name, rows) for name, rows in self.rows.items()}

    @property
    def fingerprint(self) -> str:
        return content_hash(*self.rows.values())


class Count:
    """Counts.

    Args:
        to: how far.
    """

    takes: ClassVar[dict[str, str]] = {"dataset": "one"}
    provides: ClassVar[tuple[str, ...]] = ()
    produces: ClassVar[tuple[str, ...]] = ("count",)

    def __init__(self, builder: Any, /, *, to: int = 4) -> None:
        self.to, self.start = to, 0

    def setup(self) -> None: ...

    def measured(self, done: int) -> None:
        self.start = done

    def measurements(self) -> Any:
        for i in range(self.start, self.to):
            yield Record(0, {f"count{i}": float(i)})


class Learn:
    """Learns.

    Args:
        size: samples.
    """

    takes: ClassVar[dict[str, str]] = {"projector": "named"}
    provides: ClassVar[tuple[str, ...]] = ()
    produces: ClassVar[tuple[str, ...]] = ("loss",)

    def __init__(self, builder: Any, /, *, size: int = 5) -> None:
        self.samples = size

    def setup(self) -> None:
        torch.manual_seed(0)
        self.parts = nn.ModuleDict({"projector": nn.Linear(1, 1)})

    def module(self) -> nn.Module:
        return self.parts

    def size(self, stage: str) -> int:
        return self.samples

    def batch(self, samples: Any, epoch: int, step: Any) -> Tensor:
        return torch.as_tensor(samples, dtype=torch.float32)[:, None]

    def losses(self, batch: Tensor) -> dict[str, Tensor]:
        return {"loss": self.parts["projector"](batch).square().mean()}

    def evaluate(self, split: str) -> dict[str, float]:
        rows = torch.ones(2, 1, device=self.parts["projector"].weight.device)
        return {"loss": float(self.losses(rows)["loss"])} if split == "train" else {}

    def after_step(self) -> None: ...


class Constant:
    """The same accuracy, whatever it is shown.

    Args:
        value: it.
    """

    labels = ("classes",)
    produces = ("accuracy",)
    main, spatial = "accuracy", False

    def __init__(self, *, value: float = 0.5) -> None:
        self.value = value

    def measure(self, train: Probed, others: Mapping[str, Probed], seed: int) -> dict[str, dict[str, float]]:
        figures = {"accuracy": self.value, "accuracy/low": self.value - 0.1, "accuracy/high": self.value + 0.1}
        return dict.fromkeys(others, figures)

    def oracle(self, data: Probed, seed: int) -> Tensor:
        return torch.zeros(*data.features.shape[:3], 1)


class Pixels(nn.Module):
    """Pixels as latents.

    Args:
        modality: of images.
    """

    def __init__(self, modality: Modality, /) -> None:
        super().__init__()
        self.latents = LatentShape(1, *modality.shape[1:], 3)

    def encode(self, pictures: Tensor) -> Tensor:
        return pictures.permute(0, 1, 3, 4, 2)

    def decode(self, latents: Tensor) -> Tensor:
        return latents.permute(0, 1, 4, 2, 3)


#: A probe is run only where it is given samples.
PROBED = {split: Probed(torch.zeros(4, 2, 2, 3), {"classes": [0, 1, 0, 1]}, None) for split in ("train", "test")}


GOOD: list[tuple[type, str, dict[str, Any]]] = [
    (Project, "projector", {}),
    (Encode, "encoder", {}),
    (Pull, "loss", {}),
    (Spread, "metric", {"options": {"power": [1, 2]}}),
    (
        type(
            "Sampled",
            (Spread,),
            {
                "__doc__": Spread.__doc__,
                "compute": lambda s, *, embeddings: MetricValues(
                    {"image^1": 2.0, "text^1": 4.0}, {"image^1": np.array([1.0, 3.0, math.nan])}
                ),
            },
        ),
        "metric",
        {},
    ),
    (Numbers, "dataset", {}),
    (Constant, "probe", {"inputs": PROBED}),
    (Constant, "probe", {}),
    (Pixels, "decoder", {}),
    (Count, "task", {"injected": {"builder": PartsBuilder({})}}),
    (Learn, "task", {"injected": {"builder": PartsBuilder({})}}),
]


@pytest.mark.parametrize(("cls", "kind", "more"), GOOD)
def test_what_keeps_its_contract_passes(cls: type, kind: str, more: dict[str, Any]) -> None:
    check_component(cls, kind, **more)


def test_a_target_is_loaded() -> None:
    check_component("trialbook_plugins.projectors.linear:Linear", "projector")


def variant(base: type, **changes: Any) -> type:
    """The class with other methods or attributes, under its own documentation."""
    return type(base.__name__, (base,), {"__doc__": base.__doc__, **changes})


def without(base: type, text: str) -> type:
    return variant(base, __doc__=base.__doc__.replace(text, ""))


def batch_norm(self: Any, prepared: Any) -> Features:
    tokens, mask = Encode.forward(self, prepared)
    return Features(tokens - tokens.mean(dim=(0, 1)), mask)


def unused(base: type, name: str = "spare") -> Callable[..., None]:
    def init(self: Any, dim_in: int, dim_out: int, /, *, bias: bool = True) -> None:
        base.__init__(self, dim_in, dim_out, bias=bias)
        setattr(self, name, nn.Parameter(torch.ones(1)))

    return init


def hidden_state(self: Any, dim_in: int, dim_out: int, /, *, bias: bool = True) -> None:
    Project.__init__(self, dim_in, dim_out, bias=bias)
    self.offset = torch.randn(dim_out)


def noisy(self: Any, **inputs: Any) -> Tensor:
    return Pull.forward(self, **inputs) + torch.rand(())


def in_order(self: Half, modality: str, rows: Any) -> Any:
    return self.rows[np.sort(rows)] + np.float32(len(rows))


def mixing(self: Any, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    return self.map(tokens + tokens.mean(dim=1, keepdim=True))


def clash(self: Any) -> dict[str, Half]:
    return {"train": Half("train", self.rows["train"]), "val": Half("val", self.rows["train"])}


def one_row_a_split(self: Any) -> dict[str, Half]:
    return {name: Half(name, rows[:1]) for name, rows in self.rows.items()}


def as_tensor(self: Half, modality: str, rows: Any) -> Tensor:
    return torch.from_numpy(self.rows[rows])


def with_samples(name: str, samples: list[float]) -> Callable[..., MetricValues]:
    """A metric that gives 2 and 4 with the values of samples for one name."""

    def compute(self: Any, *, embeddings: Any) -> MetricValues:
        return MetricValues({"image^1": 2.0, "text^1": 4.0}, {name: np.array(samples)})

    return compute


def drawn(self: Any, train: Probed, others: Any, seed: int) -> dict[str, dict[str, float]]:
    return {"test": {"accuracy": float(np.random.default_rng().random())}}


def rounding(self: Any, *, embeddings: Any) -> dict[str, float]:
    for rows in embeddings.values():
        rows.round_()
    return {"image^1": 1.0, "text^1": 1.0}


class Undecided:
    """Neither trains nor measures."""

    takes: ClassVar[dict[str, str]] = {}
    provides = produces = ()

    def __init__(self, builder: Any, /) -> None: ...


BAD: list[tuple[type, str, str]] = [
    (variant(Project, __doc__=None), "projector", "has no docstring"),
    (without(Project, "Source: none."), "projector", "where it comes from"),
    (without(Project, "bias: add a bias."), "projector", "'bias' of Project is not described"),
    (variant(Project, keeps_tokens="yes"), "projector", "must be true or false"),
    (variant(Project, forward=lambda s, t, m=None: s.map(t).mean(1)), "projector", r"must give \[B, M, D_out\]"),
    (variant(Project, forward=lambda s, t, m=None: s.map(t)[:, :2]), "projector", "says keeps_tokens"),
    (variant(Project, forward=mixing), "projector", "masked tokens change the output"),
    (variant(Project, forward=lambda s, t, m=None: s.map(t - t.mean(0))), "projector", "another output alone"),
    (variant(Project, forward=lambda s, t, m=None: s.map(t) + torch.rand(1)), "projector", "else the second time"),
    (variant(Project, __init__=unused(Project)), "projector", "'spare' of Project gets no gradient"),
    (
        variant(Project, __init__=hidden_state, forward=lambda s, t, m=None: s.map(t) + s.offset),
        "projector",
        "state_dict does not hold all",
    ),
    (variant(Encode, accepts="text"), "encoder", "must be a tuple of names"),
    (variant(Encode, forward=lambda s, p: s.table(p[0])), "encoder", "must return Features"),
    (variant(Encode, forward=lambda s, p: Features(s.table(p[0]), p[0])), "encoder", "must be bool"),
    (variant(Encode, forward=batch_norm), "encoder", "row 0 other tokens alone"),
    (variant(Pull, needs=("embeddings", "groups")), "loss", r"names \['groups'\], not taken"),
    (variant(Pull, needs=()), "loss", r"takes \['embeddings'\], not in `needs`"),
    (variant(Pull, forward=noisy), "loss", "kwargs|by keyword"),
    (variant(Pull, forward=lambda s, *, embeddings: s.scale.detach() * 2), "loss", "'scale' of Pull gets no gradient"),
    (variant(Pull, forward=lambda s, *, embeddings: s.scale * 2), "loss", "no gradient to any of its inputs"),
    (variant(Pull, forward=lambda s, *, embeddings: s.scale * torch.inf), "loss", "gives inf"),
    (variant(Pull, forward=lambda s, *, embeddings: s.scale * torch.rand(())), "loss", "else the second time"),
    (variant(Spread, produces=("{modality}",)), "metric", "declares"),
    (variant(Spread, compute=rounding), "metric", "changes its inputs"),
    (
        variant(Spread, compute=lambda s, *, embeddings: dict.fromkeys(["image^1", "text^1"], torch.ones(1))),
        "metric",
        "finite number",
    ),
    (variant(Spread, compute=with_samples("audio^1", [1.0])), "metric", "for 'audio.1', which is no value"),
    (variant(Spread, compute=with_samples("image^1", [1.0, 2.0, math.nan])), "metric", "is 1.5, but its value is 2"),
    (variant(Spread, compute=with_samples("image^1", [[1.0, 3.0]])), "metric", r"must be \[n\]"),
    (variant(Numbers, part=variant(Half, read=in_order)), "dataset", "depends on the batch"),
    (variant(Numbers, part=variant(Half, groups=lambda s, m: np.arange(len(s.rows)) + 1)), "dataset", "out of range"),
    (variant(Numbers, part=variant(Half, groups=lambda s, m: np.zeros(3, dtype=int))), "dataset", "have no row of"),
    (
        variant(Numbers, part=variant(Half, groups=lambda s, m: list(range(len(s.rows))))),
        "dataset",
        "NumPy array.* not list",
    ),
    (variant(Numbers, part=variant(Half, groups=lambda s, m: np.arange(3, dtype="i4"))), "dataset", "not int32"),
    (variant(Numbers, part=variant(Half, __len__=lambda s: len(s.rows) - 1)), "dataset", r"len\(\) of split .* is 2"),
    (variant(Numbers, part=variant(Half, __len__=lambda s: 2 * len(s.rows))), "dataset", "groups, not of rows"),
    (variant(Numbers, part=variant(Half, content=lambda s, m: ["a"])), "dataset", "3 rows of 'x' but 1 hashes"),
    (variant(Numbers, part=variant(Half, read=lambda s, m, rows: s.rows)), "dataset", "depends on the batch"),
    (
        variant(Numbers, part=variant(Half, read=lambda s, m, rows: s.rows[rows][:2])),
        "dataset",
        "reads 2 rows of 'x' for 3",
    ),
    (variant(Numbers, part=variant(Half, read=as_tensor)), "dataset", "as NumPy float32, not Tensor"),
    (variant(Numbers, splits=one_row_a_split), "dataset", "make at least two"),
    (variant(Numbers, part=variant(Half, labels=lambda s, name: None)), "dataset", "KeyError"),
    (variant(Numbers, modalities={"x": "image"}), "dataset", "declares 'x' as image"),
    (variant(Numbers, splits=clash), "dataset", "share content"),
    (variant(Numbers, fingerprint=property(lambda s: f"{id(s):064x}")), "dataset", "other fingerprints"),
    (variant(Constant, main="recall"), "probe", "Constant.main is 'recall'"),
    (variant(Constant, spatial=None), "probe", "spatial must be true or false"),
    (
        variant(Constant, measure=lambda s, t, o, seed: {"train": {}}),
        "probe",
        r"values of \['test'\], not of \['train'\]",
    ),
    (
        variant(Constant, measure=lambda s, t, o, seed: {"test": {"recall": 1.0}}),
        "probe",
        "'recall', which it does not",
    ),
    (variant(Constant, measure=lambda s, t, o, seed: {"test": {"accuracy": math.inf}}), "probe", "must be a number"),
    (
        variant(
            Constant,
            measure=lambda s, t, o, seed: {"test": {"accuracy": 1.0, "accuracy/low": 2.0, "accuracy/high": 3.0}},
        ),
        "probe",
        "outside of its interval",
    ),
    (variant(Constant, measure=drawn), "probe", "another instance"),
    (variant(Constant, oracle=lambda s, data, seed: torch.zeros(4, 1)), "probe", r"oracle must give \[4, 2, 2\]"),
    (variant(Pixels, encode=lambda s, x: x), "decoder", r"latents is \(1, 32, 32, 3\), but encode"),
    (variant(Pixels, decode=lambda s, x: x), "decoder", r"decodes \[2, 1, 3, 32, 32\] to"),
    (variant(Pixels, decode=lambda s, x: Pixels.decode(s, x) + torch.rand(1)), "decoder", "else the second time"),
    (variant(Pixels, encode=lambda s, x: Pixels.encode(s, x - x.mean())), "decoder", "other latents alone"),
    (variant(Count, takes={"datset": "one"}), "task", "names the kind 'datset'"),
    (variant(Count, takes={"dataset": "all"}), "task", "must be one of"),
    (variant(Count, measurements=property(lambda s: None), setup=None), "task", "has no `setup`"),
    (Undecided, "task", "must have all of module, .* or all of measurements, measured"),
    (variant(Count, measured=lambda s, done: None), "task", "as if it had never stopped"),
    (variant(Learn, batch=lambda s, n, e, p: torch.rand(2, 1)), "task", "function of its arguments"),
    (variant(Learn, losses=lambda s, b: {"total": b.mean()}), "task", "must give 'loss'"),
    (variant(Learn, losses=lambda s, b: {"loss": b.mean()}), "task", "depends on no parameter"),
    (variant(Learn, evaluate=lambda s, split: {"loss": 1.0}), "task", "split that is not there"),
]


@pytest.mark.parametrize(("cls", "kind", "message"), BAD, ids=[f"{kind}-{message[:24]}" for _, kind, message in BAD])
def test_what_breaks_its_contract_is_told_so(cls: type, kind: str, message: str) -> None:
    injected = {"builder": PartsBuilder({})} if kind == "task" else None
    with pytest.raises(AssertionError, match=message):
        check_component(cls, kind, injected=injected, inputs=PROBED if kind == "probe" else None)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(AssertionError, match="there is no kind 'projectr'"):
        check_component(Project, "projectr")


def test_options_that_do_not_fit_are_named() -> None:
    with pytest.raises(AssertionError, match="'bias' must be true or false, not the integer 3"):
        check_component(Project, "projector", options={"bias": 3})


def test_what_cannot_be_made_up_must_be_given() -> None:
    boxed = variant(Pull, needs=("boxes",), forward=lambda s, *, boxes: s.scale * boxes.mean())
    with pytest.raises(AssertionError, match="give `inputs` for what Pull needs: boxes"):
        check_component(boxed, "loss")
    check_component(boxed, "loss", inputs={"boxes": torch.rand(2, 4)})
