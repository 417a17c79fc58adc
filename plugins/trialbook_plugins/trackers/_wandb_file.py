"""The content of a run's ``.wandb`` files: the log that Weights & Biases keeps of a run, whether it is sent or not."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEAD, _BLOCK, _RECORD_HEAD = 7, 32768, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read_history(file: Path) -> Iterator[dict[str, Any]]:
    """Every row of the history in a file, key to value; a torn end is left out."""
    for record in read_records(file):
        if record.WhichOneof("record_type") == "history":
            yield {_key(item): json.loads(item.value_json) for item in record.history.item}


def is_closed(file: Path) -> bool:
    """Return whether the last record says that the run ended there: everything that was told before is in the file."""
    if not file.is_file():
        return False
    with file.open("rb") as content:
        size = content.seek(0, os.SEEK_END)
        start = max(0, size // _BLOCK - 1) * _BLOCK  # blocks begin again, so the last two can be read alone
        content.seek(start)
        data = content.read()
    last = None
    for last in _entries(data, at=_HEAD if start == 0 else 0):  # noqa: B007 - the last one is wanted
        pass
    return last is not None and _parsed(last).WhichOneof("record_type") == "exit"


def read_records(file: Path) -> Iterator[Any]:
    """The records of a file, as messages of wandb's own ``Record``."""
    for data in _entries(file.read_bytes()):
        yield _parsed(data)


def _parsed(data: bytes) -> Any:
    from wandb.proto.wandb_internal_pb2 import Record

    record = Record()
    record.ParseFromString(data)
    return record


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def _entries(data: bytes, at: int = _HEAD) -> Iterator[bytes]:
    """Entries of a log of LevelDB's format from byte ``at`` (a file has a header of 7), up to the first that is not whole.

    The rest of an entry that began before ``data`` is left out.

    Source: LevelDB, ``doc/log_format.md``; wandb's header is ``:W&B``, a magic number and a version, and its checksum is CRC-32
    of type and content.
    """
    parts: list[bytes] = []
    while at + _RECORD_HEAD <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _RECORD_HEAD:
            at += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, at)
        body = data[at + _RECORD_HEAD : at + _RECORD_HEAD + length]
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or len(body) < length:
            return
        if zlib.crc32(body, zlib.crc32(bytes([kind]))) & 0xFFFFFFFF != checksum:
            return
        at += _RECORD_HEAD + length
        begins = kind in (_FULL, _FIRST)
        if not begins and not parts:
            continue
        parts = [body] if begins else [*parts, body]
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []
