"""The second page: the runs that are recorded here, their curves, and what experiments answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from trialbook import TrialbookError
from trialbook_plugins.demo.look import html, navigation, panel, paragraphs
from trialbook_plugins.demo.records import MOST_CURVES, Records

#: Runs whose curves are drawn before any are chosen: the newest ones.
_FIRST = 4


@dataclass(frozen=True)
class RegistryPage:
    """The page that shows the registry.

    Args:
        records: where it is read.
        experiment: that is shown first.
    """

    records: Records
    experiment: str

    def build(self, page: gr.Blocks) -> None:
        """Make the page within the blocks that are open; ``page`` says when it is opened."""
        navigation()
        html(panel("<h1>Registry</h1>"))
        with gr.Row(equal_height=True):
            experiment = gr.Dropdown(
                [self.experiment], value=self.experiment, label="Experiment", elem_id="experiment", scale=4
            )
            again = gr.Button("Refresh", scale=0, min_width=140, elem_id="again")
        runs = html("", "runs")
        html(panel("<h2>Learning curves</h2>"))
        with gr.Row():
            chosen = gr.Dropdown(
                [], multiselect=True, max_choices=MOST_CURVES, label=f"Runs, at most {MOST_CURVES}", elem_id="chosen",
                scale=4, min_width=320,
            )  # fmt: skip
            figure = gr.Dropdown([], label="Metric", elem_id="figure", scale=2, min_width=240)
        curves = html("", "curves")
        html(panel("<h2>What the experiment answers</h2>"))
        comparison = html("", "comparison")
        at_once: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "minimal"}
        drawn: dict[str, Any] = {"fn": self.draw, "inputs": [experiment, chosen, figure], "outputs": curves, **at_once}
        for event in (page.load, again.click, experiment.input):
            listed = event(self.show, experiment, [experiment, runs, chosen, figure], **at_once)
            listed.then(**drawn).then(self.compare, experiment, comparison, **at_once)
        for control in (chosen, figure):
            control.input(**drawn)

    def show(self, experiment: str | None) -> tuple[Any, ...]:
        """The experiments, the runs of one, and whose curves are drawn first."""
        try:
            names = self.records.experiments()
            if not names:
                raise TrialbookError("no run is recorded here")
            one = experiment if experiment in names else names[0]
            figures = self.records.curve_names(one)
            listed = self.records.run_names(one)
            return (
                gr.Dropdown(names, value=one), self.records.runs(one),
                gr.Dropdown(listed, value=listed[-_FIRST:]), gr.Dropdown(figures, value=figures[0] if figures else None),
            )  # fmt: skip
        except TrialbookError as error:
            return gr.skip(), paragraphs([str(error)]), gr.skip(), gr.skip()

    def draw(self, experiment: str, chosen: list[str], figure: str | None) -> str:
        """The curves of chosen runs."""
        try:
            return self.records.curves(experiment, chosen or [], figure or "")
        except TrialbookError as error:
            return paragraphs([str(error)])

    def compare(self, experiment: str) -> str:
        """Show what the experiment answers."""
        try:
            return self.records.comparison(experiment)
        except TrialbookError as error:
            return paragraphs([str(error)])
