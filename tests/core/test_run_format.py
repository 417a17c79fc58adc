"""What earlier versions recorded is read under the names of now."""

from __future__ import annotations

from typing import Any

import pytest

from trialbook.config.run_format import FORMAT, NewerFormat, earlier_name, mapping_of, rename_config, rename_key

CONFIG: dict[str, Any] = {
    "task": {"use": "speed", "device": "cpu"},
    "loss": [{"use": "info-nce"}, {"use": "siglip", "name": "second"}],
    "metric": [
        {"use": "modality-gap"},
        {"use": "modality-gap", "name": "gap"},
        {"use": "retrieval"},
        {"use": "pretrained-detection", "device": "cpu", "size": 8},
    ],
    "train": {"clip": 1.0, "lr_scale": {"loss.*": 2.0}, "steps": 3},
    "stage": [{"clip": 2.0}, {"lr_scale": {}}],
    "checkpoint": {"keep": 1, "every": 2},
}
RUN: dict[str, Any] = {
    "experiment": "old", "arm": "wide,clip=0.5,lr=1", "base_arm": "wide", "seed": 0, "id": "12345678",
    "point": {"train.clip": 0.5, "train.lr": 1}, "config": CONFIG,
}  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("loss", "loss"),
        ("loss/info-nce", "info-nce/loss"),
        ("val/loss/second", "val/second/loss"),
        ("loss/*", "*/loss"),
        ("logit_scale/info-nce", "info-nce/logit_scale"),
        ("queue_filled/second", "second/queue_filled"),
        ("loss/other", "loss/other"),
        ("modality-gap/image-text/matching", "modality-gap/image-text/positive"),
        ("val/gap/image-text/other", "val/gap/image-text/negative"),
        ("modality-gap/image-text", "modality-gap/image-text"),
        ("retrieval/i2t/other", "retrieval/i2t/other"),
        ("lr", "lr"),
    ],
)
def test_a_metric(old: str, new: str) -> None:
    mapping = mapping_of(RUN, "one")
    assert mapping is not None
    assert mapping.metric(old) == new
    assert mapping.line({"step": 1, "values": {old: 2.0}}) == {"step": 1, "values": {new: 2.0}}


def test_the_names_of_now_stay() -> None:
    mapping = mapping_of(RUN, "one")
    assert mapping is not None
    for name in ("info-nce/loss", "val/second/loss", "info-nce/logit_scale", "modality-gap/image-text/positive"):
        assert mapping.metric(name) == name


def test_a_configuration() -> None:
    found = rename_config(CONFIG)
    assert found["train"] == {"max_grad_norm": 1.0, "lr_multipliers": {"loss.*": 2.0}, "steps": 3}
    assert found["stage"] == [{"max_grad_norm": 2.0}, {"lr_multipliers": {}}]
    assert found["checkpoint"] == {"keep_last": 1, "every": 2}
    assert (found["task"], found["metric"][3]) == ({"use": "speed"}, {"use": "pretrained-detection", "size": 8})
    assert CONFIG["train"]["clip"] == 1.0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train.clip", "train.max_grad_norm"),
        ("train.lr_scale.loss.*", "train.lr_multipliers.loss.*"),
        ("stage.1.clip", "stage.1.max_grad_norm"),
        ("checkpoint.keep", "checkpoint.keep_last"),
        ("dataset.keep", "dataset.keep"),
        ("arm", "arm"),
    ],
)
def test_a_dotted_key(old: str, new: str) -> None:
    assert rename_key(old) == new


def test_what_a_run_says_of_its_experiment() -> None:
    mapping = mapping_of(RUN, "one")
    assert mapping is not None
    found = mapping.run({
        **RUN, "arms": ["wide,clip=0.5,lr=1", "wide,clip=1,lr=1"], "factors": [["train.clip", [0.5, 1]]],
        "gates": [{"metric": "test/loss/info-nce", "below": 1}], "headline": ["loss/*", "retrieval/i2t@1"],
        "claims": [{"text": "x", "factor": "train.clip", "metric": "loss/second"}], "results": {"end": "loss/second"},
        "published": {"paper": {"source": "x", "figures": {"loss/second": 1.5}}}, "baseline": None,
        "changes": {"wide": ["train.clip", "projector.image.hidden"]}, "lower_is_better": ["val/loss/second"],
    })  # fmt: skip
    assert (found["arm"], found["arms"][1]) == ("wide,max_grad_norm=0.5,lr=1", "wide,max_grad_norm=1,lr=1")
    assert found["point"] == {"train.max_grad_norm": 0.5, "train.lr": 1}
    assert found["factors"] == [["train.max_grad_norm", [0.5, 1]]]
    assert found["gates"] == [{"metric": "test/info-nce/loss", "below": 1}]
    assert found["headline"] == ["*/loss", "retrieval/i2t@1"]
    assert found["claims"] == [{"text": "x", "factor": "train.max_grad_norm", "metric": "second/loss"}]
    assert found["results"] == {"end": "second/loss"}
    assert found["external_baseline"] == {"paper": {"source": "x", "values": {"second/loss": 1.5}}}
    assert found["changes"] == {"wide": ["train.max_grad_norm", "projector.image.hidden"]}
    assert found["lower_is_better"] == ["val/second/loss"]
    assert "published" not in found


def test_an_evaluation() -> None:
    mapping = mapping_of(RUN, "one")
    assert mapping is not None
    facts = {
        "split": "val",
        "figures": {"loss/second": 1.0},
        "recorded": {"loss/second": 2.0},
        "differing": ["loss/second"],
    }
    assert mapping.evaluation(facts) == {
        "split": "val", "figures": {"second/loss": 1.0}, "recorded": {"second/loss": 2.0}, "differing": ["second/loss"],
    }  # fmt: skip


def test_formats() -> None:
    assert mapping_of({**RUN, "format": FORMAT}, "one") is None
    with pytest.raises(NewerFormat):
        mapping_of({"format": FORMAT + 1}, "one")
    assert (earlier_name("prepare.sample"), earlier_name("other")) == ("step.sample", "other")
