"""The images that answers are about, small enough to stand in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.contracts.predictions import Prediction
from trialbook.reports.document.blocks import Photo

if TYPE_CHECKING:
    from PIL.Image import Image

#: Longest side of a picture in a page, in pixels: a line of a page of text stays legible.
SIDE = 1000
#: Most bytes of all pictures in a page.
LIMIT = 12_000_000


class Photos:
    """Makes pictures for a page, each once, until they are too many.

    Args:
        images: a question to its images (paths, or uint8 arrays [3, H, W]); empty where the data do not know them.
        folders: where relative paths of a question's own images start.
        limit: most bytes of all pictures.

    Attributes:
        missing: how many pictures could not be had; left_out: how many for want of room.
    """

    def __init__(
        self, images: Callable[[Prediction], Sequence[Any]], folders: Iterable[Path] = (), limit: int = LIMIT
    ) -> None:
        self._images, self._folders, self._room = images, list(folders), limit
        self._made: dict[str, Photo | None] = {}
        self.missing = self.left_out = 0

    def of(self, prediction: Prediction) -> list[Photo]:
        """The images of a question, in their order; those that cannot be had are left out and counted."""
        found: Sequence[Any] = self._images(prediction) or [self._file(path) for path in prediction.images]
        named = prediction.images if len(prediction.images) == len(found) else ()
        made = []
        for place, source in enumerate(found):
            key = str(source) if isinstance(source, Path) else named[place] if named else f"{prediction.id}/{place}"
            if key not in self._made:
                self._made[key] = self._make(f"photo-{len(self._made)}", source)
            made.append(self._made[key])
        return [one for one in made if one is not None]

    def _file(self, path: str) -> Path | None:
        given = Path(path).expanduser()
        places = [given] if given.is_absolute() else [folder / given for folder in self._folders]
        return next((place for place in places if place.is_file()), None)

    def _make(self, name: str, source: Any) -> Photo | None:
        from PIL import Image

        from trialbook.contracts.pictures import UNREADABLE

        if self._room <= 0:
            self.left_out += 1
            return None
        try:
            if source is None:
                raise OSError("there is no such file")
            opened = Image.open(source) if isinstance(source, Path) else Image.fromarray(source.transpose(1, 2, 0))
            kind, data, size = shrink(opened)
        except UNREADABLE:
            self.missing += 1
            return None
        self._room -= len(data)
        return Photo(name, f"data:image/{kind};base64,{base64.b64encode(data).decode()}", *size)


def shrink(image: Image) -> tuple[str, bytes, tuple[int, int]]:
    """An image at most ``SIDE`` wide and high as WebP or PNG, whichever is smaller, and its size."""
    from PIL import Image as pillow

    from trialbook.contracts.pictures import to_rgb

    image.draft("RGB", (SIDE, SIDE))
    small = to_rgb(image)
    small.thumbnail((SIDE, SIDE), pillow.Resampling.LANCZOS)
    found = []
    for kind, options in (("webp", {"quality": 78}), ("png", {"optimize": True})):
        stream = io.BytesIO()
        small.save(stream, kind, **options)
        found.append((kind, stream.getvalue()))
    kind, data = min(found, key=lambda one: len(one[1]))
    return kind, data, small.size
