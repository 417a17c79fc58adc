"""The transformer over windows of sensor data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trialbook.contracts import Reconstructs
from trialbook.contracts.datasets import Modality
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets.events import EventWindow
from trialbook_plugins.encoders.sensor_transformer import SensorTransformer

SERIES = Modality("series", (0, 3))
EVENTS = Modality("events", levels=(("(unseen)", "M1", "M2", "T1"), ("(unseen)", "(number)", "ON", "OFF")))
SMALL: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "patch": 4}
POOLS = ("mean", "class", "attention", "none")


def series(*lengths: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((length, 3)).astype(np.float32) for length in lengths]


def events(*lengths: int) -> list[EventWindow]:
    rng = np.random.default_rng(0)
    made = []
    for length in lengths:
        seconds = np.sort(rng.uniform(0, 300, length)).astype(np.float32)
        angle = rng.uniform(0, 6, length)
        made.append(EventWindow(
            rng.integers(0, 4, length), rng.integers(0, 4, length), rng.standard_normal(length).astype(np.float32), seconds,
            np.diff(seconds, prepend=seconds[:1]), np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32),
        ))  # fmt: skip
    return made


@pytest.mark.parametrize("pool", POOLS)
def test_it_conforms_on_series_of_one_length_and_of_many_and_on_events(pool: str) -> None:
    options = {**SMALL, "pool": pool}
    check_component(SensorTransformer, "encoder", options=options)
    check_component(
        SensorTransformer, "encoder", options=options, injected={"modality": SERIES}, inputs=series(9, 4, 30, 1)
    )
    check_component(
        SensorTransformer, "encoder", options=options, injected={"modality": EVENTS}, inputs=events(5, 1, 17)
    )


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("modality", "rows"), [(SERIES, series(9, 40)), (EVENTS, events(3, 21))])
def test_padding_changes_nothing(modality: Modality, rows: list[Any], pool: Any) -> None:
    torch.manual_seed(0)
    encoder = SensorTransformer(modality, pool=pool, **SMALL).double().eval()
    short, both = encoder.prepare(rows[:1]), encoder.prepare(rows)

    def widened(value: Any) -> Any:
        return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    with torch.no_grad():
        alone, beside = (encoder(type(rows)(*map(widened, rows))) for rows in (short, both))
    count = alone.tokens.shape[1]
    torch.testing.assert_close(beside.tokens[:1, :count], alone.tokens, rtol=0, atol=1e-9)  # float64
    if pool == "none":
        assert beside.mask[0].sum() == alone.mask[0].sum() < beside.mask[1].sum()


def test_series_of_one_length_and_the_same_among_others_give_the_same() -> None:
    torch.manual_seed(0)
    fixed = SensorTransformer(Modality("series", (10, 3)), **SMALL).eval()
    free = SensorTransformer(SERIES, **SMALL).eval()
    free.load_state_dict(fixed.state_dict())
    rows = series(10, 10)
    with torch.no_grad():
        one, other = fixed(fixed.prepare(np.stack(rows))).tokens, free(free.prepare([*rows, *series(33)])).tokens
    torch.testing.assert_close(other[:2], one, rtol=0, atol=1e-5)  # float32, attention with and without a mask


def test_the_order_and_time_of_events_matter() -> None:
    torch.manual_seed(0)
    encoder = SensorTransformer(EVENTS, **SMALL).eval()
    (window,) = events(6)
    swapped = window._replace(sensor=window.sensor[::-1].copy(), state=window.state[::-1].copy())
    later = window._replace(clock=-window.clock)
    slower = window._replace(gap=window.gap * 5)
    with torch.no_grad():
        tokens = [encoder(encoder.prepare([one])).tokens for one in (window, swapped, later, slower)]
    assert all((one - tokens[0]).abs().max() > 1e-3 for one in tokens[1:])


def test_long_rows_are_cut_at_the_end() -> None:
    torch.manual_seed(0)
    encoder = SensorTransformer(EVENTS, max_length=4, **SMALL).eval()
    (window,) = events(9)
    cut = EventWindow(*(part[:4] for part in window))
    with torch.no_grad():
        assert torch.equal(encoder(encoder.prepare([window])).tokens, encoder(encoder.prepare([cut])).tokens)
    tokens = SensorTransformer(SERIES, max_length=3, pool="none", **SMALL)
    assert tokens(tokens.prepare(series(50, 2))).tokens.shape[1] == tokens.max_length == 3


def test_hidden_tokens_are_not_seen_but_when_they_happened_is() -> None:
    torch.manual_seed(0)
    encoder = SensorTransformer(EVENTS, **SMALL).eval()
    assert isinstance(encoder, Reconstructs)
    learned = encoder.reconstructor()
    (window,) = events(6)
    other = window._replace(
        sensor=(window.sensor + np.array([0, 1, 0, 0, 2, 0])) % 4,
        state=(window.state + np.array([0, 1, 0, 0, 1, 0])) % 4,
    )
    later = window._replace(gap=window.gap + np.float32([0, 50, 0, 0, 0, 0]))
    hidden = torch.tensor([[False, True, False, False, True, False]])
    with torch.no_grad():
        said = [encoder.reconstruct(encoder.prepare([one]), hidden, learned) for one in (window, other, later)]
    assert torch.equal(said[0]["sensor"].predicted, said[1]["sensor"].predicted)
    assert not torch.equal(said[0]["sensor"].predicted, said[2]["sensor"].predicted)
    assert said[1]["state"].target.tolist() == [other.state.tolist()]


def test_rows_that_cannot_be_encoded_are_refused() -> None:
    encoder = SensorTransformer(SERIES, **SMALL)
    for rows in (series(5, 0), [np.zeros((4, 2), np.float32)]):
        with pytest.raises(TrialbookError, match=r"a series must be \[T, 3\]"):
            encoder.prepare(rows)
    with pytest.raises(TrialbookError, match="without any event"):
        SensorTransformer(EVENTS, **SMALL).prepare(events(3, 0))
    for options, why in (
        ({"patch": 0}, "patch"),
        ({"width": 15, "heads": 3}, "width"),
        ({"max_length": 0}, "max_length"),
        ({"heads": 3}, "heads"),
    ):
        with pytest.raises(TrialbookError, match=why):
            SensorTransformer(SERIES, **{**SMALL, **options})
    with pytest.raises(TrialbookError, match="levels"):
        SensorTransformer(Modality("events"), **SMALL)
