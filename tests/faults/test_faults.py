"""The doctor names what is broken, by what a run left behind, and says nothing of what is sound."""

from __future__ import annotations

import json
from collections.abc import Callable

import acme_trialbook.plugin
import planted
import planted.checks
import pytest
from table import BASE, FAULTS, HEALTHY, Fault, Healthy
from ward import TABLE, Ended, Ward

from trialbook.contracts.findings import SEVERITIES, Finding
from trialbook.registry.query import open_index

#: Those that every change is tested with; the others with ``-m slow``.
QUICK = (
    "collapsed embeddings", "evaluation at batch 1", "scale saturated at the start", "projector left out of the trained module",
    "detached graph", "labels shuffled in evaluation", "pairs off by one in evaluation", "train and test overlap",
    "NaN in a forward pass", "NaN in a backward pass", "frozen encoder trained by mistake", "dead ReLU head", "uniform attention",
    "ties counted as hits", "learning rate far too high",
)  # fmt: skip
QUICK_HEALTHY = (
    "linear heads",
    "siglip",
    "two stages",
    "scenes, perceiver",
    "a stranger's language model",
    "a stranger's probe",
)


def named(fault: Fault, ended: Ended) -> list[Finding]:
    """The findings that name the fault: by a check that may, of the right part, and loud enough."""
    loud = SEVERITIES[: SEVERITIES.index(fault.least) + 1]
    return [
        one for one in ended.findings
        if one.check in fault.checks.split() and one.severity in loud
        and any(one.component == part or one.component.startswith(f"{part}.") for part in fault.parts.split() or [""])
    ]  # fmt: skip


def examine(ward: Ward, fault: Fault, seed: int = 0) -> bool:
    """Run it; whether the run ended as it must and its findings name the fault."""
    ended = ward.run(f"fault-{FAULTS.index(fault)}", fault.text, (*fault.sets, f"seeds=[{seed}]"))
    found = named(fault, ended)
    said = found or ended.alarms
    TABLE[fault.name] = f"{'found ' if found else 'MISSED'}  " + "; ".join(
        dict.fromkeys(f"{one.severity} {one.check} {one.component}".strip() for one in said)
    )
    return bool(found) and ended.state == fault.state


def alarms(ward: Ward, sound: Healthy, seed: int = 0) -> list[Finding]:
    """Errors and warnings of a sound run."""
    ended = ward.run(f"sound-{HEALTHY.index(sound)}", sound.text, (*sound.sets, f"seeds=[{seed}]"))
    assert (ended.state, ended.message) == ("finished", "")
    TABLE[f"(sound) {sound.name}"] = "; ".join(f"ALARM {one.check}: {one.message}" for one in ended.alarms) or "nothing"
    return ended.alarms


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name in QUICK], ids=lambda fault: fault.name)
def test_a_planted_fault_is_found_and_named(ward: Ward, fault: Fault) -> None:
    assert examine(ward, fault), TABLE[fault.name]


@pytest.mark.parametrize("sound", [one for one in HEALTHY if one.name in QUICK_HEALTHY], ids=lambda one: one.name)
def test_a_sound_run_raises_no_alarm(ward: Ward, sound: Healthy) -> None:
    assert alarms(ward, sound) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_95_in_100_faults_are_found_and_named(ward: Ward, seed: int) -> None:
    missed = [fault.name for fault in FAULTS if not examine(ward, fault, seed)]
    assert len(FAULTS) >= 24
    assert len(missed) <= 0.05 * len(FAULTS), missed


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_at_most_one_false_alarm_in_all_sound_runs(ward: Ward, seed: int) -> None:
    found = {sound.name: said for sound in HEALTHY if (said := alarms(ward, sound, seed))}
    assert len(HEALTHY) >= 20
    assert sum(map(len, found.values())) <= 1, found


# --- a run that is stopped -----------------------------------------------------------------------------------------


DETACHED = ("projector.image.use=detaches",)


def test_a_strict_run_stops_at_the_first_error_and_says_why(ward: Ward) -> None:
    ended = ward.run("strict", BASE, DETACHED, strict=True)
    assert ended.state == "failed"
    assert ended.message.startswith("stopped by the doctor: projector.image: no parameter gets a gradient")
    steps = [json.loads(line)["step"] for line in ended.run.lines("metrics").read_text().splitlines()]
    assert max(steps) < 60  # of 120
    assert [(one.severity, one.check, one.component) for one in ended.findings[:1]] == [
        ("error", "no-gradient", "projector.image")
    ]
    assert "stopped by the doctor" in ended.run.error.read_text()
    assert not ended.run.json("results").exists()


def test_an_experiment_may_ask_for_it_itself_and_leave_a_check_out(ward: Ward) -> None:
    assert ward.run("asks", BASE, (*DETACHED, "doctor.strict=true")).state == "failed"
    lenient = ward.run("leaves", BASE, (*DETACHED, "doctor.strict=true", 'doctor.ignore=["no-gradient"]'))
    assert lenient.state == "finished"
    assert "no-gradient" not in {one.check for one in lenient.findings}


def test_a_sound_run_is_not_stopped(ward: Ward) -> None:
    assert ward.run("sound-strict", BASE, strict=True).state == "finished"


# --- checks of others ----------------------------------------------------------------------------------------------


def test_a_check_of_a_stranger_is_made_and_one_that_fails_is_disabled_with_a_note(
    make_ward: Callable[..., Ward],
) -> None:
    place = make_ward(planted=planted, checks=planted.checks, acme=acme_trialbook.plugin)
    ended = place.run("strangers", BASE, DETACHED)
    assert ended.state == "finished"
    found = {(one.check, one.component): one for one in ended.findings}
    loss = [
        json.loads(line)["values"]["loss"]
        for line in ended.run.lines("metrics").read_text().splitlines()
        if '"loss"' in line
    ]
    loud = found["loud", "loss"]
    assert (loud.severity, loud.evidence["loss"], loud.step) == ("warning", loss[-1], 120)
    assert found["no-gradient", "projector.image"].severity == "error"  # ours are made as ever
    for name, why in (("raises", "raises ZeroDivisionError: division by zero"), ("missing", "raises AttributeError")):
        note = found["check-failed", name]
        assert note.severity == "note"
        assert f"the check '{name}' of plugin 'checks' could not be made" in note.message
        assert why in note.message
    with open_index(place.settings.registry) as index:
        (run,) = index.runs()
        assert {one.check for one in index.findings([run])[run.id]} == {one.check for one in ended.findings}
