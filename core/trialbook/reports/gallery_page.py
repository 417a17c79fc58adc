"""Judging a run's answers, alone or beside another run's, and writing the page that shows them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trialbook.analysis.failures.compare import Versus, compare_answers
from trialbook.analysis.failures.judge import Judged
from trialbook.analysis.failures.load import Answers, Surroundings, folders, open_surroundings
from trialbook.config.settings import Settings
from trialbook.contracts.files import write_whole
from trialbook.errors import TrialbookError
from trialbook.plugins.schema import SchemaBook
from trialbook.reports.document.blocks import Items
from trialbook.reports.document.format import NO_PLUGINS, PluginTemplates
from trialbook.reports.document.html import to_html
from trialbook.reports.pages.failures_page import FailurePage
from trialbook.reports.thumbnails import Photos

#: Names that a remark lists at most.
_MOST_NAMES = 5


@dataclass(frozen=True)
class Gallery:
    """The answers of a run, judged, and the page that shows them.

    Args:
        answers: of the run.
        judged: the same, judged and tagged.
        versus: beside those of another run, if there is one; other: its name.
        file: the page.
        remarks: what there is to say of data, pictures and tags.
    """

    answers: Answers
    judged: Judged
    versus: Versus | None
    other: str
    file: Path
    remarks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON-able data."""
        judged, versus = self.judged, self.versus
        by = {
            f"by_{key}": {name: {"asked": asked, "wrong": wrong} for name, (asked, wrong) in judged.by(key).items()}
            for key in ("kind", "source")
        }
        return {
            "run": self.answers.title, "split": self.answers.split, "file": str(self.file),
            "answers": len(judged.answers), "judged": judged.judged, "wrong": len(judged.failures),
            "tags": judged.tags(), **by, "risk": [vars(row) for row in judged.risks()],
            "calibration": [vars(one) for one in judged.calibration()], "calibration_error": judged.calibration_error(),
            "against": None if versus is None else {"run": self.other, **versus.as_dict()},
            "remarks": list(self.remarks), "failures": [one.as_dict() for one in judged.failures],
        }  # fmt: skip


def write_gallery(
    answers: Answers, settings: Settings, book: SchemaBook, *, beside: Answers | None = None, limit: int = 0,
    everything: bool = False, templates: PluginTemplates = NO_PLUGINS,
) -> Gallery:  # fmt: skip
    """Judge, and write ``failures.html`` beside the answers, or ``failures-against-<run>.html``.

    Args:
        answers: of the run.
        settings, book: to open the data that were evaluated, for pictures and texts.
        beside: answers of another run.
        limit: examples of a sort that are shown; 0 for all.
        everything: show right answers, too.
        templates: those of plugins.
    Raises:
        TrialbookError: the other run answered other questions.
    """
    around, remarks = _surroundings(answers, settings, book)
    texts = around.texts() if around else None
    judged, versus, other = answers.judged(texts), None, ""
    file = answers.run.failures(answers.evaluation)
    if beside is not None:
        versus, other = compare_answers(judged, beside.judged(texts)), beside.title
        file = file.with_name(f"{file.stem}-against-{beside.run.path.name}.html")
    remarks += _outdated(answers)
    photos = Photos(around.images if around else lambda one: [], folders(answers, settings.data_root))
    page = FailurePage(
        answers.title, judged, answers.corrections.known(), photos.of, limit, everything, versus, other,
        "report.html" if answers.evaluation is None else "../report.html",
    ).page()  # fmt: skip
    if photos.missing:
        remarks.append(f"{photos.missing} pictures could not be found or read")
    if photos.left_out:
        remarks.append(f"{photos.left_out} pictures are left out, as the page would be too large; show fewer examples")
    page = replace(page, head=[*page.head, *([Items(remarks)] if remarks else [])])
    write_whole(file, to_html(page, templates))
    return Gallery(answers, judged, versus, other, file, tuple(remarks))


def _surroundings(answers: Answers, settings: Settings, book: SchemaBook) -> tuple[Surroundings | None, list[str]]:
    """The data that were evaluated; or why they cannot be had."""
    try:
        return open_surroundings(answers, settings, book), []
    except (TrialbookError, OSError, ValueError) as error:
        return None, [f"the evaluated data could not be opened, so texts and some pictures may be missing: {error}"]


def _outdated(answers: Answers) -> list[str]:
    names = answers.corrections.outdated
    if not names:
        return []
    listed = ", ".join(names[:_MOST_NAMES]) + (" …" if len(names) > _MOST_NAMES else "")
    return [f"tags by hand that do not count any more, as another answer is given now: {listed}"]
