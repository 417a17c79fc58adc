"""Images into a language model, which answers questions about them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Builder, Features, Generated, Step, as_float64, device_of, to_device
from trialbook.contracts.conversations import Conversation, Turn
from trialbook.contracts.distributed import spread
from trialbook.contracts.metric_values import per_sample_of
from trialbook.contracts.predictions import ABSTENTIONS, Prediction, is_abstention
from trialbook.contracts.records import Event, Facts
from trialbook_plugins.encoders.letterbox import letterboxed
from trialbook_plugins.tasks._blocks import Projected, blocks_of, count_blocks, project
from trialbook_plugins.tasks._conversations import Batch, SplitConversations, pad
from trialbook_plugins.tasks._export import export
from trialbook_plugins.tasks._rows import Rows, prepared_rows
from trialbook_plugins.tasks._tags import Known
from trialbook_plugins.tasks._token_sequences import IGNORED, Sequencer
from trialbook_plugins.tasks._values import compute


class Instruct(nn.Module):
    """Teach a language model to answer questions about images, and ask it.

    Each image goes through the encoder (frozen or trained) and the projector to M tokens of the language model's width, which
    stand in the place of the image among the embeddings of the text. An image that the encoder cuts into tiles has M tokens for
    each of them. The loss is the mean cross-entropy over the tokens of the answers; images, prompts and padding are not learned.
    The last question of each conversation is asked in evaluation.

    Args:
        max_length: tokens of a sequence in training, image tokens included; what is longer is shortened by whole exchanges,
            then at the end of the answer, and counted.
        max_new_tokens: tokens of an answer at most.
        temperature: of sampling; 0 takes the likeliest token.
        top_p: sample from the likeliest tokens that have this probability together.
        questions: most questions, evenly chosen, asked of a split that is evaluated on the way; 0 asks all. The final
            split is always asked whole.
        abstentions: texts that decline to answer; the usual ones if left out.

    Raises:
        TrialbookError: an option is out of its range, there is no or more than one encoder, no projector stands behind it, or no
            sample is left to learn from.

    Source: Liu et al. 2023 (LLaVA), sections 4.1 and 4.2.
    """

    takes = {"dataset": "one", "encoder": "modality", "projector": "modality", "llm": "one", "metric": "many"}
    provides = ("predictions",)
    produces = ("loss", "too_long")
    lower_is_better = ("loss", "too_long")

    def __init__(
        self, builder: Builder, /, *, max_length: int = 1024, max_new_tokens: int = 32, temperature: float = 0.0,
        top_p: float = 1.0, questions: int = 0, abstentions: list[str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value in {"max_length": max_length, "max_new_tokens": max_new_tokens}.items():
            if value < 1:
                raise TrialbookError(f"{name} ({value}) must be at least 1")
        if temperature < 0 or not 0 < top_p <= 1 or questions < 0:
            raise TrialbookError("temperature and questions must not be below 0, and top_p above 0 and at most 1")
        self._builder = builder
        self.max_length, self.max_new_tokens = max_length, max_new_tokens
        self.temperature, self.top_p, self.questions = temperature, top_p, questions
        self.abstentions = tuple(abstentions or ABSTENTIONS)

    def setup(self) -> None:
        """Read the data, make the parts, store what a frozen encoder gives."""
        builder = self._builder
        self.dataset = builder.make("dataset")
        if len(names := builder.names("encoder")) != 1:
            raise TrialbookError(f"task 'instruct' needs one [encoder.…], not {len(names)}")
        self.modality = names[0]
        self.encoder: nn.Module = builder.make("encoder", self.modality, modality=self.dataset.describe(self.modality))
        self.frozen = bool(builder.option("encoder", self.modality, "frozen", False))
        corpus = self.dataset.describe("conversation").corpus
        self.llm: Any = builder.make("llm", corpus=corpus)
        if self.modality not in builder.names("projector"):
            raise TrialbookError(f"task 'instruct' needs a [projector.{self.modality}] in front of the language model")
        self.projector: nn.Module = builder.make(
            "projector",
            self.modality,
            dim_in=int(self.encoder.dim),
            dim_out=int(self.llm.dim),  # type: ignore[arg-type]
        )
        if self.llm.context and self.max_length > self.llm.context:
            raise TrialbookError(
                f"max_length ({self.max_length}) must not be above the language model's {self.llm.context} tokens"
            )
        self.metrics = {name: builder.make("metric", name) for name in builder.names("metric")}
        self.parts = nn.ModuleDict({
            "encoder": nn.ModuleDict({} if self.frozen else {self.modality: self.encoder}),
            "projector": nn.ModuleDict({self.modality: self.projector}),
            "llm": self.llm,
        })  # fmt: skip
        self._splits: dict[str, SplitConversations] = {}
        self._mixed: dict[str, NDArray[np.int64]] = {}
        self._shown: tuple[str, Mapping[str, Any]] = ("", {})
        self.sequencer = Sequencer(self.llm, self.max_length)
        self.block_tokens = self._count_block_tokens()

    def _count_block_tokens(self) -> int:
        """M, tokens of an image, or of one of its tiles where the encoder cuts it."""
        split = next(iter(self.dataset.splits().values()))
        raw = split.read(self.modality, np.zeros(1, np.int64))
        with torch.no_grad():
            return self._project(prepared_rows(self.encoder, raw)).tokens.shape[2]

    def notes(self) -> Iterator[Event | Facts]:
        """Yield how many training samples were shortened or dropped, and how long an image is at most."""
        train = self._split("train")
        counts = train.counts()
        yield Facts(0, {"samples": {"train": counts}, "image_tokens": int(train.lengths.max(initial=0))})
        if counts["shortened"] or counts["dropped"]:
            said = (
                f"of {counts['conversations']} training conversations {counts['shortened']} were shortened to {self.max_length} "
                f"tokens and {counts['dropped']} dropped, as nothing to learn was left of them"
            )
            yield Event(0, "samples-cut", said, counts)

    # --- training -----------------------------------------------------------------------------------------------

    def module(self) -> nn.Module:
        """All parts that take part in the forward pass; a stored frozen encoder does not."""
        return self.parts

    def size(self, stage: str) -> int:
        """Number of conversations that a stage goes through in an epoch: those of its mixture."""
        return len(self._rows(stage))

    def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> Batch:
        """The conversations of the samples [B], with their images."""
        return self._split("train").batch(self._rows(step.stage)[samples].tolist())

    def weigh(self, samples: NDArray[np.int64], epoch: int, step: Step) -> float:
        """Number of tokens that are learned in the samples."""
        conversations = self._split("train")
        made = [conversations.sequence(row) for row in self._rows(step.stage)[samples].tolist()]
        return float(sum(one.supervised for one in made if one is not None))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Mean cross-entropy over the tokens of the answers."""
        return {"loss": self._cross_entropy(batch) / batch.learned}

    def _cross_entropy(self, batch: Batch) -> Tensor:
        """Sum over the tokens that are learned."""
        targets = batch.labels[:, batch.wanted + 1]
        logits = self.llm(self._embed(batch), batch.mask, batch.wanted)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")

    def _embed(self, batch: Batch) -> Tensor:
        """Embeddings of text and images [B, L, D]."""
        embeds: Tensor = self.llm.embed(batch.ids)
        if batch.images is None:
            return embeds
        tokens = self._project(batch.images).in_line().to(embeds.dtype)
        placed = tokens[batch.slots.clamp(min=0)]
        return torch.where((batch.slots >= 0).unsqueeze(-1), placed, embeds)

    def _project(self, rows: Rows) -> Projected:
        """Images to tokens of the language model."""
        home = device_of(self.parts)
        if rows.stored is not None:
            features: Features = to_device(rows.stored, home)
        elif self.frozen:  # as its stored features were made
            with self._builder.on_device(self.encoder) as device:
                features = to_device(self.encoder(to_device(rows.prepared, device)), home)
        else:
            features = self.encoder(to_device(rows.prepared, home))
        return project(self.projector, self.encoder, features, rows.there)

    def after_step(self) -> None:
        """Nothing is clamped."""

    # --- evaluation ---------------------------------------------------------------------------------------------

    def evaluate(self, split: str) -> dict[str, float]:
        """Loss and metrics of a split; empty where there is no such split."""
        if split not in self.dataset.splits():
            return {}
        conversations, chosen = self._split(split), self._asked(split)
        predictions, unasked = self._ask(conversations, chosen)
        per_sample: dict[str, NDArray[np.float64]] = {}
        self._shown = (split, {"predictions": predictions, "per_sample": per_sample})
        figures = {**self._loss(conversations, chosen), "too_long": float(unasked)}
        known = Known({"predictions": lambda: predictions})
        for name, metric in self.metrics.items():
            values, found = compute(self._builder, name, metric, known, [self.modality])
            per_sample |= per_sample_of(name, found)
            figures |= values
        return figures

    def shown(self, split: str) -> Mapping[str, Any]:
        """Answers of the last evaluation and how right each is, if it was of ``split``."""
        return self._shown[1] if self._shown[0] == split else {}

    def answer(
        self, images: Sequence[NDArray[np.uint8]], question: str, *, max_new_tokens: int | None = None,
        temperature: float = 0.0, seed: int = 0,
    ) -> Prediction:  # fmt: skip
        """The answer to a question about images [3, H, W], which are brought to the size that the data had."""
        if not question.strip():
            raise TrialbookError("ask a question")
        raw = letterboxed(images, self.dataset.describe(self.modality).shape)
        lengths = (blocks_of(self.encoder, raw) * self.block_tokens).tolist()
        prompt = self.sequencer.prompt([Turn("user", question.strip())], lengths)
        longest = max_new_tokens or self.max_new_tokens
        if self.llm.context and len(prompt.ids) + longest > self.llm.context:
            raise TrialbookError(
                f"the question is too long: {len(prompt.ids)} tokens with its images, of {self.llm.context} with the answer"
            )
        self.parts.eval()
        with torch.no_grad():
            rows = prepared_rows(self.encoder, raw) if images else None
            (found,) = self._generate(pad([prompt], rows), longest, temperature, seed)
        asked = Conversation(
            "asked", tuple(f"image {i}" for i in range(len(images))), (Turn("user", question), Turn("assistant", "-"))
        )
        return self._prediction(asked, found)

    def _asked(self, split: str) -> NDArray[np.int64]:
        """Rows of the questions that are asked."""
        count = len(self._split(split))
        if not self.questions or split == self._builder.final_split or count <= self.questions:
            return np.arange(count)
        return np.unique(np.linspace(0, count - 1, self.questions).round().astype(np.int64))

    def _ask(self, conversations: SplitConversations, chosen: NDArray[np.int64]) -> tuple[list[Prediction], int]:
        """Answers in the order of the rows, and how many questions do not fit the model: they are not answered."""
        size, context = self._builder.eval_batch_size, self.llm.context
        prompts = {row: conversations.prompt(row) for row in chosen.tolist()}
        fits = [row for row, one in prompts.items() if not context or len(one.ids) + self.max_new_tokens <= context]
        fits.sort(key=lambda row: len(prompts[row].ids))  # little padding; answers do not depend on neighbours

        def answer(at: int) -> list[Generated]:
            rows = fits[at : at + size]
            batch = conversations.gather(rows, [prompts[row] for row in rows])
            return self._generate(batch, self.max_new_tokens, self.temperature, at)

        generated = (one for batch in spread(answer, range(0, len(fits), size)) for one in batch)
        answers = dict(zip(fits, generated, strict=True))
        unasked = Generated("", (), (), False)
        found = [
            self._prediction(conversations.conversations[row], answers.get(row, unasked), conversations.texts_of(row))
            for row in prompts
        ]
        return found, len(prompts) - len(fits)

    def _generate(self, batch: Batch, longest: int, temperature: float, seed: int) -> list[Generated]:
        moved: Batch = to_device(batch, device_of(self.parts))
        found: list[Generated] = self.llm.generate(
            self._embed(moved), moved.mask, max_new_tokens=longest, temperature=temperature, top_p=self.top_p, seed=seed
        )
        return found

    def _prediction(self, asked: Conversation, found: Generated, texts: tuple[str, ...] = ()) -> Prediction:
        logprobs = found.logprobs
        confidence = math.exp(math.fsum(logprobs) / len(logprobs)) if logprobs else None
        return Prediction(
            asked.id, asked.question, found.text, asked.answers if asked.answerable else (), asked.answerable,
            is_abstention(found.text, self.abstentions), confidence, asked.source, asked.kind, asked.images,
            len(found.ids), found.stopped, texts,
        )  # fmt: skip

    def _loss(self, conversations: SplitConversations, chosen: NDArray[np.int64]) -> dict[str, float]:
        """Mean over all tokens that would be learned in the rows."""
        rows = [row for row in chosen.tolist() if conversations.sequence(row) is not None]
        size, count = self._builder.eval_batch_size, 0
        total: float | Tensor = 0.0

        def entropy(at: int) -> tuple[Tensor, int]:
            batch: Batch = to_device(conversations.batch(rows[at : at + size]), device_of(self.parts))
            return as_float64(self._cross_entropy(batch)), batch.learned

        for own, tokens in spread(entropy, range(0, len(rows), size)):
            total, count = total + own, count + tokens
        return {"loss": float(total) / count} if count else {}

    # --- data and export ----------------------------------------------------------------------------------------

    def _split(self, split: str) -> SplitConversations:
        if split not in self._splits:
            part, stored = self.dataset.splits()[split], None
            if self.frozen:
                stored = self._builder.features(self.modality, self.encoder, self.dataset, split, self.modality)
            shape = self.dataset.describe(self.modality).shape
            lengths = count_blocks(self.encoder, part, self.modality, shape, stored) * self.block_tokens
            self._splits[split] = SplitConversations(part, self.modality, self.encoder, stored, self.sequencer, lengths)
        return self._splits[split]

    def _rows(self, stage: str) -> NDArray[np.int64]:
        """Rows of the train split that a stage goes through."""
        if stage not in self._mixed:
            usable = self._split("train").usable()
            if not len(usable):
                raise TrialbookError(
                    f"no training sample fits max_length ({self.max_length}): an image has {self._tokens_of_images()} tokens"
                )
            self._mixed[stage] = self._split("train").mixed(usable, self._builder.mixtures.get(stage))
        return self._mixed[stage]

    def _tokens_of_images(self) -> str:
        """Tokens of an image of the train split, in words."""
        lengths = self._split("train").lengths
        least, most = int(lengths.min()), int(lengths.max())
        return str(most) if least == most else f"{least} to {most}"

    def export(self, folder: Path, *, merged: bool) -> list[str]:
        """The projector as safetensors; adapters in peft's format, or the whole language model."""
        return export(self.parts, self.modality, self.llm, folder, merged=merged)
