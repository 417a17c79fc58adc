"""Predictions for the checks of metrics of answers."""

from __future__ import annotations

from trialbook.contracts.predictions import UNANSWERABLE, Prediction

#: Text that was given, accepted answers of ten annotators (none: unanswerable), confidence.
_GIVEN: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("Total due", ("Total due",) * 10, 0.95),
    ("42", ("42",) * 6 + ("42%",) * 4, 0.9),
    ("the Red Lion", ("Red Lion",) * 7 + ("red lion inn",) * 3, 0.9),
    ("1999", ("1989",) * 10, 0.6),
    (UNANSWERABLE, ("Cash",) * 10, 0.5),
    (UNANSWERABLE, (), 0.8),
    (UNANSWERABLE, (), 0.4),
    ("12 March", (), 0.5),
)


def made_up_predictions() -> list[Prediction]:
    """Right and wrong answers to answerable and unanswerable questions, and abstentions from both, of two sources."""
    return [
        Prediction(
            id=f"made-up-{i}", question=f"What stands in field {i}?", prediction=text, answers=answers,
            answerable=bool(answers), abstained=text == UNANSWERABLE, confidence=confidence, source=("one", "other")[i % 2],
            kind="value" if answers else "absent-field", tokens=len(text.split()),
        )
        for i, (text, answers, confidence) in enumerate(_GIVEN)
    ]  # fmt: skip
