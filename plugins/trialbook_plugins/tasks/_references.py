"""Metrics of a probe on reference features of the same samples, trained the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trialbook.contracts import Probe, Probed
from trialbook_plugins.probes.references import pixel_features, random_features, shuffled_tokens
from trialbook_plugins.probes.rows import MadeRows, Rows, held, read_part

from ._values import fit

#: Reference features, best first.
REFERENCES = ("oracle", "pixels", "shuffled", "random")
#: Most numbers of a token of pixels: more make regressions slow and hardly better.
_PIXELS = 192


class ReferenceMetrics:
    """Metrics of probes on other features than those of a layer.

    All but ``shuffled`` depend on a layer's grid alone, or on its grid and width: layers of one shape share them.

    Args:
        references: which ones, of ``REFERENCES``.
        seed: of their draws and of the probes.
    """

    def __init__(self, references: Sequence[str], seed: int) -> None:
        self.references, self.seed = references, seed
        self._known: dict[tuple[Any, ...], dict[str, float]] = {}

    def measure(self, name: str, probe: Probe, train: Probed, final: Probed) -> dict[str, float]:
        """``<figure>/<reference>`` of the probe ``name``, fitted on ``train`` and tried on ``final``."""
        found: dict[str, float] = {}
        for reference in self.references:
            place = (name, reference, *train.features.shape[1 : 3 if reference == "pixels" else 4])
            known = None if reference == "shuffled" else self._known.get(place)
            if known is None:
                first, second = self._made(reference, probe, train, final)
                fitted, tried = train._replace(features=held(first)), final._replace(features=held(second))
                known = self._known[place] = fit(name, probe, fitted, {"final": tried}, self.seed)["final"]
            found |= {
                f"{figure}/{reference}": value
                for figure, value in known.items()
                if not figure.endswith(("/low", "/high"))
            }
        return found

    def _made(self, reference: str, probe: Probe, train: Probed, final: Probed) -> tuple[Rows, Rows]:
        """Features of both splits."""
        if reference == "oracle":
            return _oracle(probe, train, final, self.seed)
        made = []
        for split, data in enumerate((train, final)):
            _, rows, columns, _ = data.features.shape
            if reference == "pixels":
                made.append(pixel_features(data.images, rows, columns, _PIXELS))
            elif reference == "shuffled":
                made.append(shuffled_tokens(data.features, (self.seed, split)))
            else:
                made.append(random_features(tuple(data.features.shape), (self.seed, split)))
        return made[0], made[1]


def _oracle(probe: Probe, train: Probed, final: Probed, seed: int) -> tuple[Rows, Rows]:
    """Made for both splits at once, so that a class that only one of them has is written the same way in both."""
    count = len(train.features)
    labels = {need: [*values, *final.labels[need]] for need, values in train.labels.items()}
    both = Probed(_joined(train.features, final.features), labels, _joined(train.images, final.images))
    made = probe.oracle(both, seed)
    return _part(made, 0, count), _part(made, count, len(made))


def _joined(first: Rows, second: Rows) -> MadeRows:
    """Samples of the first, then of the second."""
    count = len(first)
    return MadeRows(
        (count + len(second), *first.shape[1:]), lambda i: _row(first, i) if i < count else _row(second, i - count)
    )


def _part(rows: Rows, start: int, stop: int) -> MadeRows:
    return MadeRows((stop - start, *rows.shape[1:]), lambda i: _row(rows, start + i))


def _row(rows: Rows, i: int) -> Any:
    return read_part(rows, slice(i, i + 1))[0]
