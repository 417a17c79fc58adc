"""Task ``caption``: samples in words."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from trialbook import TrialbookError
from trialbook.contracts import Builder, Handover
from trialbook.contracts.distributed import spread
from trialbook.contracts.records import Artifact, Record
from trialbook_plugins.datasets.stored import modalities_in, sample_keys
from trialbook_plugins.datasets.stored_texts import CAPTIONS, Caption, write_captions

#: Samples that a captioner is given at once.
_CHUNK = 64


class CaptionSamples:
    """Let a captioner say of every sample what is known of it, and keep the texts.

    What comes of it is read by dataset ``samples``. Metrics are the number of captions, the share of different ones, and their
    mean length in words.

    Raises:
        TrialbookError: the data set has no annotation ``facts``, or the captioner gives an empty text.
    """

    takes = {"dataset": "one", "captioner": "one"}
    provides = ()
    produces = ("captions", "distinct", "words")

    def __init__(self, builder: Builder, /) -> None:
        self._builder = builder

    def setup(self) -> None:
        """Make the data set and the captioner."""
        self.dataset = self._builder.make("dataset")
        self.captioner = self._builder.make("captioner")

    def measured(self, done: int) -> None:
        """There is one measurement."""

    def measurements(self) -> Iterator[Record | Artifact]:
        """The captions, then what can be counted of them."""
        captions = [one for split in self.dataset.splits() for one in self._split(split)]
        yield Artifact(0, CAPTIONS, partial(write_captions, captions=captions))
        texts = [one.text for one in captions]
        words = sum(len(text.split()) for text in texts)
        distinct, count = len(set(texts)), len(texts)
        yield Record(0, {"captions": float(count), "distinct": distinct / count, "words": words / count})

    def _split(self, name: str) -> list[Caption]:
        split = self.dataset.splits()[name]
        try:
            facts = split.labels("facts")
        except KeyError:
            raise TrialbookError("the data set says nothing of its samples: it has no annotation 'facts'") from None
        keys = sample_keys(split, modalities_in(self.dataset)[0])

        def caption(start: int) -> list[str]:
            handover = Handover()
            told = handover.give("facts", [facts[group] for group in range(start, min(start + _CHUNK, len(split)))])
            with handover.to(
                f"captioner '{self._builder.option('captioner', None, 'use', type(self.captioner).__name__)}'"
            ):
                return list(self.captioner.caption(told))

        texts = [text for chunk in spread(caption, range(0, len(split), _CHUNK)) for text in chunk]
        for group, text in enumerate(texts):
            if not text.strip():
                raise TrialbookError(f"the captioner says nothing of sample {group} of split '{name}'")
        return [Caption(name, group, keys[group], text) for group, text in enumerate(texts)]
