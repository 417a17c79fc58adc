"""Boxes in the words of families of models: written, read again, and scored."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from trialbook.contracts.predictions import Prediction
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets.grounding import Grounding as GroundingData
from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.metrics.grounding import Grounding
from trialbook_plugins.probes.boxes import iou
from trialbook_plugins.vlms.box_text import FAMILIES, Family

SIZE = (200, 400)  # height and width
UNITS = {
    "qwen": (400, 200, 400, 200), "qwen2": 1000, "qwen3": 1000, "internvl": 1000, "cogvlm": 1000, "llava": 1, "kosmos": 32,
    "paligemma": 1024, "florence": 1000,
}  # fmt: skip
BOX = (0.125, 0.25, 0.5, 0.75)
KNOWN = {
    "qwen": "[50, 50, 200, 150]",
    "qwen2": "(125,250),(500,750)",
    "qwen3": '{"bbox_2d": [125, 250, 500, 750]}',
    "llava": "[0.12, 0.25, 0.50, 0.75]",
    "florence": "<loc_125><loc_250><loc_500><loc_750>",
    "internvl": "<box>[[125, 250, 500, 750]]</box>",
    "cogvlm": "[[125,250,500,750]]",
    "kosmos": "<object><patch_index_0260><patch_index_0751></object>",  # 8 * 32 + 4 and 23 * 32 + 15
    "paligemma": "<loc0256><loc0128><loc0768><loc0512>",
}


def test_every_family_is_known() -> None:
    assert set(FAMILIES) == set(get_args(Family)) == set(KNOWN)


@pytest.mark.parametrize("family", list(KNOWN))
def test_a_box_is_written_as_the_family_does(family: Family) -> None:
    assert FAMILIES[family].write(BOX, SIZE) == KNOWN[family]


@pytest.mark.parametrize("family", list(KNOWN))
def test_boxes_that_are_written_are_read_again(family: Family) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        corner = rng.uniform(0, 0.6, 2)
        box = np.concatenate([corner, corner + rng.uniform(0.15, 0.4, 2)])
        found = FAMILIES[family].read(f"It is at {FAMILIES[family].write(box, SIZE)}.")
        assert found is not None
        shares = torch.tensor(np.array(found) / UNITS[family])
        # Kosmos-2 reads the centres of patches of 1/32: up to one patch is lost of each side. LLaVA writes hundredths.
        assert iou(shares, torch.tensor(box)) > {"kosmos": 0.6, "llava": 0.87}.get(family, 0.96)


def test_boxes_at_the_edges_can_be_written() -> None:
    for words in FAMILIES.values():
        assert words.read(words.write((0.0, 0.0, 1.0, 1.0), SIZE)) is not None


def test_other_ways_to_write_lists_are_read() -> None:
    assert FAMILIES["qwen"].read('```json\n[{"bbox_2d": [10, 20, 30.5, 40], "label": "circle"}]\n```') == (
        10,
        20,
        30.5,
        40,
    )
    assert FAMILIES["qwen3"].read('```json\n[\n\t{"bbox_2d": [10, 20, 30, 40], "label": "a"}\n]\n```') == (
        10,
        20,
        30,
        40,
    )
    boxed = "<|object_ref_start|>a<|object_ref_end|><|box_start|>(10,20),(30,40)<|box_end|>"
    assert (
        FAMILIES["qwen2"].read(boxed)
        == FAMILIES["qwen2"].read("<ref>a</ref><box>(10,20),(30,40)</box>")
        == (10, 20, 30, 40)
    )
    assert FAMILIES["llava"].read("The circle is at [0.1, 0.2, 0.35, 1.0].") == (0.1, 0.2, 0.35, 1.0)
    assert FAMILIES["florence"].read("</s><s>circle<loc_1><loc_20><loc_300><loc_999></s>") == (1, 20, 300, 999)
    assert FAMILIES["internvl"].read("<ref>circle</ref><box>[[1,2,3,4],[5,6,7,8]]</box>") == (1, 2, 3, 4)  # the first
    assert FAMILIES["cogvlm"].read("[[052,123,345,567;000,000,100,100]]") is None  # not a list of four
    assert FAMILIES["kosmos"].read("<patch_index_0033><patch_index_0033>") == (1, 1, 2, 2)  # one patch, whole


@pytest.mark.parametrize(
    "text",
    ["", "nowhere", "[]", "[1, 2, 3]", "[1, 2, 3, 4, 5]", "[a, b, c, d]", "[1, 2, 3, 4", "[-5, 0, 3, 4]", "[nan, 1, 2, 3]",
     "[1e400, 1, 2, 3]", "<loc0001><loc0002><loc0003>", "<loc9999><loc0000><loc0000><loc0001>", "<loc12><loc1><loc2><loc3>",
     "(1,2),(3)", "(1,2,3,4)", "(a,b),(c,d)",
     "<loc_1><loc_2><loc_3>", "<loc_1><loc_2><loc_3><loc_1000>", "<patch_index_0001>",
     "<patch_index_9999><patch_index_0001>", "\x00[[[[", "[" * 5000, "٣" * 4],
)  # fmt: skip
def test_malformed_texts_are_no_boxes(text: str) -> None:
    assert [family for family, words in FAMILIES.items() if words.read(text) is not None] == []


def test_numbers_beyond_the_range_of_a_family_are_no_boxes() -> None:
    assert FAMILIES["internvl"].read("[[0, 0, 1001, 5]]") is None
    assert FAMILIES["cogvlm"].read("[[0,0,1000,5]]") is None
    assert FAMILIES["qwen3"].read("[0, 0, 1001, 5]") is None
    assert FAMILIES["qwen2"].read("(0,0),(1001,5)") is None
    assert FAMILIES["llava"].read("[0, 0, 5, 12]") is None  # pixels
    assert FAMILIES["qwen"].read("[0, 0, 1001, 5]") is not None


def asked(text: str, truth: str) -> Prediction:
    return Prediction("one", "Find it.", text, (truth,))


def test_the_metric_counts_overlap_and_what_is_no_box() -> None:
    truth = "[0, 0, 10, 10]"
    rows = [asked(truth, truth), asked("[0, 0, 10, 6]", truth), asked("[5, 0, 15, 10]", truth), asked("there", truth)]
    found = Grounding(family="qwen").compute(predictions=rows)
    assert found["iou"] == pytest.approx((1 + 0.6 + 1 / 3 + 0) / 4)
    assert (found["accuracy@0.5"], found["unparsable"]) == (0.5, 0.25)
    assert found["iou/low"] < found["iou"] < found["iou/high"]
    assert found["accuracy@0.5/low"] < 0.5 < found["accuracy@0.5/high"]
    assert Grounding(family="qwen").compute(predictions=[asked("[10, 10, 0, 0]", truth)])["iou"] == 0  # inside out
    check_component(Grounding, "metric", options={"family": "qwen", "threshold": 0.25}, inputs={"predictions": rows})


def test_the_mean_box_says_what_needs_no_look() -> None:
    truths = ["[0, 0, 10, 10]", "[10, 0, 20, 10]"]  # their mean has half of each
    found = Grounding(family="qwen", threshold=0.3).compute(predictions=[asked("", truth) for truth in truths])
    assert found["mean-box/iou"] == pytest.approx(50 / 150)
    assert found["mean-box/accuracy@0.3"] == 1
    assert (found["iou"], found["unparsable"]) == (0, 1)


def test_finding_another_object_than_the_one_asked_for_is_told() -> None:
    """Whoever finds objects but does not listen is as often mistaken as right."""
    first, second = "[0, 0, 10, 10]", "[20, 0, 30, 10]"
    rows = [
        Prediction(f"{p}-{q}", "Find it.", first, (truth,), images=(f"{p}.png",))
        for p in range(3)
        for q, truth in enumerate((first, second))
    ]
    found = Grounding(family="qwen").compute(predictions=rows)
    assert found["accuracy@0.5"] == found["mistaken"] == 0.5
    apart = [Prediction(str(i), "Find it.", first, (second,), images=(f"{i}.png",)) for i in range(2)]
    assert Grounding(family="qwen").compute(predictions=apart)["mistaken"] == 0


def test_questions_about_one_picture_are_drawn_together() -> None:
    """Ten questions about each of four pictures, all right or all wrong: as wide as four questions, not forty."""
    truth = "[0, 0, 10, 10]"
    rows = [
        Prediction(f"{p}-{q}", "Find it.", truth if p % 2 else "none", (truth,), images=(f"{p}.png",) if shared else ())
        for shared in (True, False)
        for p in range(4)
        for q in range(10)
    ]
    together, apart = (Grounding(family="qwen").compute(predictions=part) for part in (rows[:40], rows[40:]))
    assert together["iou"] == apart["iou"] == 0.5
    assert together["iou/high"] - together["iou/low"] > 2 * (apart["iou/high"] - apart["iou/low"])


def test_answers_of_another_family_are_refused() -> None:
    with pytest.raises(TrialbookError, match="family"):
        Grounding(family="paligemma").compute(predictions=[asked("", "[0, 0, 10, 10]")])
    with pytest.raises(TrialbookError, match="no question"):
        Grounding(family="qwen").compute(predictions=[])


@pytest.mark.parametrize("family", ["qwen", "kosmos"])
def test_the_data_ask_for_objects_that_one_name_fits(family: Family) -> None:
    shapes = Shapes(train=12, test=4, size=96, objects=3, min_side=0.12, max_side=0.2)
    check_component(GroundingData, "dataset", options={"family": family}, injected={"pictures": shapes})
    split = GroundingData(shapes, family=family).splits()["train"]
    said = split.read("conversation", np.arange(len(split.groups("conversation"))))
    truth = shapes.splits()["train"]
    assert 12 <= len(said) <= 24
    for conversation, group in zip(said, split.groups("conversation").tolist(), strict=True):
        names = [
            f"{shapes.colour_names[c]} {shapes.class_names[k]}"
            for c, k in zip(truth.labels("colours")[group], truth.labels("classes")[group], strict=True)
        ]
        name = conversation.question.removeprefix("Find the ").removesuffix(".")
        assert names.count(name) == 1
        assert conversation.answer == FAMILIES[family].write(truth.labels("boxes")[group][names.index(name)], (96, 96))


def test_data_without_names_are_refused() -> None:
    with pytest.raises(TrialbookError, match="names of classes"):
        GroundingData(object(), family="qwen")  # type: ignore[arg-type]
    with pytest.raises(TrialbookError, match="ask"):
        GroundingData(Shapes(train=2), family="qwen", ask="Where?")


def test_an_object_without_a_class_is_not_asked_about() -> None:
    class Unlabelled(Shapes):
        def _cut(self):
            splits = super()._cut()
            for split in splits.values():
                for kinds in split.pool.labels["classes"]:
                    kinds[:] = -1
            return splits

    with pytest.raises(TrialbookError, match="no picture with an object"):
        GroundingData(Unlabelled(train=8, val=4, test=4), family="llava").splits()
