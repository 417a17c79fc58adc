"""A folder of conversations that ``mlrun data build`` made, or that was written by hand."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.conversation_folder import MANIFEST, ConversationFolder, Line, read_folder
from trialbook.contracts.conversations import Conversation
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets._conversations import MODALITIES, conversation_column, describe_conversations
from trialbook_plugins.datasets._images import Pictures, check_size
from trialbook_plugins.datasets._paths import locate
from trialbook_plugins.datasets._splits import Column, Pool, PooledDataset, PoolSplit, refuse_overlap


class Conversations(PooledDataset):
    """Conversations (``conversation``) of a folder, and the pictures (``image``) that they are about.

    ``train.jsonl``, ``val.jsonl`` and ``test.jsonl`` hold a conversation a line, which may also be LLaVA's; the pictures lie in
    the folder. Conversations of one source about the same pictures are a group; one without pictures is a group of its own. A
    conversation whose stored hash no longer fits what it says and shows is refused. Annotation of a split: ``source`` of each
    group.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: the folder.
        size: side of the pictures: the longer side is resized to it and white fills the square; 0 keeps them as they are.
        allow_overlap: accept splits that share pictures or conversations.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a line is broken (with file and line), a picture is not
            there, or splits share content.
    """

    modalities = {"image": "image", "conversation": "conversation"}
    reads = MANIFEST

    def __init__(
        self, data_root: Path | None = None, /, *, root: str, size: int = 0, allow_overlap: bool = False
    ) -> None:
        self.data_root = data_root
        self.root = root
        self.size = check_size(size)
        self.preparation = (size,)
        self.allow_overlap = allow_overlap

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image`` or ``conversation``."""
        return describe_conversations(modality, self.size, self.splits)

    @property
    def licence(self) -> str:
        """The licences that the folder's manifest states."""
        return str(self._folder.manifest.get("licence", ""))

    @cached_property
    def _folder(self) -> ConversationFolder:
        return read_folder(locate(self.data_root, self.root))

    def _cut(self) -> dict[str, PoolSplit]:
        folder = self._folder
        splits = {name: _pool(lines, folder, self.size).split(name) for name, lines in folder.splits.items()}
        for name, lines in folder.splits.items():
            _check_hashes(lines, splits[name])
        if not self.allow_overlap:
            refuse_overlap(splits, MODALITIES, folder.path)
        return splits


def _pool(lines: list[Line], folder: ConversationFolder, size: int) -> Pool:
    places: dict[tuple[str, ...], int] = {}
    owners = []
    for line in lines:
        one = line.conversation
        key = (one.source, *one.images) if one.images else (one.source, "", one.id)
        owners.append(places.setdefault(key, len(places)))
    shown = [[name for name in key[1:] if name] if key[1] else [] for key in places]
    files = [folder.image(name) for names in shown for name in names]
    pictures = Pictures(lambda row: files[row].read_bytes(), files, size, crop=False)
    of_image = np.repeat(np.arange(len(places)), [len(names) for names in shown])
    image = Column(of_image, pictures.read, lambda: pictures.hashes)
    said = [line.conversation for line in lines]
    columns = {"image": image, "conversation": conversation_column(said, np.array(owners, dtype=np.int64), image)}
    return Pool(len(places), columns, {"source": [key[0] for key in places]}, path=files.__getitem__)


def _check_hashes(lines: list[Line], split: PoolSplit) -> None:
    """Stop where a stored hash is not that of what is said and shown."""
    said: list[Conversation] = split.read("conversation", np.arange(len(lines)))
    for line, one in zip(lines, said, strict=True):
        if line.conversation.hash not in ("", one.hash):
            raise TrialbookError(
                f"{line.where}: conversation '{one.id}' or a picture of it was changed after it was built: its hash no longer "
                "fits; build the folder again, or leave the hash out"
            )
