"""``mlrun demo`` before it serves: options, passwords, addresses, and what is said where something is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from trialbook.errors import TrialbookError
from trialbook_plugins.demo.address import address_of, bind, is_loopback
from trialbook_plugins.demo.command import PASSWORD, FileSize, demo, read_password


@pytest.mark.parametrize(
    ("text", "size"),
    [("20MB", 20_000_000), ("20 mb", 20_000_000), ("500kB", 500_000), ("1.5G", 1_500_000_000), ("1e6", 1_000_000), ("7", 7)],
)  # fmt: skip
def test_sizes_are_read(text: object, size: int) -> None:
    assert FileSize().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "many", "20XB", "-5MB", "0", "1.2.3MB", "MB", "0.1"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size"):
        FileSize().convert(text, None, None)


def test_a_password_is_read_from_a_file_the_keyboard_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)
    assert read_password(None, ask=False) is None
    monkeypatch.setenv(PASSWORD, "from outside")
    assert read_password(None, ask=False) == "from outside"
    file = tmp_path / "password"
    file.write_text("of the file\nand a second line\n")
    assert read_password(file, ask=False) == "of the file"
    monkeypatch.setattr(click, "prompt", lambda *_, **options: "typed" if options["hide_input"] else "seen")
    assert read_password(None, ask=True) == "typed"


def test_an_empty_password_lets_nobody_in_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    for content in ("", "\n", "   \nsecond"):
        file.write_text(content)
        with pytest.raises(TrialbookError, match=r"the password is empty: see .*password"):
            read_password(file, ask=False)
    monkeypatch.setenv(PASSWORD, "")
    with pytest.raises(TrialbookError, match=PASSWORD):
        read_password(None, ask=False)
    with pytest.raises(TrialbookError, match="not both"):
        read_password(file, ask=True)


def test_no_option_takes_a_password() -> None:
    done = CliRunner().invoke(demo, ["run", "--password", "secret"])
    assert done.exit_code == 2
    assert "No such option" in done.output


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "gradio" else found(name, *rest)
    )
    done = CliRunner().invoke(demo, ["run"])
    assert isinstance(done.exception, TrialbookError)
    assert str(done.exception) == "'mlrun demo' needs gradio; pip install 'trialbook[demo]'"


def test_help_imports_neither_gradio_nor_torch() -> None:
    code = (
        "import sys\nfrom trialbook.cli.main import main\nsys.argv = ['mlrun', 'demo', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('HEAVY', sorted({'gradio', 'torch', 'PIL', 'numpy', 'fastapi', 'uvicorn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--max-megapixels" in done.stdout
    assert "HEAVY []" in done.stdout


def test_a_port_that_is_taken_is_said_and_the_next_free_one_is_found_where_none_is_asked_for() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(TrialbookError, match=rf"cannot listen at 127\.0\.0\.1:{port} \(.*in use"):
            bind("127.0.0.1", port)
    with bind("127.0.0.1", None) as one, bind("127.0.0.1", None) as other:
        ports = [sock.getsockname()[1] for sock in (one, other)]
        assert 7860 <= ports[0] < ports[1] < 7960
    with pytest.raises(TrialbookError, match=r"cannot listen at 203\.0\.113\.7, ports 7860 to 7959"):
        bind("203.0.113.7", None)
    with pytest.raises(TrialbookError, match=r"cannot listen at no\.such\.host\.invalid:80"):
        bind("no.such.host.invalid", 80)


def test_only_addresses_of_this_machine_are_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "")))


def test_the_address_can_be_typed_into_a_browser() -> None:
    with bind("0.0.0.0", 0) as everywhere:
        assert address_of(everywhere, "0.0.0.0") == f"http://localhost:{everywhere.getsockname()[1]}"
    six = SimpleNamespace(getsockname=lambda: ("::1", 7860, 0, 0))
    assert address_of(six, "::1") == "http://[::1]:7860"  # type: ignore[arg-type]
