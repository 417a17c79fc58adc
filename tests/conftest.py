"""The order of the tests, and what none of them leaves to the next."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from trialbook.config.numerics import CUBLAS_VARIABLE

#: Files that take longest. They come first, so that no core is left alone with one of them at the end.
LONGEST = (
    "test_kill", "test_launch", "test_ranks", "test_order_faults", "test_encoders_hf_vlm", "test_task_probe", "test_thirdparty",
    "test_demo_browser", "test_reproduce", "test_task_similarity", "test_faults", "test_losses_across_ranks", "test_trackers",
    "test_box_experiments", "test_vlm_plugins", "test_docs", "test_instruct_commands", "test_task_instruct",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest files first; else the order is kept."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(autouse=True)
def _no_cublas_variable() -> Iterator[None]:
    """Take back what a deterministic run sets for the rest of its process."""
    os.environ.pop(CUBLAS_VARIABLE, None)
    yield
    os.environ.pop(CUBLAS_VARIABLE, None)


@pytest.fixture(autouse=True, scope="module")
def _frozen_heap() -> None:
    """Keep what earlier files imported out of the collections that every run asks for: a tenth of all time otherwise."""
    gc.collect()
    gc.freeze()
