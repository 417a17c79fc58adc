"""A place for broken runs, and the table of what was found in them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
#: ``planted`` and ``acme_trialbook`` are plugins like any other: found on the path by their name.
sys.path[:0] = [str(HERE), str(HERE.parent / "thirdparty" / "src")]

import acme_trialbook.plugin  # noqa: E402
import planted  # noqa: E402
from ward import TABLE, Ward  # noqa: E402


@pytest.fixture(scope="session")
def make_ward(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ward]:
    """Makes a place with these plugins beside the first-party one."""
    return lambda **plugins: Ward(tmp_path_factory.mktemp("ward"), plugins)


@pytest.fixture(scope="session")
def ward(make_ward: Callable[..., Ward]) -> Ward:
    """A place with the broken components and the third-party ones."""
    return make_ward(planted=planted, acme=acme_trialbook.plugin)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of faults and findings."""
    width = max(map(len, TABLE), default=0)
    for name, said in TABLE.items():
        terminalreporter.write_line(f"{name:<{width}}  {said}")
