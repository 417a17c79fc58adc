"""A place with the plugin of colour sheets, a finished run, and a demo of it that runs as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FILE = """\
# Can a linear map name a colour?
seeds = [0, 1]
headline = ["accuracy"]
[task]
use = "colour-reader"
[dataset]
use = "colour-sheets"
[train]
steps = 30
batch_size = 12
lr = 0.03
log_every = 5
[evaluate]
every = 10
"""


@dataclass
class Course:
    """A folder with runs, and how ``mlrun`` is called in it."""

    folder: Path

    @property
    def runs(self) -> Path:
        """Directory of runs."""
        return self.folder / "runs"

    def environment(self) -> dict[str, str]:
        """Variables under which the plugin is found and nothing outside the folder is touched."""
        return {
            **os.environ, "TRIALBOOK_RUNS": str(self.runs), "TRIALBOOK_CACHE": str(self.folder / "cache"),
            "PYTHONPATH": os.pathsep.join([str(self.folder / "site"), str(HERE), *sys.path]), "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def mlrun(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call ``mlrun``."""
        return subprocess.run(
            [sys.executable, "-m", "trialbook", *arguments], cwd=self.folder, env=self.environment(), capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    def make(self) -> Course:
        """Register the plugin and do the experiment's runs."""
        info = self.folder / "site" / "colour_sheets-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: colour-sheets\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[trialbook.plugins]\ncolour-sheets = colour_sheets\n")
        (self.folder / "colours.toml").write_text(FILE)
        done = self.mlrun("run", "colours.toml")
        assert done.returncode == 0, done.stdout + done.stderr
        return self


class Demo:
    """``mlrun demo`` at a port of its own, until it is closed."""

    def __init__(self, course: Course, *options: str, **variables: str) -> None:
        run = next(
            path.name for path in sorted((course.runs / "colours").iterdir()) if path.is_dir() and "-s0-" in path.name
        )
        self.run, self.temporary = run, course.folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        log = course.folder / "demo.log"
        command = [sys.executable, "-m", "trialbook", "demo", run, "--port", "0", *options]
        around = {**course.environment(), "TMPDIR": str(self.temporary), **variables}
        with log.open("w") as said:
            self.process = subprocess.Popen(
                command, cwd=course.folder, env=around, stdout=subprocess.PIPE, stderr=said, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.match(r"http://[\w.\[\]:]+", line)
        assert found, line + log.read_text()
        self.address = found[0]
        self.port = int(self.address.rpartition(":")[2])

    def close(self) -> int:
        """End it as a service is ended; its exit status."""
        self.process.terminate()
        status = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


class Visitor:
    """Speaks to a demo as its pages do, without a browser."""

    def __init__(self, address: str) -> None:
        self.host = address.removeprefix("http://")
        config = json.loads(self.get("/config")[1])
        (ask,) = [one for one in config["components"] if one.get("props", {}).get("elem_id") == "ask"]
        self._function = next(one["id"] for one in config["dependencies"] if [ask["id"], "click"] in one["targets"])

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and content of an address."""
        return self.send("GET", path)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and content of the answer to any request."""
        connection = http.client.HTTPConnection(self.host, timeout=120)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def upload(self, content: bytes, name: str = "picture.png") -> tuple[int, str]:
        """Send a file; the status, and where it lies or why it was refused."""
        mark = "----sheet"
        head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        body = f"{head}Content-Type: image/png\r\n\r\n".encode() + content + f"\r\n--{mark}--\r\n".encode()
        kind = f"multipart/form-data; boundary={mark}"
        status, said = self.send("POST", "/gradio_api/upload", body, content_type=kind)
        return status, json.loads(said)[0] if status == 200 else said.decode()

    def ask(self, path: str | None, question: Any, threshold: Any = 0.0) -> str:
        """The answer's HTML, or what the server says in its place."""
        picture = None if path is None else {"path": path, "meta": {"_type": "gradio.FileData"}}
        session = f"{random.getrandbits(40):x}"
        body = {"data": [picture, question, threshold], "fn_index": self._function, "session_hash": session}
        status, said = self.send(
            "POST", "/gradio_api/queue/join", json.dumps(body).encode(), content_type="application/json"
        )
        if status != 200:
            return said.decode()
        _, events = self.send("GET", f"/gradio_api/queue/data?session_hash={session}")
        for line in events.decode().splitlines():
            event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if event.get("msg") == "process_completed":
                output = event["output"]
                return str(output["data"][0]) if event["success"] else f"error: {output.get('error')}"
        raise AssertionError(events.decode())
