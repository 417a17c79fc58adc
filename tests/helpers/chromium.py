"""Headless Chromium for tests, spoken to over a pipe in the DevTools protocol; nothing beside the browser is needed."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROGRAM = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
#: Why tests are skipped.
ABSENT = f"none of {', '.join(PROGRAMS)} is installed"

#: The browser reads commands from handle 3 and answers on handle 4.
_START = (
    "import fcntl, os, sys; high = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3]]; "
    "os.dup2(high[0], 3); os.dup2(high[1], 4); os.execv(sys.argv[3], sys.argv[3:])"
)
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")


class Browser:
    """One window.

    Args:
        profile: folder that it may write to.
    """

    def __init__(self, profile: Path) -> None:
        down, up = os.pipe(), os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable, "-c", _START, str(down[0]), str(up[1]), str(PROGRAM), *_FLAGS, f"--user-data-dir={profile}",
            ],
            pass_fds=(down[0], up[1]), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(down[0])
        os.close(up[1])
        self._out, self._in = os.fdopen(down[1], "wb"), os.fdopen(up[0], "rb")
        self._number, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method and wait for its answer; events that come before it are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(
        self, page: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False, media: str = ""
    ) -> None:
        """Show a file or an address in a window of that width, and wait until it is loaded."""
        self.events.clear()
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)
        self.send("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def evaluate(self, code: str) -> Any:
        """Value of an expression in the page; a promise is awaited."""
        done = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        return done["result"].get("value")

    def wait_for(self, code: str, seconds: float = 30) -> None:
        """Wait until an expression is true: ``document.querySelector('#there')``."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({code})"):
            assert time.monotonic() < end, f"not within {seconds} s: {code}\n{self.evaluate('document.body.innerText')}"
            time.sleep(0.05)

    def choose_file(self, selector: str, file: Path) -> None:
        """Give a file to an input of a form, as its dialog does."""
        found = self.send("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self.send("DOM.setFileInputFiles", files=[str(file.resolve())], objectId=found["result"]["objectId"])

    def click(self, selector: str) -> None:
        """Click on an element, wherever the page has moved it."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, selector: str, text: str) -> None:
        """Replace what stands in a field."""
        self.evaluate(f"(e => {{ e.focus(); e.select(); }})(document.querySelector({json.dumps(selector)}))")
        self.send("Input.insertText", text=text)

    def screenshot(self, *, whole: bool = False) -> Image.Image:
        """What is seen, or the whole page."""
        area = {}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            area = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **area)["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def pdf(self) -> bytes:
        """The page in print."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(20)
        self._out.close()
        self._in.close()

    def _read(self, seconds: float = 60) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._in], [], [], seconds)[0], f"the browser said nothing for {seconds} s"
            more = os.read(self._in.fileno(), 1 << 16)
            assert more, "the browser is gone"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer
