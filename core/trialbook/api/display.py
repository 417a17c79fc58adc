"""The display of results: as text in a terminal, as the tables of our pages in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.errors import TrialbookError

if TYPE_CHECKING:
    import pandas as pd

    from trialbook.reports.document.blocks import Block

#: Colours of a notebook where it tells them, in light and in dark themes; else some that are legible on both.
_COLOURS = """
  --ground: transparent; --ink: currentColor; --panel: rgba(127, 127, 127, .1); --line: rgba(127, 127, 127, .4);
  --soft: var(--jp-ui-font-color2, var(--vscode-descriptionForeground, #747c86));
  --link: var(--jp-content-link-color, var(--vscode-textLink-foreground, #2874c7));
  --good: var(--jp-success-color0, #2a8a4f); --bad: var(--jp-error-color0, #d1453b); --warn: var(--jp-warn-color0, #a86a00);
  --good-ground: rgba(42, 138, 79, .12); --bad-ground: rgba(209, 69, 59, .12); --warn-ground: rgba(168, 106, 0, .12);
"""


class Displayed(ABC):
    """A result that a terminal and a notebook can show; every text of it is escaped in HTML."""

    @abstractmethod
    def text(self) -> str:
        """The result as text."""

    @abstractmethod
    def blocks(self) -> Sequence[Block]:
        """The result as blocks of our pages."""

    def to_html(self) -> str:
        """The result as HTML to stand in another page; ``stylesheet`` has the rules for it."""
        return embed(self.blocks())

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f"<style>\n.trialbook {{{_COLOURS}}}\n{stylesheet()}</style>\n{self.to_html()}"


def embed(blocks: Iterable[Block]) -> str:
    """Blocks as HTML in an element of class ``trialbook``."""
    from trialbook.reports.document.html import to_fragment

    return f'<div class="trialbook">{to_fragment(blocks)}</div>'


@lru_cache(maxsize=1)
def stylesheet() -> str:
    """The rules of our pages, kept within elements of class ``trialbook``; the page around them sets the colours."""
    from trialbook import reports

    rules = Path(reports.__file__).with_name("templates") / "page.css"
    return f".trialbook {{\n{rules.read_text(encoding='utf-8')}\n}}\n"


def data_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a pandas table.

    Raises:
        TrialbookError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise TrialbookError("to_dataframe() needs pandas; pip install pandas") from error
    return pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=list(columns))
