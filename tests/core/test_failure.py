"""Why a run failed is told in a line, and at length with the place in the code where that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from trialbook.errors import TrialbookError
from trialbook.execution.failure import Failure, PeerFailed


def failure_of(error: BaseException) -> Failure:
    """That of an error that was raised here."""
    try:
        raise error
    except type(error) as raised:
        return Failure.of(raised, {"train": {"batch_size": 64, "accumulate": 1}})


def test_an_error_of_the_code_is_told_with_its_place() -> None:
    failure = failure_of(ValueError("no"))
    assert failure.message.startswith("ValueError: no (")
    assert Path(__file__).name in failure.message
    assert failure.text.startswith("Traceback")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TrialbookError("write a smaller batch_size"), "write a smaller batch_size"),
        (MemoryError(), "memory ran out while making the parts (MemoryError)"),
        (RuntimeError("Connection closed by peer"), "another process of this run was killed"),
    ],
)
def test_an_error_that_a_user_can_act_on_is_told_in_a_sentence(error: BaseException, message: str) -> None:
    failure = failure_of(error)
    assert failure.message.startswith(message)
    assert failure.text == failure.message


def test_the_failure_of_another_process_is_told_as_its_own() -> None:
    failure = Failure(2, "KeyError: 'x' (a.py:3)", "Traceback …")
    assert failure_of(PeerFailed(failure)) == failure
    assert failure.full_message == "process 2: KeyError: 'x' (a.py:3)"
    assert failure.full_text == "process 2:\nTraceback …"
    assert Failure(2, "a sentence", "a sentence").full_text == "process 2: a sentence"
    assert Failure(0, "a sentence", "a sentence").full_text == "a sentence"


def test_the_rank_of_this_process_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert failure_of(TrialbookError("no")).full_message == "process 1: no"


def test_a_failure_names_the_plugin_s_own_line_and_not_that_of_a_library_it_called() -> None:
    places: dict[str, object] = {"__name__": "my_plugin.parts"}
    exec(compile("import json\n\ndef read(text):\n    return json.loads(text)\n", "my_plugin/parts.py", "exec"), places)
    with pytest.raises(ValueError, match="Expecting") as caught:
        places["read"]("{")  # type: ignore[operator]
    assert "(my_plugin/parts.py:4)" in Failure.of(caught.value, {}, {"my_plugin"}).message
    assert "decoder.py" in Failure.of(caught.value, {}, {"another"}).message
