"""Text between tags."""

from __future__ import annotations

import html
import re


def escape(text: str) -> str:
    """Text that is safe between tags and within quotes; what no page may hold is shown as a replacement sign."""
    return html.escape(re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))
