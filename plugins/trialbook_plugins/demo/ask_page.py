"""The first page: a picture, a question, the answer, and a threshold below which it counts as abstained."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from trialbook_plugins.demo.answering import LONGEST_QUESTION, Answerer, CannotAnswer, Expectation, Reply, decide
from trialbook_plugins.demo.examples import Example
from trialbook_plugins.demo.images import BadPicture, Limits, read_picture
from trialbook_plugins.demo.look import definitions, escape, html, navigation, panel, paragraphs

#: What ``gr.Image`` hands over if it does not open the file itself.
Upload = Mapping[str, Any] | None
_STATES = {
    "answered": "Answered",
    "abstained": "Not answered: the model itself abstained",
    "withheld": "Not answered: abstained by the threshold",
}

#: Held while a picture is looked at outside the queue, so that many at once do not fill the memory.
_LOOKING = threading.Lock()


@dataclass(frozen=True)
class Said:
    """The last reply, and the uploaded file that it is about."""

    path: str
    reply: Reply


@dataclass(frozen=True)
class AskPage:
    """The page on which questions are asked and answers shown.

    Args:
        answerer: the model.
        limits: of pictures.
        expectation: what a threshold did in the evaluation.
        examples: questions of the evaluation.
        threshold: where the slider stands at first.
        headline: the run in a line.
        about: all that there is to say of it, as HTML.
        remark: why there are no examples, if there are none.
    """

    answerer: Answerer
    limits: Limits
    expectation: Expectation
    examples: Sequence[Example]
    threshold: float
    headline: str
    about: str
    remark: str = ""

    def build(self) -> None:
        """Make the page within the blocks that are open."""
        navigation()
        html(panel("<h1>Ask a document</h1>", f'<p class="soft">{escape(self.headline)}</p>'))
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                most = f"at most {self.limits.size / 1e6:g} MB and {self.limits.megapixels:g} megapixels"
                picture = gr.Image(
                    label="Document or screenshot", type="filepath", image_mode=None, sources=["upload", "clipboard"],
                    height="28rem", elem_id="picture", buttons=["fullscreen"],
                    placeholder=f"Drop a picture here, or click to choose one: {most}",
                )  # fmt: skip
                noticed = html("", "noticed")
            with gr.Column(scale=5, min_width=320):
                question = gr.Textbox(
                    label="Question", placeholder="What is the total?", max_length=LONGEST_QUESTION, max_lines=4,
                    elem_id="question",
                )  # fmt: skip
                asked = gr.Button("Ask", variant="primary", elem_id="ask")
                reply = html(panel(), "reply")
                threshold = gr.Slider(
                    0, 1, self.threshold, step=0.01, label="Abstain below this confidence", elem_id="threshold"
                )
                expected = html(self._expected(self.threshold), "expected")
                truth = html("", "truth")
        self._connect(picture, noticed, question, asked, threshold, reply, expected, truth)
        with gr.Accordion("Model", open=True):
            html(self.about)

    def _connect(
        self,
        picture: Any,
        noticed: Any,
        question: Any,
        asked: Any,
        threshold: Any,
        reply: Any,
        expected: Any,
        truth: Any,
    ) -> None:
        """Say what happens when; the examples stand where this is called.

        Only questions wait in the queue. What is taken away from the page is taken away in the browser, so that it cannot
        come too late and take an answer away.
        """
        said = gr.State(None)
        ask: dict[str, Any] = {
            "fn": self.ask, "inputs": [picture, question, threshold], "outputs": [reply, said], "preprocess": False,
            "concurrency_limit": 1, "show_progress_on": reply, "api_visibility": "private",
        }  # fmt: skip
        asked.click(**ask)
        question.submit(**ask)
        at_once: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
        again = {"inputs": [picture, said, threshold], "outputs": [reply, expected], "preprocess": False}
        threshold.change(self.decide_again, **again, trigger_mode="always_last", **at_once)
        for event in (picture.upload, picture.clear):
            event(None, None, [reply, truth, noticed], js="() => ['', '', '']", **at_once)
        picture.upload(self.look_at, picture, noticed, preprocess=False, **at_once)
        question.input(None, None, truth, js="() => ''", **at_once)
        self._examples([picture, noticed, question, reply, truth], at_once)

    def _examples(self, outputs: Sequence[Any], at_once: Mapping[str, Any]) -> None:
        if not self.examples:
            html(paragraphs([self.remark]) if self.remark else "")
            return
        gallery = gr.Gallery(
            [(str(one.picture), one.conversation.question) for one in self.examples],
            label="Examples from the run's evaluation set", columns=4, object_fit="contain", allow_preview=False,
            interactive=False, height="auto", elem_classes="examples", elem_id="examples", buttons=[],
        )  # fmt: skip

        def choose(event: gr.SelectData) -> tuple[str, str, str, str, str]:
            one = self.examples[event.index]
            return str(one.picture), "", one.conversation.question, "", _truth(one)

        gallery.select(choose, None, outputs, **at_once)

    def ask(self, picture: Upload, question: str | None, threshold: float) -> tuple[str, Said | None]:
        """The answer as HTML, and what it is made from, so that it can be decided again."""
        try:
            if not picture:
                raise CannotAnswer("choose a picture first")
            read = read_picture(Path(picture["path"]), self.limits)
            reply = self.answerer.ask([read.pixels], question or "")
        except (BadPicture, CannotAnswer) as error:
            return _failed(error), None
        return _shown(reply, threshold, read.remarks), Said(picture["path"], reply)

    def look_at(self, picture: Upload) -> str:
        """Say at once if a file cannot be read, or what was done to it."""
        try:
            with _LOOKING:
                remarks = read_picture(Path(picture["path"]), self.limits).remarks if picture else ()
        except BadPicture as error:
            return _failed(error)
        return paragraphs([f"{one}." for one in remarks])

    def decide_again(self, picture: Upload, said: Said | None, threshold: float) -> tuple[Any, str]:
        """The same answer at another threshold; the model is not asked. None where the picture is another one by now."""
        same = picture and said is not None and said.path == picture["path"]
        return _shown(said.reply, threshold) if said and same else gr.skip(), self._expected(threshold)

    def _expected(self, threshold: float) -> str:
        return panel(f'<p class="small">{escape(self.expectation.sentence(threshold))}</p>')


def _failed(error: Exception) -> str:
    logging.getLogger(__name__).info("refused: %s", error)
    return _reply("failed", "No answer", [f'<p class="answer">{escape(str(error))}</p>'])


def _shown(reply: Reply, threshold: float, remarks: Sequence[str] = ()) -> str:
    """A reply at a threshold."""
    one = reply.prediction
    outcome = decide(one, threshold)
    lines = []
    text = escape(one.prediction or "(nothing)")
    if outcome == "withheld":
        lines.append('<p class="answer">I would rather not say.</p>')
    else:
        lines.append(f'<p class="answer">{text}</p>')
    lines.append(_meter(one.confidence, threshold))
    known = "unknown" if one.confidence is None else f"{one.confidence:.2f}"
    took = f"{reply.seconds:.1f} s, {one.tokens} token{'' if one.tokens == 1 else 's'}"
    lines.append(f'<p class="small">Confidence {known}, threshold {threshold:.2f}; {took}.</p>')
    if not one.stopped:
        lines.append('<p class="small">The answer was cut off at the most tokens that are generated.</p>')
    if outcome == "withheld":
        lines.append(
            f'<details><summary>What the model would have said</summary><p class="answer">{text}</p></details>'
        )
    lines += [f'<p class="small">{escape(remark)}.</p>' for remark in remarks]
    return _reply(outcome, _STATES[outcome], lines)


def _meter(confidence: float | None, threshold: float) -> str:
    if confidence is None:
        return ""
    filled, mark = (min(max(value, 0.0), 1.0) * 100 for value in (confidence, threshold))
    bar, line = f'<span style="width:{filled:.1f}%"></span>', f'<i style="left:calc({mark:.1f}% - 1px)"></i>'
    return f'<div class="meter" aria-hidden="true">{bar}{line}</div>'


def _reply(kind: str, state: str, lines: Sequence[str]) -> str:
    inside = "\n".join(filter(None, lines))
    return f'<div class="trialbook" aria-live="polite"><div class="reply {kind}"><p class="state">{state}</p>{inside}</div></div>'


def _truth(one: Example) -> str:
    """Say what is known of an example: what is right, and what the run answered in its evaluation."""
    right = (
        ", ".join(dict.fromkeys(one.conversation.answers))
        if one.conversation.answerable
        else "the picture does not hold it"
    )
    facts = {"right answer": right or one.conversation.answer}
    if one.conversation.kind:
        facts["kind of question"] = one.conversation.kind
    if one.recorded is not None:
        sure = "" if one.recorded.confidence is None else f" (confidence {one.recorded.confidence:.2f})"
        facts["answer in the evaluation"] = f"{one.recorded.prediction or '(nothing)'}{sure}"
    return definitions(facts)
