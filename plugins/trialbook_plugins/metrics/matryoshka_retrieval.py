"""Metric ``matryoshka-retrieval``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from trialbook import TrialbookError
from trialbook_plugins.metrics.retrieval import Retrieval


class MatryoshkaRetrieval:
    """Recall@K of embeddings cut to their first d numbers, and the share that is kept of what the widest size finds.

    The cut embeddings are normalised again and ranked as metric ``retrieval`` does, ties included. The share kept at d is
    recall@K at d over recall@K at the largest of ``dims``; it may be above 1, and is 0 where the largest finds nothing.

    Args:
        dim: width of the embeddings, where the task tells it.
        dims: sizes to measure, e.g. ``[64, 128, 256, 512]``; name the full width to compare with whole embeddings.
        k: the K of recall@K.
        chunk: rows compared at once, on either side, as in ``retrieval``.

    Raises:
        ValueError: ``dims`` is empty, repeats a size or has one outside [1, dim], ``k`` is empty, repeats a number or has
            one below 1, or ``chunk`` is below 1.

    Source: Matryoshka Representation Learning, section 4.2 (retrieval at nested sizes); RAIVNLab/MRL, which normalises after
    the cut.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")
    produces: ClassVar[tuple[str, ...]] = ("{pair}@{k}/d{dims}", "{pair}@{k}/kept/d{dims}")

    def __init__(
        self, dim: int | None = None, /, *, dims: list[int], k: list[int] = [1, 5, 10], chunk: int = 1024,  # noqa: B006 (copied)
    ) -> None:  # fmt: skip
        if not dims or len(set(dims)) < len(dims) or min(dims) < 1:
            raise ValueError(f"dims ({dims}) must name at least one size, each once and at least 1")
        if dim is not None and max(dims) > dim:
            raise ValueError(f"dims ({max(dims)}) must not be above the width of the embeddings ({dim})")
        self.dims = tuple(dims)
        self.retrieval = Retrieval(k=k, chunk=chunk)

    def compute(self, *, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics of a split; NaN for a pair with an embedding that is not finite.

        Args:
            embeddings: modality name to all rows [R, D], not normalised.
            groups: modality name to the group of every row, int64 [R].
        Raises:
            TrialbookError: one of ``dims`` is above the width of a modality, or ``retrieval`` refuses the rows.
        """
        for name, rows in embeddings.items():
            if max(self.dims) > rows.shape[1]:
                raise TrialbookError(
                    f"matryoshka-retrieval: dims names {max(self.dims)}, but the embeddings of '{name}' are "
                    f"{rows.shape[1]} wide"
                )
        found = {size: self._recalls(size, embeddings, groups) for size in self.dims}
        widest = found[max(self.dims)]
        values = {f"{name}/d{size}": recall for size, recalls in found.items() for name, recall in recalls.items()}
        for size, recalls in found.items():
            for name, recall in recalls.items():
                values[f"{name}/kept/d{size}"] = recall / widest[name] if widest[name] else 0.0
        return values

    def _recalls(self, size: int, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> dict[str, float]:
        """Recall@K of every direction at one size; ``i2t@1``."""
        cut = {name: rows[:, :size] for name, rows in embeddings.items()}
        figures = self.retrieval.compute(embeddings=cut, groups=groups)
        return {name: value for name, value in figures.items() if "@" in name}
