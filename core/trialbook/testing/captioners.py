"""Checks of captioners."""

from __future__ import annotations

import copy

from trialbook.testing.common import Subject, ensure
from trialbook.testing.devices import on_device


def check_captioner(subject: Subject) -> None:
    """One text for every sample, which depends on nothing but that sample's facts."""
    name = subject.name
    facts = subject.inputs
    ensure(facts is not None and len(facts) > 1, f"give at least two samples' facts as `inputs` of {name}")
    before = copy.deepcopy(facts)
    captioner = subject.make()
    texts = captioner.caption(facts)
    ensure(facts == before, f"{name} changes the facts that it is given")
    ensure(isinstance(texts, list) and len(texts) == len(facts), f"{name} must give a list of {len(facts)} texts")
    for text in texts:
        ensure(isinstance(text, str) and text.strip(), f"{name} must give texts that are not empty, not {text!r}")
    ensure(captioner.caption(facts) == texts, f"{name} gives something else the second time")
    ensure(subject.make(seed=1).caption(facts) == texts, f"another instance of {name} differs")
    alone = [captioner.caption([one])[0] for one in facts]
    ensure(alone == texts, f"{name} gives a sample another text alone than beside others")
    with on_device(subject) as (there, _):
        ensure(there.make().caption(facts) == texts, f"{name} gives another text on a CUDA device")
