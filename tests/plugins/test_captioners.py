"""Captions of windows of sensor data: by rules, and by language models."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.captioners._phrases import in_time, in_words
from trialbook_plugins.captioners.hf_captions import HFCaptions
from trialbook_plugins.captioners.sensor_templates import TEMPLATES, SensorTemplates
from trialbook_plugins.datasets.smart_home import SmartHome

DATA = os.environ.get("TRIALBOOK_DATA")
EVENTS: dict[str, Any] = {
    "key": "a", "activity": "Meal_Preparation", "start": "2024-01-02T07:35:00", "seconds": 300.0, "events": 12,
    "first_sensor": "M005", "last_sensor": "M010",
    "rooms": [{"room": "dining room", "seconds": 60.0}, {"room": "kitchen", "seconds": 230.0}],
}  # fmt: skip
SERIES: dict[str, Any] = {
    "key": "b", "activity": "Brush_teeth", "samples": 128, "seconds": 4.0, "axis": "x", "movement": "strong",
}  # fmt: skip
UNKNOWN = {name: value for name, value in EVENTS.items() if name != "activity"}


@pytest.mark.parametrize("style", list(TEMPLATES))
def test_templates_conform_in_every_style(style: str) -> None:
    check_component(SensorTemplates, "captioner", options={"style": style}, inputs=[EVENTS, SERIES, UNKNOWN])


def test_each_style_tells_what_it_is_for() -> None:
    said = {style: SensorTemplates(style=style).caption([EVENTS])[0] for style in TEMPLATES}
    assert all("meal preparation" in text for text in said.values())
    assert "kitchen" not in said["label"]
    assert "kitchen" in said["plain"]
    assert "in the early morning" in said["plain"]
    for fact in (
        "07:35",
        "Tuesday",
        "5 minutes",
        "12 events",
        "M005",
        "M010",
        "1 minute in the dining room",
        "3.8 minutes in the kitchen",
    ):
        assert fact in said["detailed"]
    assert said["story"].startswith(("It is Tuesday, 07:35.", "A Tuesday, in the early morning."))
    assert "dining room" in said["story"]


def test_a_series_is_told_by_its_movement() -> None:
    assert "strong movement" in SensorTemplates(style="detailed").caption([SERIES])[0]
    assert "4 seconds" in SensorTemplates(style="detailed").caption([SERIES])[0]


def test_without_the_activity_only_what_sensors_saw_is_told() -> None:
    for style in ("plain", "detailed", "story"):
        texts = SensorTemplates(style=style, activity=False).caption([EVENTS, SERIES])  # type: ignore[arg-type]
        assert not any(word in text.lower() for text in texts for word in ("meal", "brush", "teeth"))
        assert "activity" not in SensorTemplates(style=style, activity=False).uses  # type: ignore[arg-type]
    with pytest.raises(TrialbookError, match="activity must be true"):
        SensorTemplates(style="label", activity=False)


def test_the_choice_of_words_follows_the_content_and_variants_differ() -> None:
    windows = [{**EVENTS, "key": str(number)} for number in range(40)]
    texts = SensorTemplates(style="plain").caption(windows)
    assert len(set(texts)) == 3  # the templates of the first group, each of which some window has
    assert SensorTemplates(style="plain").caption(windows[::-1]) == texts[::-1]
    others = SensorTemplates(style="plain", variant=1).caption(windows)
    assert all(one != other for one, other in zip(texts, others, strict=True))


def test_facts_without_a_template_are_an_error_that_says_what_is_known() -> None:
    with pytest.raises(TrialbookError, match="'detailed' has no template for a window of which activity is known"):
        SensorTemplates(style="detailed").caption([{"key": "x", "activity": "walk"}])


def test_every_style_tells_of_every_window_of_a_home() -> None:
    facts = SmartHome(residents=1, days=4).splits()["train"].labels("facts")
    for style in TEMPLATES:
        texts = SensorTemplates(style=style).caption(facts)
        assert all("{" not in text and text.strip() == text for text in texts)


@pytest.mark.parametrize(("seconds", "said"), [
    (1, "1 second"), (40, "40 seconds"), (60, "1 minute"), (90, "1.5 minutes"), (3600, "1 hour"), (5400, "1.5 hours"),
    (0.25, "0.2 seconds"),
])  # fmt: skip
def test_durations_are_told_in_their_largest_unit(seconds: float, said: str) -> None:
    assert in_time(seconds) == said


def test_names_become_words_and_sensors_keep_theirs() -> None:
    assert (in_words("Bed_to_Toilet"), in_words("M017"), in_words("use-telephone")) == (
        "bed to toilet",
        "M017",
        "use telephone",
    )


@pytest.mark.parametrize("template", ["chatml", "none"])
def test_a_language_model_writes_captions(llm_folder: Any, template: str) -> None:
    folder = llm_folder("llama", template)
    options = {"model": str(folder), "max_new_tokens": 6, "prompt": "{activity} {movement}"}
    check_component(
        HFCaptions, "captioner", options=options, inputs=[SERIES, {**SERIES, "activity": "Walk", "movement": "little"}]
    )
    with pytest.raises(TrialbookError, match="prompt names 'room', which is not among the facts: activity"):
        HFCaptions(model=str(folder), prompt="{room}").caption([SERIES])


def test_a_prompt_without_facts_is_refused() -> None:
    with pytest.raises(TrialbookError, match="names no facts"):
        HFCaptions(model="nowhere", prompt="Say something.")


@pytest.mark.skipif(DATA is None, reason="TRIALBOOK_DATA is not set")
def test_a_real_small_model_goes_on_with_the_prompt_as_transformers_does() -> None:
    import torch
    import transformers

    folder = Path(DATA or "") / "stories260K"
    captioner = HFCaptions(
        model=str(folder), prompt="Once upon a time there was {activity}. ", max_new_tokens=12, batch_size=2
    )
    windows = [{"activity": name, "key": "k"} for name in ("a cat", "a big red ball", "Tom")]
    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (transformers.AutoModelForCausalLM, transformers.AutoTokenizer)
    )
    for window, text in zip(windows, captioner.caption(windows), strict=True):
        ids = tokenizer(captioner.prompt.format(**window), return_tensors="pt").input_ids
        with torch.no_grad():
            out = model.generate(ids, max_new_tokens=12, do_sample=False)
        whole = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
        assert text == whole.partition("\n")[0].strip()
    assert json.dumps(windows)  # facts are what JSON can hold
