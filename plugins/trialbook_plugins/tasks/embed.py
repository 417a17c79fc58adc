"""Task ``embed``: the rows of one modality as vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts import Builder, Features, device_of, to_device
from trialbook.contracts.datasets import Rows, row_identities
from trialbook.contracts.distributed import spread
from trialbook.contracts.records import Artifact, Facts, Record
from trialbook_plugins.datasets.stored import modalities_in, sample_keys
from trialbook_plugins.datasets.stored_texts import EMBEDDINGS, EMBEDDINGS_NPZ, Vectors


class Embed:
    """Give every row of one modality to an encoder and keep the mean of its tokens, as safetensors and as NPZ.

    What comes of it is read by dataset ``samples``, and the NPZ file by dataset ``embeddings`` too. An encoder that gives one
    token a row (``pooled``) does the same in training as here. Metrics are the number of vectors and their width.

    Raises:
        TrialbookError: there is not one encoder, or a vector is not finite.
    """

    takes = {"dataset": "one", "encoder": "modality"}
    provides = ()
    produces = ("vectors", "width")

    def __init__(self, builder: Builder, /) -> None:
        self._builder = builder

    def setup(self) -> None:
        """Make data set and encoder."""
        self.dataset = self._builder.make("dataset")
        names = self._builder.names("encoder")
        if len(names) != 1:
            raise TrialbookError(f"task 'embed' takes one encoder, not {len(names)}")
        self.modality = names[0]
        self.encoder = self._builder.make(
            "encoder", self.modality, modality=self.dataset.describe(self.modality)
        ).eval()

    def measured(self, done: int) -> None:
        """There is one measurement."""

    def measurements(self) -> Iterator[Record | Facts | Artifact]:
        """The vectors, then how many there are."""
        splits, first = self.dataset.splits(), modalities_in(self.dataset)[0]
        groups, samples, content, identity = [], [], [], []
        start = 0
        for split in splits.values():
            own, keys = split.groups(self.modality), sample_keys(split, first)
            groups.append(own + start)
            samples += [keys[group] for group in own.tolist()]
            content += split.content(self.modality)
            identity += row_identities(split, self.modality)
            start += len(split)
        vectors = Vectors(self._vectors(identity), np.concatenate(groups), samples, content, identity)
        if not np.isfinite(vectors.vectors).all():
            raise TrialbookError(f"the encoder of '{self.modality}' gives vectors that are not finite")
        yield Facts(0, {"embedded": {"modality": self.modality, "rows": len(samples)}})
        yield Artifact(0, EMBEDDINGS, vectors.write_safetensors)
        yield Artifact(0, EMBEDDINGS_NPZ, vectors.write_npz)
        yield Record(0, {"vectors": float(len(samples)), "width": float(vectors.vectors.shape[1])})

    def _vectors(self, identity: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of all rows of all splits [R, D]; rows that say the same are encoded once, and have the same bits."""
        _, first, place = np.unique(np.array(identity), return_index=True, return_inverse=True)
        order = np.argsort(first)  # as they come
        parts, start = [], 0
        for split in self.dataset.splits().values():
            stop = start + len(split.groups(self.modality))
            own = first[order][(first[order] >= start) & (first[order] < stop)] - start
            with self._builder.on_device(self.encoder):
                parts += spread(
                    lambda chunk, split=split, own=own: self._encode(split.read(self.modality, own[chunk])),
                    self._chunks(len(own)),
                )
            start = stop
        found: NDArray[np.float32] = np.concatenate(parts)[np.argsort(order)[place]]
        return found

    def _chunks(self, count: int) -> list[Rows]:
        size = self._builder.eval_batch_size
        return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]

    def _encode(self, raw: object) -> NDArray[np.float32]:
        """Mean over the real tokens of every row: [B, D]."""
        features = Features(*self.encoder(to_device(self.encoder.prepare(raw), device_of(self.encoder))))
        return features.mean().detach().float().cpu().numpy()
