"""The packages that a bare GPU image lacks, as wheels to carry: ``python -m benchmarks.gpu.wheels FOLDER``.

What is needed is worked out from ``pyproject.toml`` and from what each wheel asks for, at the versions of ``constraints.txt``,
less what the image has. Of bitsandbytes the library of the image's CUDA alone is kept; of this program, which runs from its
tree, what tells Python of its plugins.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from email.parser import Parser
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu.workplace import ROOT

#: Packages that the image has: one with Python 3.12, torch 2.11, transformers 5.17. Those of its day are new enough.
IMAGE = (
    "accelerate", "attrs", "click", "filelock", "httpx", "huggingface-hub", "jinja2", "matplotlib", "numpy",
    "packaging", "peft", "pillow", "pip", "pluggy", "python-dateutil", "pyyaml", "regex", "requests", "rich",
    "safetensors", "scikit-image", "scikit-learn", "scipy", "tabulate", "tokenizers", "torch", "tqdm", "transformers",
    "typing-extensions", "zipp",
)  # fmt: skip
EXTRAS = ("llm", "spatial")
LEFT_OUT = ("av",)
"""Large, and only data of video files need it."""
PYTHON, CUDA = "3.12", "130"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_24_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
LIMIT = 64
"""MiB of wheels and tree together."""


def main() -> None:
    """Gather the wheels and say how large they are and what to do with them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.wheels", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--has", nargs="+", metavar="NAME", default=IMAGE, help="packages of the image")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    wheels = gather(given.folder, given.has)
    for wheel in wheels:
        print(f"{wheel.stat().st_size / 2**20:8.2f} MiB  {wheel.name}")
    carried, tree = (sum(file.stat().st_size for file in files) / 2**20 for files in (wheels, tree_files()))
    print(
        f"{carried:8.2f} MiB  of wheels, {tree:.2f} MiB of the tree, together {carried + tree:.2f} MiB (at most {LIMIT})"
    )
    print(
        f"\npython3 -m pip install --no-index --no-deps --target DIR {given.folder}/*.whl &&\n"
        "PYTHONPATH=DIR:core:plugins python3 -m benchmarks.gpu"
    )
    sys.exit(0 if carried + tree <= LIMIT else f"more than {LIMIT} MiB")


def gather(folder: Path, has: Collection[str]) -> list[Path]:
    """Download what is needed and not there, and make small what can be."""
    own = strip(build(folder), lambda name: ".dist-info/" in name)
    there = {canonicalize_name(name) for name in (*has, *LEFT_OUT)}
    wheels, waiting = [own], list(requirements(own, EXTRAS))
    while waiting:
        wanted = waiting.pop(0)
        if (name := canonicalize_name(wanted.name)) in there:
            continue
        there.add(name)
        wheels.append(strip(download(wanted, folder), _kept))
        waiting += requirements(wheels[-1], wanted.extras)
    return sorted(wheels)


def requirements(wheel: Path, extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield what a wheel asks for on the image, with some of its extras."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        asked = Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist") or []
    around = {**default_environment(), "python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
    for wanted in map(Requirement, asked):
        marker = wanted.marker
        if marker is None or any(marker.evaluate({**around, "extra": extra}) for extra in ("", *extras)):
            yield wanted


def download(wanted: Requirement, folder: Path) -> Path:
    """The wheel of a package, of the version that the constraints name, for the image's Python."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    chosen = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platforms]
    return _pip(folder, "download", "--no-deps", *chosen, *constraints, f"{wanted.name}{wanted.specifier}")


def build(folder: Path) -> Path:
    """The wheel of this program."""
    return _pip(folder, "wheel", "--no-deps", "--no-build-isolation", str(ROOT))


def _pip(folder: Path, command: str, *words: str) -> Path:
    """A wheel that pip makes or finds, put into the folder."""
    with tempfile.TemporaryDirectory() as aside:
        to = "--dest" if command == "download" else "--wheel-dir"
        subprocess.run([sys.executable, "-m", "pip", "--quiet", command, to, aside, *words], check=True)
        (wheel,) = Path(aside).glob("*.whl")
        return Path(shutil.move(wheel, folder / wheel.name))


def strip(wheel: Path, keeps: Callable[[str], bool]) -> Path:
    """Leave files out of a wheel that ``keeps`` does not want; its record of files follows."""
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    kept = {name: data for name, data in contents.items() if keeps(name)}
    if len(kept) == len(contents):
        return wheel
    (record,) = (name for name in kept if name.endswith(".dist-info/RECORD"))
    kept[record] = (
        "".join(_recorded(name, data) for name, data in kept.items() if name != record).encode()
        + f"{record},,\n".encode()
    )
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in kept.items():
            archive.writestr(name, data)
    return wheel


def _kept(name: str) -> bool:
    """Libraries of bitsandbytes for other devices than the image's are left out."""
    return "libbitsandbytes_" not in name or name.endswith((f"_cuda{CUDA}.so", "_cpu.so"))


def _recorded(name: str, data: bytes) -> str:
    """A line of ``RECORD``."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def tree_files() -> list[Path]:
    """The files of the tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


if __name__ == "__main__":
    main()
