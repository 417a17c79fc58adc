"""Loss ``hard-negatives``: InfoNCE where the queue is empty, a computation by hand where it is not, and exact resume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupts import Interrupts
from labelled_windows import run_folder, run_windows
from safetensors.numpy import load_file
from torch import Tensor

from trialbook.contracts.datasets import Modality
from trialbook.contracts.files import read_lines
from trialbook_plugins.losses.hard_negatives import HardNegatives
from trialbook_plugins.losses.info_nce import InfoNCE

TWO = {name: Modality("vector", (6,)) for name in ("image", "text")}
#: 1 / 0.07 as the losses have it: its logarithm is kept in float32.
SCALE = float(torch.tensor(-math.log(0.07)).double().exp())


def make(**options: object) -> HardNegatives:
    return HardNegatives(TWO, 6, **options).double()  # type: ignore[arg-type]


def batch(seed: int, rows: int = 5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rows, 6, generator=generator, dtype=torch.float64, requires_grad=True) for name in TWO}


def numbers(image: list[int], text: list[int]) -> dict[str, Tensor]:
    return {"image": torch.tensor(image), "text": torch.tensor(text)}


def unit(x: Tensor) -> np.ndarray:
    rows = x.detach().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_hand(
    now: Mapping[str, Tensor], known: Mapping[str, Tensor], past: list[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]],
    hardest: int = 0,
) -> float:  # fmt: skip
    """The loss with loops: each row's own partner against all others, and the past of the other modality, that are not equal."""
    total, rows, scale = 0.0, len(known["image"]), SCALE
    for query, item in (("image", "text"), ("text", "image")):
        for i in range(rows):
            own = [int(known[name][i]) for name in TWO]
            logits = [scale * unit(now[query])[i] @ unit(now[item])[i]]
            for j in range(rows):
                if j != i and not any(int(known[name][j]) == mine for name, mine in zip(TWO, own, strict=True)):
                    logits.append(scale * unit(now[query])[i] @ unit(now[item])[j])
            far = []
            for embeddings, content in past:
                for q in range(len(content["image"])):
                    if not any(int(content[name][q]) == mine for name, mine in zip(TWO, own, strict=True)):
                        far.append(scale * unit(now[query])[i] @ unit(embeddings[item])[q])
            logits += sorted(far, reverse=True)[: hardest or None]
            total += math.log(sum(math.exp(x) for x in logits)) - logits[0]
    return total / (2 * rows)


DISTINCT = [numbers([10 * k + i for i in range(5)], [1000 + 10 * k + i for i in range(5)]) for k in range(4)]


@pytest.mark.parametrize("learn", [True, False])
def test_without_a_queue_it_is_info_nce_to_the_bit(learn: bool) -> None:
    ours, theirs = make(queue=0, learn_scale=learn), InfoNCE(learn_scale=learn).double()
    for k in range(3):
        one, other = batch(k), batch(k)
        a, b = ours(embeddings=one, content=DISTINCT[k]), theirs(embeddings=other)
        a.backward()
        b.backward()
        assert a.item() == b.item()
        assert all(torch.equal(one[name].grad, other[name].grad) for name in TWO)


def test_a_queue_that_is_not_full_yet_changes_nothing_during_warm_up() -> None:
    ours, theirs = make(queue=15), InfoNCE().double()
    for k in range(3):
        assert ours(embeddings=batch(k), content=DISTINCT[k]).item() == pytest.approx(
            theirs(embeddings=batch(k)).item(), abs=1e-14
        )
    assert ours(embeddings=batch(3), content=DISTINCT[3]) > theirs(embeddings=batch(3)) + 1e-3


@pytest.mark.parametrize("hardest", [0, 3, 10])
def test_with_a_queue_it_is_the_loss_computed_by_hand(hardest: int) -> None:
    ours = make(queue=10, hardest=hardest)
    for k in range(3):
        ours(embeddings=batch(k), content=DISTINCT[k])  # the first of the three has left the queue
    expected = by_hand(batch(3), DISTINCT[3], [(batch(k), DISTINCT[k]) for k in (1, 2)], hardest)
    # the queue is kept in the precision of the module, here float64; sums are in another order
    assert ours(embeddings=batch(3), content=DISTINCT[3]).item() == pytest.approx(expected, abs=1e-12)


def test_false_negatives_are_left_out_of_the_batch_and_of_the_queue() -> None:
    ours = make(queue=5)
    before, now = numbers([1, 2, 3, 4, 5], [21, 22, 23, 24, 25]), numbers([6, 7, 8, 9, 3], [21, 21, 26, 27, 28])
    ours(embeddings=batch(0), content=before)
    value = ours(embeddings=batch(1), content=now)
    assert value.item() == pytest.approx(by_hand(batch(1), now, [(batch(0), before)]), abs=1e-12)
    # in the batch rows 0 and 1 have one caption; in the queue they meet row 0, and row 4 has the image of row 2
    assert ours.report()["excluded"] == pytest.approx((2 + 2 + 0 + 0 + 1) / 5)
    everything = make(queue=5, duplicates="negatives")
    everything(embeddings=batch(0), content=before)
    assert everything(embeddings=batch(1), content=now).item() == pytest.approx(
        by_hand(batch(1), DISTINCT[1], [(batch(0), DISTINCT[0])]), abs=1e-12
    )


