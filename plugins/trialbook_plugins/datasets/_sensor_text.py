"""Captions of windows of sensor data, as a column beside the windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trialbook import TrialbookError
from trialbook_plugins.captioners.sensor_templates import SensorTemplates, Style
from trialbook_plugins.datasets._splits import Column, joined, text_column


def make_captioners(style: Style, captions: int) -> list[SensorTemplates]:
    """A captioner for each of ``captions`` texts a window, each with another template.

    Raises:
        TrialbookError: ``captions`` is below 1.
    """
    if captions < 1:
        raise TrialbookError(f"captions ({captions}) must be at least 1")
    return [SensorTemplates(style=style, variant=variant) for variant in range(captions)]


def caption_column(
    captioners: Sequence[SensorTemplates], facts: Sequence[Mapping[str, Any]], windows: Column
) -> Column:
    """Captions of all windows, window by window; each counts together with its window, as texts repeat."""
    told = [captioner.caption(facts) for captioner in captioners]
    texts = [said[window] for window in range(len(facts)) for said in told]
    return joined(text_column(texts, np.repeat(np.arange(len(facts)), len(captioners))), windows.content)
