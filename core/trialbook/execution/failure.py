"""The reason why a run ended before its end: in a line for people, and with its place in the code for ``error.txt``."""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trialbook.engine.oom import out_of_memory
from trialbook.errors import TrialbookError
from trialbook.registry.ranks import rank

_LOST = re.compile(r"(?i)connection (was )?(closed|reset|refused)|broken pipe|remote process exited")


@dataclass(frozen=True)
class Failure:
    """The reason why a run ended before its end.

    Args:
        rank: of the process that failed.
        message: in a line.
        text: with the place in the code, for ``error.txt``.
        interrupted: from the keyboard; the run can be resumed.
    """

    rank: int
    message: str
    text: str
    interrupted: bool = False

    @classmethod
    def of(cls, error: BaseException, config: Mapping[str, Any], packages: Collection[str] = ()) -> Failure:
        """That of an error in this process; one that a user can act on needs no place in the code.

        Args:
            error: with its traceback.
            config: the run's resolved configuration, for advice where memory ran out.
            packages: of plugins, see ``error_line``.
        """
        if isinstance(error, PeerFailed):
            return error.failure
        error = explain_error(error, config)
        message = error_line(error, packages)
        text = message if isinstance(error, TrialbookError) else "".join(traceback.format_exception(error))
        return cls(rank(), message, text)

    @property
    def full_message(self) -> str:
        """The message, with the process that it comes from."""
        return f"process {self.rank}: {self.message}" if self.rank else self.message

    @property
    def full_text(self) -> str:
        """The text, with the process that it comes from."""
        if not self.rank:
            return self.text
        return self.full_message if self.text == self.message else f"process {self.rank}:\n{self.text}"


class PeerFailed(TrialbookError):
    """Another process failed; this one has come to an end too."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.full_message)
        self.failure = failure


def explain_error(error: BaseException, config: Mapping[str, Any]) -> BaseException:
    """Explain what a user can do about an error, where something can be said: memory ran out, or another process was killed."""
    return out_of_memory(error, config) or lost_process(error) or error


def lost_process(error: BaseException) -> TrialbookError | None:
    """Explain an error that a collective met because another process is gone; None for any other.

    One that fails says so before it goes; what is gone without a word was killed.
    """
    if not isinstance(error, RuntimeError) or not _LOST.search(str(error)):
        return None
    return TrialbookError(
        f"another process of this run was killed, perhaps as its memory ran out ({first_line(error)}); the same command goes "
        "on from the last checkpoint"
    )


def error_line(error: BaseException, packages: Collection[str] = ()) -> str:
    """An error in a line; one that no user can fix, with the place in the code that it comes from.

    Args:
        error: with its traceback.
        packages: top-level packages of plugins: of the calls that led to the error, the last one in these is named, not one
            of a library that it called.
    """
    if isinstance(error, TrialbookError):
        return str(error)
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [one for one in frames if str(one[0].f_globals.get("__name__")).partition(".")[0] in packages]
    frame, line = (own or frames)[-1]
    return f"{type(error).__name__}: {error} ({frame.f_code.co_filename}:{line})"


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error) or type(error).__name__).strip().splitlines()[0]
