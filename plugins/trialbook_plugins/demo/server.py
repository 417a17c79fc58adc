"""The server: pages behind a gate, on one address, until it is interrupted."""

from __future__ import annotations

import signal
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import Route

from trialbook_plugins.demo.ask_page import AskPage
from trialbook_plugins.demo.files import PREFIX, serve_files
from trialbook_plugins.demo.gate import Gate, Rules
from trialbook_plugins.demo.look import head, theme
from trialbook_plugins.demo.registry_page import RegistryPage

#: Questions that may wait.
_WAITING = 16


def make_app(ask: AskPage, registry: RegistryPage, runs: Path, rules: Rules) -> FastAPI:
    """The whole application.

    Args:
        ask, registry: its pages.
        runs: directory of runs, of which pages and pictures are served.
        rules: of the gate.
    """
    with gr.Blocks(title="mlrun demo", analytics_enabled=False) as blocks:
        ask.build()
    with blocks.route("Registry", "/registry"):
        registry.build(blocks)
    blocks.queue(max_size=_WAITING, api_open=False)
    blocks.has_launched = True  # else gradio takes files for inputs that were never uploaded
    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, middleware=[Middleware(Gate, rules=rules)],
        routes=[Route(f"/{PREFIX}/{{path:path}}", serve_files(runs))],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "SSR mode is not supported")  # it is not wanted either
        made: FastAPI = gr.mount_gradio_app(
            app, blocks, path="/", footer_links=[], run_history=False, show_error=False, max_file_size=rules.size,
            ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, theme=theme(), head=head(),
            blocked_paths=[str(runs)],
        )  # fmt: skip
    return made


def serve(app: Any, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answer until interrupted; ``ready`` is called before the first request is."""

    def stop(*_: Any) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)  # uvicorn ends first, then hands the signal on
    config = uvicorn.Config(
        app, log_level="warning", server_header=False, proxy_headers=False, timeout_graceful_shutdown=2, ws="none"
    )
    ready()
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return
