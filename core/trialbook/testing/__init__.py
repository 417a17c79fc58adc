"""The conformance suite: what every component of a kind must hold to, for anyone's tests.

from trialbook.testing import check_component

def test_my_projector_conforms():
    check_component(MyProjector, "projector", options={"layers": 3})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trialbook.config.kinds import KINDS
from trialbook.plugins.signature import load_target
from trialbook.testing.builder import PartsBuilder
from trialbook.testing.captioners import check_captioner
from trialbook.testing.common import Subject, check_constructor, ensure
from trialbook.testing.datasets import check_dataset
from trialbook.testing.figures import check_loss, check_metric
from trialbook.testing.llms import check_llm
from trialbook.testing.made_up import MadeUpDataset
from trialbook.testing.modules import check_encoder, check_projector
from trialbook.testing.pretend_cuda import pretend_cuda
from trialbook.testing.probes import check_decoder, check_probe
from trialbook.testing.tasks import check_task

__all__ = ["MadeUpDataset", "PartsBuilder", "check_component", "pretend_cuda"]

_CHECKS: dict[str, Callable[[Subject], None]] = {
    "encoder": check_encoder,
    "projector": check_projector,
    "llm": check_llm,
    "loss": check_loss,
    "metric": check_metric,
    "dataset": check_dataset,
    "task": check_task,
    "captioner": check_captioner,
    "probe": check_probe,
    "decoder": check_decoder,
}


def check_component(
    component: type | str,
    kind: str,
    *,
    options: Mapping[str, Any] | None = None,
    injected: Mapping[str, Any] | None = None,
    inputs: Any = None,
) -> None:
    """Check that a component keeps the contract of its kind; small inputs are made up where none are given.

    Args:
        component: the class, or its target ``"package.module:Class"``.
        kind: component kind, e.g. ``"projector"``.
        options: keyword-only parameters, as a TOML table would give them.
        injected: positional-only parameters. Made up where left out: ``modality`` of the first kind that an encoder
            accepts, ``dim_in`` 16, ``dim_out`` 8, ``dim`` 16, ``seed`` 0, ``data_root`` None, ``corpus`` a few
            sentences, ``modalities`` two of vectors, ``image`` and ``text``. Nested parts must be given. A task is run only if
            ``builder`` is given (see ``PartsBuilder``).
        inputs: encoder: raw rows, at least two. projector: ``{"tokens": [B, N, D_in], "mask": [B, N]}``. loss and
            metric: what ``needs`` names; made up are ``embeddings``, ``groups``, ``content``, ``classes``, ``train`` and
            ``predictions``. captioner: facts of at least two samples. probe: split name to ``Probed``, ``train`` among them;
            without it only what is declared is checked. decoder: images [B, T, 3, H, W], else made up. Other kinds: unused.
    Raises:
        AssertionError: the component breaks a rule; the message says which.
        TrialbookError: the constructor cannot be read as a schema, or refuses the options.
    """
    ensure(kind in KINDS, f"there is no kind '{kind}'; kinds are {', '.join(KINDS)}")
    cls = load_target(component) if isinstance(component, str) else component
    subject = Subject(cls, kind, dict(options or {}), dict(injected or {}), inputs)
    check_constructor(subject)
    if kind in _CHECKS:
        _CHECKS[kind](subject)
