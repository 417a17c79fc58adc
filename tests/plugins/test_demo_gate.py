"""What stands in front of the demo's pages: names, passwords, sizes, files; and which files of runs are served."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from trialbook.registry.run_directory import RunDirectory
from trialbook_plugins.demo.files import find_file, link
from trialbook_plugins.demo.gate import UPLOAD, Gate, Rules

JOIN = "/gradio_api/queue/join"


class Asked:
    """A request through a gate, to an application that repeats what it got."""

    def __init__(
        self,
        rules: Rules,
        path: str = "/",
        body: bytes = b"",
        *,
        method: str = "",
        host: str = "localhost:7860",
        **headers: str,
    ) -> None:
        method = method or ("POST" if body else "GET")
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = {"host": host, **({"content-length": str(len(body))} if method == "POST" else {}), **own}
        self.scope = {
            "type": "http", "method": method, "path": path, "query_string": b"", "http_version": "1.1",
            "headers": [(name.encode(), value.encode()) for name, value in raw.items()],
        }  # fmt: skip
        self.waiting = [body[at : at + 65536] for at in range(0, len(body), 65536)] or [b""]
        self.read, self.reached, self.status, self.text, self.headers = 0, None, 0, "", {}
        asyncio.run(Gate(self.application, rules)(self.scope, self.receive, self.send))

    async def receive(self) -> dict[str, Any]:
        part = self.waiting.pop(0) if self.waiting else b""
        self.read += len(part)
        return {"type": "http.request", "body": part, "more_body": bool(self.waiting)}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.text += message.get("body", b"").decode()

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            self.reached += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"let through"})


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    (tmp_path / "uploads").mkdir()
    return Rules(tmp_path / "uploads", 1_000_000)


def test_the_pages_are_let_through_with_headers_that_keep_them_to_this_server(rules: Rules) -> None:
    for path in ("/", "/registry", "/assets/index.js", "/files/a/b.html", "/gradio_api/queue/data"):
        asked = Asked(rules, path)
        assert (asked.status, asked.text) == (200, "let through")
        assert "default-src 'self'" in asked.headers["content-security-policy"]
        assert asked.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://example.com/", "/gradio_api/component_server", "/gradio_api/vibe-edit", "/monitoring",
        "/gradio_api/run/ask", "/gradio_api/call/ask", "/gradio_api/deep_link", "/docs", "/openapi.json", "/login",
        "/gradio_api/process_recording", "/registry/../etc/passwd",
    ],
)  # fmt: skip
def test_what_the_pages_do_not_need_is_not_there(rules: Rules, path: str) -> None:
    for asked in (Asked(rules, path), Asked(rules, path, b"{}")):
        assert asked.status == 404
        assert asked.reached is None


# --- who asks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST:1"])
def test_the_own_names_of_the_machine_are_answered(rules: Rules, host: str) -> None:
    assert Asked(rules, host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "localhost.evil.example", "", "127.0.0.1.evil.example", "[", "a:b:c"]
)
def test_a_name_that_someone_else_pointed_here_is_not_answered(rules: Rules, host: str) -> None:
    asked = Asked(rules, host=host)
    assert (asked.status, asked.reached) == (421, None)


def test_any_name_is_answered_where_the_network_is_let_in(tmp_path: Path) -> None:
    assert Asked(Rules(tmp_path, 10, hosts=None), host="workstation.lab:7860").status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://localhost:7860.evil.example", "http://["]
)
def test_a_page_of_another_server_may_send_nothing(rules: Rules, origin: str) -> None:
    asked = Asked(rules, JOIN, b"{}", origin=origin)
    assert (asked.status, asked.reached) == (403, None)


def test_the_own_page_may_send(rules: Rules) -> None:
    assert Asked(rules, JOIN, b'{"a": 1}', origin="http://localhost:7860").reached == b'{"a": 1}'


def test_other_methods_are_refused(rules: Rules) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
        assert Asked(rules, method=method).status == 405


# --- passwords ----------------------------------------------------------------------------------------------------


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_password_is_asked_for_everywhere_and_any_user_name_goes_with_it(tmp_path: Path) -> None:
    rules = Rules(tmp_path, 1000, password="grün:er Tee")
    for path in ("/", "/registry", "/files/a/b.html", "/theme.css", "/gradio_api/file=/x"):
        asked = Asked(rules, path)
        assert (asked.status, asked.reached) == (401, None)
        assert asked.headers["www-authenticate"].startswith("Basic ")
        assert Asked(rules, path, authorization=basic("me", "grün:er Tee")).status == 200
        assert Asked(rules, path, authorization=basic("", "grün:er Tee")).status == 200
    assert Asked(rules, UPLOAD, b"x").status == 401


def test_a_wrong_password_is_refused_and_costs_time(tmp_path: Path) -> None:
    rules = Rules(tmp_path, 1000, password="tea")
    for header in (basic("me", "te"), basic("me", "teaa"), basic("tea", ""), "Basic ???", "Bearer tea", "tea"):
        started = time.perf_counter()
        assert Asked(rules, authorization=header).status == 401
        assert time.perf_counter() - started > 0.4


# --- how much -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_refused_by_its_length_and_read_to_the_end(rules: Rules) -> None:
    """To the end, so that a client that sends first and reads then hears the reason."""
    body = b"x" * 3_000_000
    asked = Asked(rules, UPLOAD, body)
    assert (asked.status, asked.reached) == (413, None)
    assert asked.text == "the file has 3.0 MB; at most 1 MB are taken\n"
    assert asked.read == len(body)


def test_a_file_of_the_allowed_size_is_handed_on_as_it_comes(rules: Rules) -> None:
    body = b"x" * 1_000_000
    assert Asked(rules, UPLOAD, body).reached == body


def test_a_message_is_small(rules: Rules) -> None:
    asked = Asked(rules, JOIN, b'"' + b"x" * 300_000 + b'"')
    assert (asked.status, asked.reached) == (413, None)


def test_who_does_not_say_how_much_comes_is_not_listened_to(rules: Rules) -> None:
    for length in ("", "many", "-5"):
        asked = Asked(rules, UPLOAD, b"x", content_length=length, transfer_encoding="chunked")
        assert (asked.status, asked.reached) == (411, None)


# --- which files --------------------------------------------------------------------------------------------------


def test_only_uploaded_files_may_be_named(rules: Rules) -> None:
    own = rules.uploads / "abc" / "page.png"
    for path in (str(own), f"{rules.uploads}/x/../abc/page.png"):
        body = json.dumps({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "What is it?", 0.5]}).encode()
        assert Asked(rules, JOIN, body).reached == body
    outside = rules.uploads.parent / "secret.png"
    outside.write_bytes(b"x")
    (rules.uploads / "way").symlink_to(outside)
    wrong = ["/etc/passwd", str(outside), f"{rules.uploads}/../secret.png", "secret.png", str(rules.uploads / "way"),
             "http://example.com/a.png", "\0", 7, ["/etc/passwd"], {"path": "/etc/passwd"}]  # fmt: skip
    for path in wrong:
        for data in ([{"path": path}], {"a": {"b": [[{"path": path}]]}}):
            asked = Asked(rules, JOIN, json.dumps({"data": data}).encode())
            assert (asked.status, asked.reached) == (403, None), path


def test_a_message_that_is_no_json_is_refused(rules: Rules) -> None:
    for body in (b"{", b"\xff\xfe", b"[" * 100_000):
        assert Asked(rules, JOIN, body).status == 400


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs with pages, and things that nobody may read."""
    root = tmp_path / "runs"
    for name in ("a-s0-1", "b-s0-2"):
        run = root / "study" / name
        (run / "plots").mkdir(parents=True)
        (run / "run.json").write_text("{}")
        (run / "report.html").write_text(name)
        (run / "plots" / "loss.svg").write_text("<svg/>")
        (run / "dirty.patch").write_text("secret")
        (run / ".hidden.html").write_text("secret")
    (root / "study" / "report.html").write_text("study")
    (root / "registry.db").write_text("secret")
    (root / "notes").mkdir()
    (root / "notes" / "plan.html").write_text("secret")
    (root / "top.html").write_text("secret")
    (tmp_path / "outside.html").write_text("secret")
    return root


