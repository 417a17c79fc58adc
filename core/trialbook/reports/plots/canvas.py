"""Drawing with matplotlib, without its global state: one look for all plots, and SVG that takes its ink from the page.

Text and axes are drawn in one ink, which becomes ``currentColor``; series have colours that stand out from white and from black.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

#: Inches; a picture is as wide as a phone, so that its letters stay legible there.
WIDTH = 3.9
INK = "#1b1f24"
#: Strength of lines that only help to read: grid, spines.
FAINT = 0.16
#: Eight colours, each with a contrast of at least 3 to white and to near black, that people with any colour vision can tell
#: apart. Found by search over the distances under simulated colour blindness.
PALETTE = ("#1a7fc1", "#d1600a", "#7d3be8", "#8d8a4f", "#a1486c", "#2f9e72", "#c9202e", "#ee5fa4")
#: Markers in the order of the colours: the second sign to tell series apart by.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', Arial, sans-serif"
_STANDALONE = (
    "<style>svg{color:#1b1f24;background:#fff}"
    "@media(prefers-color-scheme:dark){svg{color:#e3e7ec;background:#14171b}}</style>"
)
_LOOK: dict[Any, Any] = {
    "font.size": 8.5, "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "text.color": INK,
    "text.parse_math": False, "text.usetex": False, "axes.labelcolor": INK, "axes.edgecolor": INK, "axes.linewidth": 0.6,
    "axes.titlesize": 9, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 8, "axes.labelsize": 8.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none", "axes.axisbelow": True,
    "axes.unicode_minus": True, "axes.formatter.useoffset": False, "axes.formatter.use_mathtext": False,
    "figure.facecolor": "none", "xtick.color": INK, "ytick.color": INK, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 3, "ytick.major.size": 0, "ytick.major.pad": 4,
    "xtick.minor.size": 0, "ytick.minor.size": 0, "legend.frameon": False, "legend.fontsize": 8, "legend.handlelength": 1.4,
    "legend.borderaxespad": 0.0, "legend.columnspacing": 1.2, "lines.linewidth": 1.6, "lines.markersize": 4,
    "lines.solid_capstyle": "round", "patch.linewidth": 0.0, "svg.fonttype": "none", "svg.hashsalt": "trialbook",
    "path.simplify": True, "path.simplify_threshold": 0.5, "savefig.facecolor": "none",
}  # fmt: skip


@contextmanager
def look() -> Iterator[None]:
    """The look of our plots, whatever the settings of whoever runs this are."""
    skipped = ("backend", "interactive", "toolbar", "webagg", "tk.", "keymap", "date.", "animation")
    kept: dict[Any, Any] = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(skipped)}
    with matplotlib.rc_context({**kept, **_LOOK}):
        yield


@dataclass(frozen=True)
class Frame:
    """The places of axes in a picture, in inches. Laying out by measuring every letter would cost more than the drawing.

    Args:
        rows: height of each row of axes.
        columns: number of them.
        names: of the legend above.
        left, right, top, bottom: room around the axes, the legend left out; for labels and ticks.
        across, down: between columns and rows.
        share: whether all axes have the same limits; or only the horizontal ones (``"x"``).
    """

    rows: Sequence[float]
    columns: int = 1
    names: Sequence[str] = ()
    left: float = 0.56
    right: float = 0.1
    top: float = 0.12
    bottom: float = 0.46
    across: float = 0.2
    down: float = 0.34
    share: str = "none"

    @property
    def height(self) -> float:
        """Of the whole picture."""
        return sum(self.rows) + self.down * (len(self.rows) - 1) + self.bottom + self.top + self.legend

    @property
    def legend(self) -> float:
        """Height of the legend."""
        return 0.17 * math.ceil(len(self.names) / self.legend_columns) + 0.06 if self.names else 0.0

    @property
    def legend_columns(self) -> int:
        """As many as its names leave room for."""
        longest = max((len(clipped(name, 44)) for name in self.names), default=1)
        return max(1, min(len(self.names), 52 // (longest + 6)))

    def axes(self, figure: Figure, count: int) -> list[Axes]:
        """The first ``count`` axes, row by row; only the outer ones have labels at their ticks where limits are shared."""
        width = (WIDTH - self.left - self.right - self.across * (self.columns - 1)) / self.columns
        made: list[Axes] = []
        for index in range(count):
            row, column = divmod(index, self.columns)
            low = self.height - self.top - self.legend - sum(self.rows[: row + 1]) - self.down * row
            box = (self.left + (width + self.across) * column, low, width, self.rows[row])
            relative = (box[0] / WIDTH, box[1] / self.height, box[2] / WIDTH, box[3] / self.height)
            shared = made[0] if made and self.share != "none" else None
            one = figure.add_axes(relative, sharex=shared, sharey=shared if self.share == "all" else None)
            for axis, most in ((one.xaxis, 4 if self.columns > 1 else 6), (one.yaxis, 2 + round(2 * self.rows[row]))):
                axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
                axis.set_major_formatter(FuncFormatter(tick_text))
            if shared is not None or self.share != "none":
                one.tick_params(labelbottom=index + self.columns >= count, labelleft=column == 0 or self.share == "x")
            made.append(one)
        return made


def draw(frame: Frame, paint: Callable[[Figure], None], *, png: bool = False) -> tuple[str, bytes]:
    """A figure as SVG for a page, and as PNG (empty unless asked for).

    Args:
        frame: its size.
        paint: puts axes and what they hold into the figure.
        png: make one, with twice the pixels of a screen, on white.
    """
    with look():
        figure = Figure(figsize=(WIDTH, frame.height))
        paint(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        pixels = io.BytesIO()
        if png:
            figure.savefig(pixels, format="png", dpi=200, facecolor="white")
    return _inline(text.getvalue()), pixels.getvalue()


def _inline(svg: str) -> str:
    """An SVG that can stand in a page beside others: no prologue, no name that another one has, ink from the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', svg))
    prefix = f"p{zlib.crc32(svg.encode()):08x}"
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(rf"{INK}\b", "currentColor", svg, flags=re.IGNORECASE)
    svg = re.sub(r"'DejaVu Sans'(?:, [^;\"]*?sans-serif)?", _FONTS, svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)  # a hundredth of a point is enough
    svg = svg.replace("<svg", '<svg style="stroke-linejoin: round; stroke-linecap: butt"', 1)
    return re.sub(r"\n\s*", "\n", re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)).strip()


