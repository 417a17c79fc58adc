"""Dataset ``samples``: what earlier steps prepared, put together by content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality, Rows, content_hash
from trialbook_plugins.datasets._splits import (
    Column,
    Pool,
    PooledDataset,
    PoolSplit,
    array_column,
    joined,
    text_column,
    unknown_modality,
)
from trialbook_plugins.datasets.stored import SAMPLES_ABOUT, Kept, read_kept
from trialbook_plugins.datasets.stored_texts import CAPTIONS, EMBEDDINGS, EMBEDDINGS_NPZ, read_captions, read_vectors


class Samples(PooledDataset):
    """Samples that a run of task ``sample`` kept, with captions and embeddings that ``caption`` and ``embed`` made of them.

    Each modality is named with the step (or the folder) that it comes from: the samples themselves, captions as texts, embeddings
    as vectors. The first must be samples: they have the splits and annotations. What was made of other samples is refused, by
    content and not by number.

    Args:
        data_root: folder that relative paths start from.
        inputs: directories of the runs that this run needs, by name.
        modalities: modality to a step that this run needs, or to a folder.
    Raises:
        TrialbookError: no modality is named; on first reading: there is nothing of that sort, or it belongs to other samples.
    """

    modalities = "modalities"

    def __init__(
        self, data_root: Path | None = None, inputs: Mapping[str, Path] | None = None, /, *, modalities: dict[str, str]
    ) -> None:
        if not modalities:
            raise TrialbookError("'modalities' must name at least one, with the step or folder that it comes from")
        self.names = dict(modalities)
        self._root, self._inputs = data_root, dict(inputs or {})
        self._told: list[str] = []

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``modality``."""
        if modality not in self.names:
            raise unknown_modality(modality, tuple(self.names))
        return self._described[0][modality]

    @property
    def preparation(self) -> tuple[object, ...]:  # type: ignore[override]
        """The modalities that were kept, and what vectors were made of, as far as they tell."""
        columns = self._described[1]
        told = [content_hash(*columns[name].identity()) for name in self._told if columns[name].identity]
        return (self._kept.fingerprint, *told)

    @cached_property
    def _kept(self) -> Kept:
        first = next(iter(self.names))
        kept = read_kept(self._folder(first))
        if first not in kept.rows:
            raise TrialbookError(f"the samples of '{self.names[first]}' have {', '.join(kept.rows)}, and no '{first}'")
        return kept

    @cached_property
    def _described(self) -> tuple[dict[str, Modality], dict[str, Column]]:
        modalities, columns = {}, {}
        for name in self.names:
            modalities[name], columns[name] = self._column(name)
        return modalities, columns

    def _cut(self) -> dict[str, PoolSplit]:
        kept, (_, columns) = self._kept, self._described
        arrays = {
            name: np.array(values) if isinstance(values[0], int | float) else values
            for name, values in kept.labels.items()
        }
        pool = Pool(len(kept.keys), columns, arrays)
        edges = np.cumsum([0, *kept.splits.values()])
        return {
            name: pool.split(name, np.arange(start, stop))
            for name, start, stop in zip(kept.splits, edges[:-1], edges[1:], strict=True)
        }

    def _column(self, name: str) -> tuple[Modality, Column]:
        """A modality's rows, from whatever its folder holds."""
        folder, kept = self._folder(name), self._kept
        holds = [one for one in (SAMPLES_ABOUT, CAPTIONS, EMBEDDINGS, EMBEDDINGS_NPZ) if (folder / one).is_file()]
        if SAMPLES_ABOUT in holds:
            own = read_kept(folder)
            self._same(name, own.keys)
            if name not in own.rows:
                raise TrialbookError(f"the samples of '{self.names[name]}' have {', '.join(own.rows)}, and no '{name}'")
            says = own.identity.get(name)
            column = Column(
                own.groups[name], own.rows[name].read, lambda: own.content[name], None if says is None else lambda: says
            )
            return own.modalities[name], column
        if CAPTIONS in holds:
            return self._captions(name, folder)
        if holds:
            found = read_vectors(folder)
            self._belongs(name, found.groups, found.samples)
            column = array_column(found.vectors, found.groups, list(found.content))
            says = found.identity
            self._told += [name] * (says is not None)
            own = array_column(found.vectors).content if says is None else lambda: says
            column = replace(column, identity=own)
            return Modality("vector", found.vectors.shape[1:]), joined(column, lambda: kept.keys)
        raise TrialbookError(f"'{name}' ({folder}) holds neither samples nor captions nor embeddings")

    def _captions(self, name: str, folder: Path) -> tuple[Modality, Column]:
        kept, captions = self._kept, read_captions(folder)
        edges = dict(zip(kept.splits, np.cumsum([0, *kept.splits.values()])[:-1].tolist(), strict=True))
        if strange := {one.split for one in captions} - set(edges):
            raise TrialbookError(f"'{name}': captions of split '{sorted(strange)[0]}', which the samples do not have")
        groups = np.array([edges[one.split] + one.group for one in captions], dtype=np.int64)
        self._belongs(name, groups, [one.sample for one in captions])
        texts = [one.text for one in captions]
        train = kept.splits["train"]
        corpus = cache(lambda: [text for text, group in zip(texts, groups, strict=True) if group < train])
        return Modality("text", (), corpus), joined(text_column(texts, groups), lambda: kept.keys)

    def _folder(self, name: str) -> Path:
        """The folder that a modality comes from."""
        said = self.names[name]
        if said in self._inputs:
            return self._inputs[said] / "artifacts"
        path = Path(said).expanduser()
        path = path if path.is_absolute() or self._root is None else self._root / path
        if not path.is_dir():
            needed = ", ".join(self._inputs) or "none"
            raise TrialbookError(f"modalities: '{said}' is neither a step that this run needs ({needed}) nor a folder")
        return path

    def _same(self, name: str, keys: Sequence[str]) -> None:
        if list(keys) != list(self._kept.keys):
            raise TrialbookError(f"'{name}' ({self.names[name]}) holds other samples than '{next(iter(self.names))}'")

    def _belongs(self, name: str, groups: Rows, samples: Sequence[str]) -> None:
        """Rows must name the content of the very sample that they are said to belong to, and leave none without."""
        keys = self._kept.keys
        if len(groups) and not 0 <= int(groups.min()) <= int(groups.max()) < len(keys):
            raise TrialbookError(
                f"'{name}' ({self.names[name]}) has rows of {int(groups.max()) + 1} samples; there are {len(keys)}"
            )
        wrong = [row for row, group in enumerate(groups.tolist()) if samples[row] != keys[group]]
        if wrong:
            raise TrialbookError(
                f"'{name}' ({self.names[name]}) was made of other samples: {len(wrong)} of {len(groups)} rows, first row "
                f"{wrong[0]}"
            )
        missing = sorted(set(range(len(keys))) - Counter(groups.tolist()).keys())
        if missing:
            raise TrialbookError(
                f"'{name}' ({self.names[name]}) has no row for {len(missing)} of {len(keys)} samples, first sample {missing[0]}"
            )