def test_rows_of_the_queue_get_no_gradient_and_evaluation_leaves_the_queue_alone() -> None:
    ours = make(queue=5)
    first = batch(0)
    ours(embeddings=first, content=DISTINCT[0])
    ours(embeddings=batch(1), content=DISTINCT[1]).backward()
    assert first["image"].grad is None
    held = {name: buffer.clone() for name, buffer in ours.named_buffers()}
    value = ours.eval()(embeddings=batch(2), content=DISTINCT[2])
    assert value.item() == InfoNCE().double()(embeddings=batch(2)).item()
    assert all(torch.equal(buffer, held[name]) for name, buffer in ours.named_buffers())
    assert ours.report()["queue_filled"] == 5


def test_a_batch_larger_than_the_queue_leaves_its_last_rows_there() -> None:
    ours = make(queue=3)
    ours(embeddings=batch(0), content=DISTINCT[0])
    assert sorted(ours.numbers[0].tolist()) == DISTINCT[0]["image"].tolist()[-3:]


def test_the_loss_of_equal_embeddings_is_the_chance_that_it_tells() -> None:
    ours = make(queue=5)
    ours(embeddings=batch(0), content=numbers([0, 1, 2, 3, 4], [10, 11, 12, 13, 14]))
    ours.rows.copy_(torch.nn.functional.normalize(torch.ones(6, dtype=torch.float64), dim=0).expand_as(ours.rows))
    same = {name: torch.ones(5, 6, dtype=torch.float64) for name in TWO}
    value = ours(embeddings=same, content=numbers([0, 5, 6, 7, 7], [20, 21, 22, 23, 24]))
    assert value.item() == pytest.approx(ours.stats()["chance"], abs=1e-12)


@pytest.mark.parametrize("treated", ["excluded", "shared"])
def test_info_nce_can_treat_equal_captions_as_no_negatives(treated: str) -> None:
    now = batch(1)
    known = numbers([0, 1, 2, 3, 4], [7, 7, 8, 9, 9])
    value = InfoNCE(duplicates=treated).double()(embeddings=now, content=known)  # type: ignore[arg-type]
    if treated == "excluded":
        assert value.item() == pytest.approx(by_hand(now, known, []), abs=1e-12)
        return
    x, y, total = unit(now["image"]), unit(now["text"]), 0.0
    for logits in (SCALE * x @ y.T, SCALE * y @ x.T):
        log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        for i, text in enumerate(known["text"]):
            right = [j for j, other in enumerate(known["text"]) if text == other]
            total -= log[i, right].mean()
    assert value.item() == pytest.approx(total / 10, abs=1e-12)


def test_wrong_options_are_named() -> None:
    for options in ({"queue": -1}, {"queue": 4, "hardest": 5}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match=next(reversed(options))):
            make(**options)


PARTS = """
[[loss]]
use = "hard-negatives"
queue = 40
hardest = 20
"""


def test_a_run_that_was_interrupted_goes_on_with_its_queue_to_the_same_bits(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    (outcome,) = run_windows(whole, PARTS)
    assert outcome.state == "finished"
    for step in (13, 31):  # the queue is filled after 3 steps
        with pytest.raises(KeyboardInterrupt):
            run_windows(broken, PARTS, watcher=Interrupts(step))
    (outcome,) = run_windows(broken, PARTS)
    assert outcome.state == "finished"
    one, other = run_folder(whole), run_folder(broken)
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    weights = [load_file(run / "checkpoints" / "step-00000040" / "model.safetensors") for run in (one, other)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert weights[0]["loss.hard-negatives.rows"].any()
    assert weights[0]["loss.hard-negatives.seen"] == 40 * 16
    excluded = [
        r["values"]["hard-negatives/excluded"] for r in read_lines(one / "metrics.jsonl") if "lr" in r["values"]
    ]
    assert excluded[0] < 4  # six captions: every row has its like in a batch of 16
    assert min(excluded[1:]) > 6  # and in 40 of the queue


def test_samples_of_one_class_can_be_equal_and_data_without_classes_are_refused(tmp_path: Path) -> None:
    parts = '[[loss]]\nuse = "hard-negatives"\nqueue = 32\nsame = "class"\n'
    (outcome,) = run_windows(tmp_path / "with", parts)
    assert outcome.state == "finished"
    (outcome,) = run_windows(tmp_path / "without", parts, dataset="labelled = false")
    assert outcome.state == "failed"
    assert "loss 'hard-negatives' needs a class of every group, but split 'train' has no annotation" in outcome.message
