"""The files of a new plugin package."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from string import Template

from trialbook.config.kinds import KINDS
from trialbook.errors import TrialbookError
from trialbook.plugins.hookspec import PROJECT

#: Texts with ``$words``, filled in by ``trialbook.plugins.scaffold.write_plugin``.
PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "$name"
version = "0.1.0"
description = "A $kind for trialbook."
readme = "README.md"
requires-python = ">=3.10"
dependencies = ["trialbook"]

[project.optional-dependencies]
test = ["pytest>=8"]

[project.entry-points."trialbook.plugins"]
$name = "$package.plugin"

[tool.hatch.build.targets.wheel]
packages = ["src/$package"]
"""

README = """\
# $name

A plugin for trialbook with one $kind, `$component`.

    pip install -e .
    python -m pytest
    mlrun plugins check $package
    mlrun plugins show $component

In an experiment file:

    $table
    use = "$component"
"""

PLUGIN = '''\
"""What this plugin offers, as strings: listing it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from trialbook.plugins.hookspec import Component, hookimpl


@hookimpl
def $hook() -> Iterable[Component]:
    """The ${kind}s of this plugin."""
    yield Component("$component", "$package.$module:$cls", "$summary")
'''

_PROJECTOR = '''\
"""Projector ``$component``."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class $cls(nn.Module):
    """A linear map of every token, scaled by a learned factor: [B, N, D_in] -> [B, N, D_out].

    Args:
        dim_in: width of the tokens.
        dim_out: width of the common space.
        init_scale: the factor at the start; above 0.

    Raises:
        ValueError: ``init_scale`` is not above 0.

    Source: an example; replace this with the paper's section or the implementation that yours follows.
    """

    keeps_tokens = True

    def __init__(self, dim_in: int, dim_out: int, /, *, init_scale: float = 1.0) -> None:
        super().__init__()
        if init_scale <= 0:
            raise ValueError(f"init_scale ({init_scale}) must be above 0")
        self.map = nn.Linear(dim_in, dim_out)
        self.scale = nn.Parameter(torch.tensor(init_scale))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D_in], mask [B, N] -> [B, N, D_out]."""
        return self.scale * self.map(tokens)
'''

_LOSS = '''\
"""Loss ``$component``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class $cls(nn.Module):
    """Mean cosine distance of matching rows, over all pairs of modalities; alone it can be met by a collapse.

    Args:
        margin: distances below it cost nothing; from 0 to 2.

    Raises:
        ValueError: ``margin`` is outside of [0, 2].

    Source: an example; replace this with the paper's section or the implementation that yours follows.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    def __init__(self, *, margin: float = 0.0) -> None:
        super().__init__()
        if not 0 <= margin <= 2:
            raise ValueError(f"margin ({margin}) must be from 0 to 2")
        self.margin = margin

    def forward(self, *, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Modality name to rows [B, D] -> scalar."""
        pairs = combinations(embeddings.values(), 2)
        distances = [(1 - F.cosine_similarity(a, b) - self.margin).clamp(min=0).mean() for a, b in pairs]
        return torch.stack(distances).mean()
'''

_METRIC = '''\
"""Metric ``$component``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor


class $cls:
    """Uniformity of every modality's embeddings: log of the mean Gaussian potential of two rows; lower is more even.

    Args:
        t: sharpness of the potential exp(-t d²); above 0.

    Raises:
        ValueError: ``t`` is not above 0.

    Source: Wang and Isola 2020, "Understanding Contrastive Representation Learning …", equation 5.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    produces: ClassVar[tuple[str, ...]] = ("{modality}",)

    def __init__(self, *, t: float = 2.0) -> None:
        if t <= 0:
            raise ValueError(f"t ({t}) must be above 0")
        self.t = t

    @torch.no_grad()
    def compute(self, *, embeddings: Mapping[str, Tensor]) -> dict[str, float]:
        """Modality name to all rows [R, D] -> one figure for each."""
        return {name: self._uniformity(F.normalize(rows, dim=-1)) for name, rows in embeddings.items()}

    def _uniformity(self, rows: Tensor) -> float:
        return float(torch.pdist(rows).square().mul(-self.t).exp().mean().log())
'''

TEST = """\
from $package.$module import $cls
from trialbook.plugins.manager import PluginManager
from trialbook.testing import check_component


def test_the_${kind}_keeps_its_contract() -> None:
    check_component($cls, "$kind")


def test_the_installed_plugin_offers_it() -> None:
    found = PluginManager.discover().find("$kind", "$component")
    assert found.target == "$package.$module:$cls"
"""

#: Kind -> the module of its example.
COMPONENTS = {"projector": _PROJECTOR, "loss": _LOSS, "metric": _METRIC}
#: Kind -> one line for listings.
SUMMARIES = {
    "projector": "a linear map with a learned factor",
    "loss": "cosine distance of matching rows",
    "metric": "how evenly the embeddings lie on the sphere",
}


def write_plugin(folder: Path, name: str, kind: str) -> list[Path]:
    """Write a plugin package that passes its own tests once it is installed.

    Args:
        folder: where to; made if missing, must be empty.
        name: of the distribution and of the plugin, in kebab-case.
        kind: of its component: ``"projector"``, ``"loss"`` or ``"metric"``.
    Returns:
        the files written.
    Raises:
        TrialbookError: the name cannot be a package's or is one's that is installed, there is no example of this kind, or the
            folder
            holds something.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise TrialbookError(f"'{name}' cannot be the plugin's name; --name takes lower-case words, as in 'my-plugin'")
    if name in (PROJECT, f"{PROJECT}-plugins"):
        raise TrialbookError(f"'{name}' is trialbook's own name; give the plugin another with --name")
    package = name.replace("-", "_")
    if find_spec(package):
        raise TrialbookError(f"there is a package '{package}' here already; give the plugin another name with --name")
    if kind not in COMPONENTS:
        raise TrialbookError(f"there is no example of a {kind}; kinds are {', '.join(COMPONENTS)}")
    if folder.exists() and any(folder.iterdir()):
        raise TrialbookError(f"{folder} is not empty; give a new directory")
    words = {
        "name": name,
        "package": package,
        "kind": kind,
        "hook": KINDS[kind],
        "component": f"{name}-{kind}",
        "module": kind,
        "cls": "".join(part.capitalize() for part in name.split("-")) + kind.capitalize(),
        "summary": SUMMARIES[kind],
        "table": "[projector.image]" if kind == "projector" else f"[[{kind}]]",
    }
    texts = {
        "pyproject.toml": PYPROJECT,
        "README.md": README,
        f"src/{package}/__init__.py": '"""A plugin for trialbook."""\n',
        f"src/{package}/py.typed": "",
        f"src/{package}/plugin.py": PLUGIN,
        f"src/{package}/{kind}.py": COMPONENTS[kind],
        f"tests/test_{package}_{kind}.py": TEST,
    }
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(words), encoding="utf-8")
    return [folder / path for path in texts]