def test_pages_and_plots_of_runs_and_experiments_are_found(runs: Path) -> None:
    assert find_file(runs, "study/a-s0-1/report.html") == (runs / "study/a-s0-1/report.html").resolve()
    assert find_file(runs, "study/a-s0-1/plots/loss.svg") is not None
    assert find_file(runs, "study/report.html") is not None
    assert link(runs, runs / "study/b-s0-2/report.html") == "files/study/b-s0-2/report.html"
    assert link(runs, runs / "study/b-s0-2/failures.html") == ""


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "study", "study/", "study/a-s0-1", "study/a-s0-1/", "study/a-s0-1/dirty.patch", "study/a-s0-1/run.json",
        "study/a-s0-1/.hidden.html", "registry.db", "top.html", "notes/plan.html", "study/a-s0-1/../../top.html",
        "study/../top.html", "../outside.html", "/etc/passwd", "study//a-s0-1/report.html", "study/a-s0-1/plots",
        "study/a-s0-1/..%2f..%2ftop.html", "study\\a-s0-1\\report.html", "study/a-s0-1/report.html\0.svg", "./study/report.html",
        f"{'x' * 300}/a.html",
    ],
)  # fmt: skip
def test_nothing_else_is_found(runs: Path, path: str) -> None:
    assert find_file(runs, path) is None


def test_a_link_does_not_lead_out_of_its_run(runs: Path) -> None:
    run = RunDirectory(runs / "study" / "a-s0-1")
    (run.path / "way.html").symlink_to(runs.parent / "outside.html")
    (run.path / "patch.html").symlink_to(run.path / "dirty.patch")
    (run.path / "other.html").symlink_to(runs / "study" / "b-s0-2" / "report.html")
    (run.path / "folder").symlink_to(runs.parent)
    (run.path / "same.html").symlink_to("report.html")
    for name in ("way.html", "patch.html", "other.html", "folder/outside.html"):
        assert find_file(runs, f"study/a-s0-1/{name}") is None, name
    assert find_file(runs, "study/a-s0-1/same.html") is not None
