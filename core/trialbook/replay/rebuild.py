"""Making a recorded run's parts once more, to be filled from a checkpoint; with its own data, or others to be evaluated.

Imported late: it needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.config.runspec import RunSpec
from trialbook.config.toml import KeyPath
from trialbook.contracts.datasets import Modality, Split, content_hash, modalities_of
from trialbook.engine.builder import BuildContext, RunBuilder
from trialbook.errors import ExperimentErrors, Problem, TrialbookError

if TYPE_CHECKING:
    from torch import nn


class Rebuilder(RunBuilder):
    """Makes the parts of a recorded run.

    Args:
        spec: the run.
        workshop: as for a run.
        inputs: directories of the runs that it needed.
        other: the same with another ``[dataset]``; its splits are then evaluated, but whatever parts learn from data when
            they are made (a tokenizer's vocabulary, say) comes from the run's own.
        held: names of the tensors in the checkpoint that parts are filled from.
        taken: part to the number of tensors that the run took over from an earlier one.

    Attributes:
        own: the run's own data; None where others are evaluated and its own cannot be read.
        asked: the split whose questions are all asked, whatever the run asked of it; that of its answer if None.
        remarks: what there is to say.
    """

    def __init__(
        self, spec: RunSpec, workshop: BuildContext, inputs: Mapping[str, Path], *, other: RunSpec | None = None,
        held: Sequence[str] = (), taken: Mapping[str, int],
    ) -> None:  # fmt: skip
        super().__init__(spec, workshop, inputs)
        self.other, self.held, self.taken = other, held, taken
        self.own: Any = None
        self.asked: str | None = None
        self.remarks: list[str] = []

    @property
    def final_split(self) -> str:
        """The split that is evaluated whole."""
        return self.asked or super().final_split

    def make(self, kind: str, name: str | None = None, /, **injected: Any) -> Any:
        """As ever, but the data to be evaluated in place of the run's own."""
        if kind != "dataset":
            return super().make(kind, name, **injected)
        if self.other is None:
            self.own = super().make(kind, name, **injected)
        elif not isinstance(self.dataset, Joined):
            given, why = RunBuilder(self.other, self.workshop).make("dataset"), ""
            try:
                self.own = super().make(kind, name, **injected)
            except (TrialbookError, OSError) as error:
                self.remarks.append(
                    f"the run's own data cannot be read, so no overlap with them was looked for: {error}"
                )
                why = str(error)
            names = modalities_of(given, self.other.config["dataset"])
            self.dataset = Joined(given, names, self.own, why, self.remarks)
        return self.dataset

    def _start(self, label: str, path: KeyPath, table: Mapping[str, Any], module: nn.Module) -> None:
        """The earlier run may be gone where the checkpoint holds all that was taken over from it."""
        try:
            super()._start(label, path, table, module)
        except TrialbookError:
            if not 0 < self.taken.get(label, 0) <= sum(name.startswith(f"{label}.") for name in self.held):
                raise


@dataclass
class Joined:
    """The splits of one data set with the vocabulary of another: implements ``trialbook.contracts.Dataset``.

    Args:
        given: the data to be evaluated.
        names: its modalities.
        own: the data that the run was made with; None where they cannot be read, and then ``why``.
        remarks: takes what there is to say.
    """

    given: Any
    names: Sequence[str]
    own: Any
    why: str
    remarks: list[str] = field(default_factory=list)

    @property
    def modalities(self) -> Any:
        """Those of the data to be evaluated."""
        return self.given.modalities

    def describe(self, modality: str) -> Modality:
        """As the run's own data describe it, so that parts are made as they were.

        Raises:
            TrialbookError: the data to be evaluated have no such modality, or one of another kind or width.
        """
        if modality not in self.names:
            has = f"these data have not (they have {', '.join(self.names)})"
            raise _unfit(f"the run needs the modality '{modality}', which {has}")
        here: Modality = self.given.describe(modality)
        if self.own is None:
            return Modality(here.kind, here.shape, self._no_corpus)
        then: Modality = self.own.describe(modality)
        if here.kind != then.kind or (here.kind in ("vector", "series") and here.shape[-1:] != then.shape[-1:]):
            shapes = [f"{one.kind} {one.shape}" for one in (then, here)]
            raise _unfit(f"'{modality}' is {shapes[0]} in the run's data and {shapes[1]} in these")
        if here.shape != then.shape:
            said = f"rows of '{modality}' have the shape {here.shape}; in the run's data it is {then.shape}"
            self.remarks += [said] * (said not in self.remarks)
        return then

    def splits(self) -> Mapping[str, Split]:
        """Those of the data to be evaluated; ``train`` is the run's own where they have none."""
        found: dict[str, Split] = dict(self.given.splits())
        return found if "train" in found or self.own is None else {"train": self.own.splits()["train"], **found}

    @property
    def fingerprint(self) -> str:
        """Of both."""
        if self.own is None:
            return str(self.given.fingerprint)
        return content_hash("joined", self.own.fingerprint, self.given.fingerprint)

    def _no_corpus(self) -> Sequence[str]:
        raise TrialbookError(
            f"a part learns from the run's own data when it is made, and they cannot be read: {self.why}"
        )


def _unfit(message: str) -> ExperimentErrors:
    return ExperimentErrors([Problem("--dataset", 0, "dataset", message)])
