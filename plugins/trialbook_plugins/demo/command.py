"""``mlrun demo``: ask a finished run in a browser, and look at the registry."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import trialbook
from trialbook import TrialbookError

if TYPE_CHECKING:
    from socket import socket

    from trialbook import Run
    from trialbook_plugins.demo.gate import Rules
    from trialbook_plugins.demo.images import Limits

PASSWORD = "TRIALBOOK_DEMO_PASSWORD"
_UPLOADS = "uploads"
_UNITS = {"": 1, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}


class FileSize(click.ParamType):
    """Bytes, as ``20MB``, ``500 kB`` or ``1e6``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        found = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*([KMG]?)B?\s*", str(value), re.IGNORECASE)
        try:
            size = round(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
        except ValueError:
            size = 0
        if size < 1:
            self.fail(f"'{value}' is no size; write for instance 20MB", param, ctx)
        return size


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    try:
        names = [run.name for run in trialbook.runs(runs=ctx.params.get("runs"))]
    except TrialbookError:
        return []
    return [name for name in names if name.startswith(incomplete)]


@click.command(short_help="Ask a finished run in a browser, and look at the registry there.")
@click.argument("run", shell_complete=_complete)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port; the first free one from 7860 on if left out, any for 0."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; 0.0.0.0 lets the whole network in.")
@click.option(
    "--threshold", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Abstain below this confidence."
)
@click.option("--examples", type=click.IntRange(0, 64), default=8, show_default=True, help="Questions to offer.")
@click.option("--max-upload", type=FileSize(), default="20MB", show_default=True, help="Largest file.")
@click.option(
    "--max-megapixels",
    type=click.FloatRange(0, 178, min_open=True),
    default=50.0,
    show_default=True,
    help="Largest picture.",
)
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File whose first line is the password.",
)
@click.option("--ask-password", is_flag=True, help="Ask for a password now.")
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")
def demo(
    run: str, port: int | None, host: str, threshold: float, examples: int, max_upload: int, max_megapixels: float,
    password_file: Path | None, ask_password: bool, runs: Path | None,
) -> None:  # fmt: skip
    """Ask RUN in a browser: upload a document or a screenshot, type a question, see the answer or why there is none.

    RUN is a name or the beginning of one, an id, a path, or the path of a checkpoint. A second page shows the registry.
    Only this machine is let in unless --host says otherwise. A password, with any user name, is asked for if there is a
    --password-file, --ask-password, or the variable TRIALBOOK_DEMO_PASSWORD.
    """
    import tempfile  # late, as all that only this command needs

    if importlib.util.find_spec("gradio") is None:
        raise TrialbookError("'mlrun demo' needs gradio; pip install 'trialbook[demo]'")
    from trialbook_plugins.demo.address import address_of, bind, is_loopback
    from trialbook_plugins.demo.gate import LOOPBACK_NAMES, Rules
    from trialbook_plugins.demo.images import Limits

    password = read_password(password_file, ask=ask_password)
    if password is None and not is_loopback(host):
        click.echo(f"warning: whoever reaches {host} can ask and see all runs; set a password", err=True)
    listening = bind(host, port)
    with tempfile.TemporaryDirectory(prefix="mlrun-demo-") as folder:
        limits = Limits(max_megapixels, max_upload)
        ask = _load(trialbook.load_run(run, runs=runs), Path(folder), limits, threshold, examples)
        hosts = LOOPBACK_NAMES if is_loopback(host) else None
        rules = Rules(Path(folder) / _UPLOADS, max_upload, hosts, password)
        home = trialbook.open_registry(runs=runs).path.parent
        _serve(home, ask, rules, listening, address_of(listening, host))


def _load(run: Run, folder: Path, limits: Limits, threshold: float, count: int) -> dict[str, Any]:
    """The run, its examples and what is known of its answers: what the first page is made of, but for its look."""
    from trialbook_plugins.demo.answering import Answerer, Expectation
    from trialbook_plugins.demo.examples import make_examples

    loaded, predictions = run.load(), run.predictions
    examples, remark = make_examples(loaded, predictions, count, folder) if count else ([], "")
    for said in filter(None, (*loaded.remarks, remark)):
        click.echo(said, err=True)
    return {
        "answerer": Answerer(loaded), "limits": limits, "expectation": Expectation(predictions), "examples": examples,
        "threshold": threshold, "run": run, "loaded": loaded, "remark": remark,
    }  # fmt: skip


def _serve(home: Path, parts: dict[str, Any], rules: Rules, listening: socket, address: str) -> None:
    rules.uploads.mkdir()
    os.environ |= {
        "GRADIO_TEMP_DIR": str(rules.uploads),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }  # read when it is imported
    from trialbook_plugins.demo.about import about, headline
    from trialbook_plugins.demo.ask_page import AskPage
    from trialbook_plugins.demo.records import Records
    from trialbook_plugins.demo.registry_page import RegistryPage
    from trialbook_plugins.demo.server import make_app, serve

    run, loaded = parts.pop("run"), parts.pop("loaded")
    ask = AskPage(**parts, headline=headline(run, loaded), about=about(run, loaded))
    application = make_app(ask, RegistryPage(Records(home), run.experiment), home, rules)
    serve(application, listening, lambda: click.echo(f"{address}  (end with Ctrl+C)"))


def read_password(file: Path | None, *, ask: bool) -> str | None:
    """The password: from a file, the keyboard, or the environment; None where none is wanted. Never from the command line,
    which every user of the machine can read.

    Raises:
        TrialbookError: it is empty, or there are two ways to it.
    """
    if file is not None and ask:
        raise TrialbookError("give --password-file or --ask-password, not both")
    if file is not None:
        lines = file.read_text(encoding="utf-8").splitlines()
        found, where = lines[0].strip() if lines else "", str(file)
    elif ask:
        found, where = click.prompt("Password", hide_input=True, confirmation_prompt=True, default=""), "what was typed"
    elif PASSWORD in os.environ:
        found, where = os.environ[PASSWORD], f"the variable {PASSWORD}"
    else:
        return None
    if not found:
        raise TrialbookError(f"the password is empty: see {where}")
    return found
