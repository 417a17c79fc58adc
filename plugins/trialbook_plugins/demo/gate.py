"""The gate in front of the pages: who may ask for what, and how much may be sent.

Everything goes through here, so that nothing depends on how gradio guards its single routes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_API = "/gradio_api/"
UPLOAD = f"{_API}upload"
#: All that the pages ask for: exact addresses, and beginnings of some.
_PAGES = (
    "/", "/registry", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", UPLOAD,
    *(f"{_API}{name}" for name in (
        "upload_progress", "run/predict", "queue/join", "queue/data", "cancel", "reset", "app_id",
    )),
)  # fmt: skip
_BELOW = ("/assets/", "/static/", "/files/", f"{_API}heartbeat/", f"{_API}file=")
#: Names by which a browser on this machine reaches a server that only this machine reaches.
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
#: Most bytes of a message that is no upload, and what may be around an uploaded file.
_MESSAGE, _AROUND = 256_000, 10_000
#: Bytes of a refused upload that are read and thrown away, so that the refusal is heard; seconds for that.
_DRAINED, _PATIENCE = 256_000_000, 30
#: Seconds that a wrong password costs.
_PENALTY = 0.5
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": (
        "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
        "frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
    ),
}


@dataclass(frozen=True)
class Rules:
    """The rules for what is let through.

    Args:
        uploads: folder that uploaded files lie in; no other file may be named in a message.
        size: most bytes of an uploaded file.
        hosts: names by which the server may be called; any if None. Without it a page elsewhere that makes its own name
            point here could read everything.
        password: asked for, with any user name; nobody is asked if None.
    """

    uploads: Path
    size: int
    hosts: frozenset[str] | None = LOOPBACK_NAMES
    password: str | None = None


class Gate:
    """ASGI middleware that refuses what the rules do not let through, in a sentence."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers) or await self._unknown(headers)
        if refused is None and scope["method"] == "POST" and scope["path"] != UPLOAD:
            body = await _whole(receive)
            refused, receive = self._foreign_files(body), _again(body, receive)
        if refused is not None:
            if refused.status_code == 413:
                await _drain(receive)
            await refused(scope, receive, _dressed(send))
        else:
            await self.app(scope, receive, _dressed(send))

    def _refused(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        host, path, method = headers.get("host", ""), scope["path"], scope["method"]
        if self.rules.hosts is not None and _split(f"//{host}")[1] not in self.rules.hosts:
            return _no(421, "this server is not called by that name")
        if path not in _PAGES and not path.startswith(_BELOW):
            return _no(404, "there is no such page")
        if method in ("GET", "HEAD"):
            return None
        if method != "POST":
            return _no(405, "this cannot be done here")
        if (origin := headers.get("origin")) is not None and _split(origin)[0] != host:
            return _no(403, "a page of another server may not send anything here")
        length = headers.get("content-length", "")
        if not length.isdigit():
            return _no(411, "say how long the message is")
        most = self.rules.size + _AROUND if path == UPLOAD else _MESSAGE
        if int(length) > most:
            what = "file" if path == UPLOAD else "message"
            limit = self.rules.size if path == UPLOAD else _MESSAGE
            return _no(413, f"the {what} has {int(length) / 1e6:.1f} MB; at most {limit / 1e6:g} MB are taken")
        return None

    async def _unknown(self, headers: Headers) -> PlainTextResponse | None:
        if self.rules.password is None:
            return None
        given = headers.get("authorization", "")
        if _has_password(given, self.rules.password):
            return None
        if given:
            await asyncio.sleep(_PENALTY)
        return _no(401, "a password is needed", {"www-authenticate": 'Basic realm="mlrun demo", charset="UTF-8"'})

    def _foreign_files(self, body: bytes) -> PlainTextResponse | None:
        """Refuse a message that names a file which was not uploaded: gradio would copy it to where it can be read."""
        try:
            named = list(_paths(json.loads(body))) if body else []
        except (ValueError, RecursionError):
            return _no(400, "the message is no JSON")
        home = self.rules.uploads.resolve()
        if all(isinstance(one, str) and _lies_in(one, home) for one in named):
            return None
        return _no(403, "only files that were uploaded may be named")


def _split(address: str) -> tuple[str, str]:
    """Host with port as written, and its name alone; empty where it is no address."""
    try:
        found = urlsplit(address)
        return found.netloc, found.hostname or ""
    except ValueError:
        return "", ""


def _paths(value: Any) -> Iterable[Any]:
    """Every value of a key ``path``, however deep."""
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        for one in value.values():
            yield from _paths(one)
    elif isinstance(value, list):
        for one in value:
            yield from _paths(one)


def _lies_in(path: str, home: Path) -> bool:
    try:
        return Path(path).resolve().is_relative_to(home)
    except (OSError, ValueError):
        return False


def _has_password(header: str, password: str) -> bool:
    """Return whether an Authorization header holds the password; the time that takes does not tell how much of it is right."""
    scheme, _, coded = header.partition(" ")
    try:
        given = base64.b64decode(coded, validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        given = b""
    return hmac.compare_digest(given.partition(b":")[2], password.encode())


def _no(status: int, why: str, headers: dict[str, str] | None = None) -> PlainTextResponse:
    return PlainTextResponse(f"{why}\n", status, headers)


async def _whole(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more; then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give


async def _drain(receive: Receive) -> None:
    """Read what is sent, keep nothing: a client that is still sending would not hear the answer."""
    read, more = 0, True

    async def read_all() -> None:
        nonlocal read, more
        while more and read < _DRAINED:
            message = await receive()
            read += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)

    try:
        await asyncio.wait_for(read_all(), _PATIENCE)
    except asyncio.TimeoutError:
        return


def _dressed(send: Send) -> Send:
    """Add the headers that every answer has, where it has none of its own."""

    async def dress(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return dress
