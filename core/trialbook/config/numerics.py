"""The numerics of a run: what its experiment file says of them, and the workplace where the file says nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from trialbook.errors import TrialbookError

Precision = Literal["no", "bf16", "fp16"]
MatmulPrecision = Literal["highest", "high", "medium"]

#: Keys of ``[train]`` that hold for the whole run, so that no stage can have a value of its own.
OF_THE_RUN = ("precision", "matmul_precision", "deterministic", "cudnn_benchmark")
#: Those that ``[evaluate]`` has for a run that trains nothing.
OF_EVALUATION = OF_THE_RUN[1:]

#: Read by cuBLAS when its first handle is made.
CUBLAS_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
#: The values with which cuBLAS repeats its results; the first is set where none is.
CUBLAS_REPEATS = (":4096:8", ":16:8")


@dataclass(frozen=True)
class Numerics:
    """The settings by which numbers are computed.

    Args:
        precision: of autocast; ``"no"`` is float32.
        matmul_precision: of products of float32 matrices and of convolutions.
        deterministic: use algorithms that give the same result each time.
        cudnn_benchmark: let cuDNN choose algorithms by trying them.
    """

    precision: Precision = "no"
    matmul_precision: MatmulPrecision = "highest"
    deterministic: bool = False
    cudnn_benchmark: bool = False


def numerics_of(config: Mapping[str, Any], defaults: Numerics) -> Numerics:
    """Return what holds for a run: its ``[train]``, or ``[evaluate]`` where nothing is trained; else the workplace's settings.

    Args:
        config: the resolved configuration.
        defaults: of the workplace.
    """
    trains = config.get("train") or config.get("stage")
    table = config.get("train" if trains else "evaluate", {})
    said = {key: table[key] for key in OF_THE_RUN if table.get(key, "auto") != "auto"}
    found = Numerics(**{one.name: said.get(one.name, getattr(defaults, one.name)) for one in fields(Numerics)})
    return replace(found, cudnn_benchmark=found.cudnn_benchmark and not found.deterministic)


def check_numerics(deterministic: bool | None, cudnn_benchmark: bool | None) -> None:
    """Refuse what cannot be had together.

    Raises:
        TrialbookError: algorithms that repeat their results are to be chosen by their speed, which is another each time.
    """
    if deterministic and cudnn_benchmark:
        raise TrialbookError("'cudnn_benchmark' chooses algorithms again each time, which 'deterministic' rules out")


def prepare_cublas(configs: Iterable[Mapping[str, Any]], defaults: Numerics) -> None:
    """Make cuBLAS repeat its results if any of the runs is deterministic; once CUDA is initialised it is too late.

    Args:
        configs: resolved configurations of all runs that this process does.
        defaults: of the workplace.
    """
    if any(numerics_of(config, defaults).deterministic for config in configs):
        os.environ.setdefault(CUBLAS_VARIABLE, CUBLAS_REPEATS[0])