def standalone(svg: str, alt: str = "") -> str:
    """The same as a file of its own: with a ground to stand on, light or dark."""
    from xml.sax.saxutils import escape

    start = svg.index(">", svg.index("<svg")) + 1
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n{svg[:start]}<title>{escape(alt)}</title>{_STANDALONE}{svg[start:]}\n'
    )


def plain(text: object) -> str:
    """A name of the user's as text of a picture: one line, nothing that XML cannot hold."""
    return " ".join(re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(text)).split())


def clipped(text: object, most: int) -> str:
    """At most so many letters; the middle is left out, since names of arms differ at their ends."""
    flat = plain(text)
    return flat if len(flat) <= most else f"{flat[: (most - 1) // 2]}…{flat[-(most // 2) :]}"


def tick_text(value: float, _: float = 0) -> str:
    """A number at a tick, short: ``0.25``, ``20k``, ``2e-4``."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if sign == 'k' else size):g}{sign}".replace("-", "−")
    if 0 < abs(value) < 1e-3:
        mantissa, _e, exponent = f"{value:.1e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def grid_lines(axes: Axes, which: str = "y") -> None:
    """Faint lines across, and faint spines."""
    axes.grid(axis=which, color=INK, alpha=FAINT, linewidth=0.6)  # type: ignore[arg-type]
    for spine in axes.spines.values():
        spine.set_alpha(0.4)


def add_legend(figure: Figure, frame: Frame, handles: Sequence[Artist]) -> None:
    """The legend above the axes: a handle for each of the frame's names."""
    if frame.names:
        names = [clipped(name, 44) for name in frame.names]
        figure.legend(handles, names, loc="upper left", bbox_to_anchor=(0.01, 1), ncols=frame.legend_columns)


def axis_label(figure: Figure, frame: Frame, text: str, side: str) -> None:
    """Write what an axis shows, once for all axes: ``side`` is ``left`` or ``bottom``."""
    middle = (frame.bottom + frame.height - frame.top - frame.legend) / 2 / frame.height
    across = (frame.left + WIDTH - frame.right) / 2 / WIDTH
    if side == "left":
        figure.text(0.012, middle, clipped(text, 44), rotation=90, rotation_mode="anchor", ha="center", va="top")
    else:
        figure.text(across, 0.06 / frame.height, clipped(text, 60), ha="center", va="bottom")
