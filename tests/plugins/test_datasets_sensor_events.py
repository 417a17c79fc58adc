"""Smart-home logs, read and generated: parsing, windows, splits, and everything that is refused."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trialbook.contracts.datasets import find_overlaps
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets._event_logs import OTHER, STATES, LogEvent, read_log, write_log
from trialbook_plugins.datasets._home import HABITS, SENSOR_ROOMS
from trialbook_plugins.datasets._sensor_windows import Sieve
from trialbook_plugins.datasets.sensor_events import SensorEvents
from trialbook_plugins.datasets.smart_home import SmartHome

LOG = """\
2010-11-04 00:03:50.209589\tM003\tON\tSleeping begin
2010-11-04 00:03:57.399391\tM003\tOFF
2010-11-04 00:15:08.984841\tT002\t21.5
2010-11-04 02:00:00.5 M004 ON Bed to Toilet begin
2010-11-04 02:00:10 M004 OFF Bed to Toilet end
2010-11-04 05:40:51.303739\tM003\tON\tSleeping end
2010-11-04 05:40:52\tD001\tOPEN
"""
START = datetime(2010, 11, 4)


def write(file: Path, text: str = LOG) -> Path:
    file.write_text(text)
    return file


def events_of(file: Path, *, skip_bad: bool = False) -> tuple[list[LogEvent], list[tuple[str, str]]]:
    sieve = Sieve(skip_bad)
    log = read_log(file, "home", STATES, sieve)
    return list(log.events), [(Path(one.where).name, one.why) for one in sieve.left_out]


def long_log(file: Path, *, days: int = 6, every: int = 600, activity: str = "Work") -> Path:
    """An event every ten minutes, with one activity from 9 to 12."""
    rows = []
    for at in range(0, days * 86_400, every):
        moment = datetime.fromtimestamp(1_288_828_800 + at).astimezone(None).replace(tzinfo=None)
        moment = START.fromordinal(START.toordinal() + at // 86_400)
        hours, rest = divmod(at % 86_400, 3600)
        note = {(9, 0): f"\t{activity} begin", (12, 0): f"\t{activity} end"}.get((hours, rest), "")
        rows.append(
            f"{moment:%Y-%m-%d} {hours:02d}:{rest // 60:02d}:00.{at % 999:06d}\tM00{at % 7}\t{'ON' if at % 2 else 'OFF'}{note}\n"
        )
    return write(file, "".join(rows))


def test_a_log_is_read_as_it_is_published(tmp_path: Path) -> None:
    events, left_out = events_of(write(tmp_path / "home.txt"))
    first = (datetime(2010, 11, 4, 0, 3, 50, 209589) - datetime(1970, 1, 1)).total_seconds()
    assert events[0] == LogEvent(first, "M003", "ON", "Sleeping")
    assert [event.activity for event in events] == ["Sleeping"] * 3 + ["Bed_to_Toilet"] * 2 + ["Sleeping", OTHER]
    assert [event.state for event in events] == ["ON", "OFF", "21.5", "ON", "OFF", "ON", "OPEN"]
    assert not left_out


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2010-11-04 06:00:00\tM003", "3 fields"),
        ("2010-11-04 6h00\tM003\tON", "is no time"),
        ("2010-11-04 06:00:00\tM003\tONF", "unknown state 'ONF' of sensor M003"),
        ("2010-11-04 06:00:00\tM003\tnan", "unknown state 'nan'"),
        ("2010-11-04 05:40:51\tM003\tON", "its time is 1 s before that of the event before"),
        ("2010-11-04 06:00:00\tM003\tON\tSleeping end", "'Sleeping' ends and has not begun"),
        ("2010-11-04 06:00:00\tM003\tON\tSleeping", "does not say begin or end"),
        ("2010-11-04 06:00:00\tM003\tON\tEating begin", "'Eating' begins and never ends"),
        ("2010-11-04 06:00:00\tM003\tON\tEating begin Eating begin", "begins a second time"),
    ],
)
def test_bad_lines_are_named_or_left_out_and_listed(tmp_path: Path, line: str, why: str) -> None:
    file = write(tmp_path / "home.txt", f"{LOG}{line}\n")
    with pytest.raises(TrialbookError, match=f"home.txt:8: .*{why}.*skip_bad = true"):
        events_of(file)
    events, left_out = events_of(file, skip_bad=True)
    assert [where for where, _ in left_out] == ["home.txt:8"]
    assert why in left_out[0][1]
    assert len(events) == 7 + ("never ends" in why)


@pytest.mark.parametrize("quotes", ['="{}"', "='{}'", "={}", '="{}" '])
def test_annotations_may_be_written_as_attributes(tmp_path: Path, quotes: str) -> None:
    text = LOG
    for mark in ("begin", "end"):
        text = text.replace(f" {mark}", quotes.format(mark))
    assert text.count("=") == 4
    assert events_of(write(tmp_path / "home.txt", text)) == events_of(write(tmp_path / "plain.txt"))


@pytest.mark.parametrize("separator", ["\t", " "])
def test_events_may_carry_the_name_of_their_activity(tmp_path: Path, separator: str) -> None:
    labels = ["Sleeping", "Sleeping", "Bed to Toilet", "", "Work"]
    rows = (f"2010-11-04 0{i}:00:00{separator}M00{i}{separator}ON\t{label}" for i, label in enumerate(labels))
    events, _ = events_of(write(tmp_path / "home.txt", "\n".join(rows)))
    assert [event.activity for event in events] == ["Sleeping", "Sleeping", "Bed_to_Toilet", OTHER, "Work"]


def test_few_names_without_begin_or_end_are_torn_annotations(tmp_path: Path) -> None:
    rows = [f"2010-11-04 0{i}:00:00 M00{i} ON" + " Sleeping" * (i < 2) for i in range(6)]
    with pytest.raises(TrialbookError, match=r"home\.txt:1: "):
        events_of(write(tmp_path / "home.txt", "\n".join(rows)))


def test_names_of_sensors_may_have_spaces(tmp_path: Path) -> None:
    text = LOG.replace("M003", "Bedroom Door").replace("M004", "Hall sensor")
    events, left_out = events_of(write(tmp_path / "home.txt", text))
    plain, _ = events_of(write(tmp_path / "plain.txt"))
    assert [event.sensor for event in events][:4] == ["Bedroom_Door", "Bedroom_Door", "T002", "Hall_sensor"]
    assert [(one.time, one.state, one.activity) for one in events] == [(o.time, o.state, o.activity) for o in plain]
    assert not left_out


def test_a_time_with_a_zone_is_a_bad_line(tmp_path: Path) -> None:
    with pytest.raises(TrialbookError, match=r"home\.txt:1: .*zone"):
        events_of(write(tmp_path / "home.txt", "2010-11-04 00:00:00+01:00 M003 ON\n"))


def test_what_is_left_out_is_listed_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = "2010-11-04 02:00:00 M1 ON\n2010-11-04 01:00:00 M1 ON\n2010-11-04 torn\n2010-11-04 00:30:00 M1 ON\n"
    _, left_out = events_of(write(tmp_path / "home.txt", text), skip_bad=True)
    assert [where for where, _ in left_out] == ["home.txt:2", "home.txt:3", "home.txt:4"]


def test_writing_and_reading_a_log_gives_the_same_events(tmp_path: Path) -> None:
    home = SmartHome(residents=1, days=3, seed=4)
    (file,) = home.export(tmp_path)
    assert events_of(file)[0] == list(home.logs()[0].events)
    single = [
        LogEvent(1.0, "M1", "ON", "A"),
        LogEvent(2.0, "M1", "OFF", "B"),
        LogEvent(2.5, "M2", "ON", "B"),
        LogEvent(3.0, "M2", "OFF", "A"),
    ]
    write_log(tmp_path / "single.txt", single)
    assert events_of(tmp_path / "single.txt")[0] == single


def test_names_that_a_log_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialbookError, match="spaces"):
        write_log(tmp_path / "x.txt", [LogEvent(1.0, "front door", "OPEN")])


@pytest.mark.parametrize("options", [
    {"split_by": "time", "margin": 600.0, "window": 3600, "stride": 1800}, {"split_by": "day", "window": 3600},
    {"by": "count", "window": 5, "stride": 3, "split_by": "time"}, {"by": "count", "window": 4, "split_by": "day", "captions": 2},
])  # fmt: skip
def test_logs_conform_however_they_are_cut_and_split(tmp_path: Path, options: dict[str, Any]) -> None:
    root = long_log(tmp_path / "home.txt")
    options = {"root": str(root), "rooms": {"M00?": "hall"}, "style": "detailed", "val": 0.2, **options}
    check_component(SensorEvents, "dataset", options=options)


def test_splits_by_resident_keep_logs_apart(tmp_path: Path) -> None:
    for number in range(4):
        text = (long_log(tmp_path / "x").read_text()).replace(".000", f".{number}00")
        write(tmp_path / f"home{number}.txt", text)
    data = SensorEvents(root=str(tmp_path), split_by="resident", window=3600, val=0.25, test=0.25)
    assert sorted(name for split in data.splits().values() for name in set(split.labels("subject"))) == [
        f"home{n}" for n in range(4)
    ]


def test_windows_hold_the_events_of_their_time(tmp_path: Path) -> None:
    data = SensorEvents(root=str(long_log(tmp_path / "home.txt")), window=3600, split_by="time")
    train = data.splits()["train"]
    assert {len(window.sensor) for window in train.read("sensor", np.arange(len(train)))} == {6}
    window = train.read("sensor", np.array([10]))[0]
    sensors, states = data.describe("sensor").levels
    ats = range(36_000, 39_600, 600)
    assert [sensors[place] for place in window.sensor] == [f"M00{at % 7}" for at in ats]
    assert [states[place] for place in window.state] == ["OFF"] * 6
    np.testing.assert_allclose(window.seconds, np.arange(0, 3600, 600), atol=1e-3)  # micro-seconds in the times
    np.testing.assert_allclose(window.gap, [0] + [600] * 5, atol=1e-3)
    angle = 2 * np.pi * (np.array(ats) / 86_400)
    np.testing.assert_allclose(window.clock, np.stack([np.sin(angle), np.cos(angle)], axis=1), atol=1e-6)
    assert train.labels("label")[10] == "Work"
    assert train.labels("facts")[10]["start"] == "2010-11-04T10:00:00"


def test_numbers_are_on_the_scale_of_their_sensor_in_train_and_unseen_sensors_are_level_0(tmp_path: Path) -> None:
    rows = [
        f"2010-11-04 {hour:02d}:{minute:02d}:00 T001 {20 + minute / 10}\n" for hour in range(10) for minute in (0, 30)
    ]
    rows[-2] = rows[-2].replace("T001", "T999")
    data = SensorEvents(
        root=str(write(tmp_path / "t.txt", "".join(rows))), window=1800, val=0, test=0.3, style="detailed"
    )
    train, test = data.splits()["train"], data.splits()["test"]
    values = np.concatenate([window.value for window in train.read("sensor", np.arange(len(train)))])
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=1e-6)
    last = test.read("sensor", np.array([len(test) - 1]))[0]
    assert data.describe("sensor").levels == (("(unseen)", "T001"), ("(unseen)", "(number)"))
    assert (last.sensor[-1], last.value[-1]) == (0, 0)


def test_windows_without_events_are_counted(tmp_path: Path) -> None:
    text = "".join(f"2010-11-0{day} {hour:02d}:00:00 M001 ON\n" for day in (1, 2, 3) for hour in (8, 9, 20))
    data = SensorEvents(root=str(write(tmp_path / "h.txt", text)), window=1800, val=0, test=0.4)
    # (2 days + 12 h - window) / window + 1 windows fit into the log; 8 of its 9 events begin one of them
    assert [one.why for one in data.left_out if "without" in one.why] == ["112 windows of 1800 s without any event"]
    assert sum(map(len, data.splits().values())) == 8


def test_time_splits_leave_a_margin(tmp_path: Path) -> None:
    data = SensorEvents(
        root=str(long_log(tmp_path / "home.txt")), window=1800, stride=600, split_by="time", margin=7200
    )
    facts = {name: split.labels("facts") for name, split in data.splits().items()}

    def ends(name: str, which: Any) -> float:
        return float(which(datetime.fromisoformat(one["start"]).timestamp() for one in facts[name]))

    assert ends("val", min) - (ends("train", max) + 1800) >= 7200
    assert ends("test", min) - (ends("val", max) + 1800) >= 7200
    assert not find_overlaps(data.splits(), ["sensor"])


def test_an_event_of_a_test_log_planted_in_train_is_refused(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"home{number}.txt", long_log(tmp_path / "x").read_text().replace(".000", f".{number}00"))
    options: dict[str, Any] = {"root": str(tmp_path), "split_by": "resident", "window": 3600, "val": 0, "test": 0.34}
    test = SensorEvents(**options).splits()["test"].labels("subject")[0]
    other = next(f"home{number}" for number in range(3) if f"home{number}" != test)
    planted = (tmp_path / f"{test}.txt").read_text().splitlines()[42:48]  # the window from 7 o'clock on
    lines = (tmp_path / f"{other}.txt").read_text().splitlines()
    kept = [line.replace("\tWork begin", "").replace("\tWork end", "") for line in lines + planted]
    write(tmp_path / f"{other}.txt", "\n".join(sorted(kept)) + "\n")
    with pytest.raises(TrialbookError, match="all events of 1 windows of split 'test' stand in 'train'"):
        SensorEvents(**options).splits()
    assert SensorEvents(allow_overlap=True, **options).splits()


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    root = str(long_log(tmp_path / "home.txt"))
    for options, why in (
        ({"window": 0}, "window"), ({"by": "count", "window": 2.5}, "whole numbers"), ({"margin": -1}, "margin"),
        ({"captions": 0}, "captions"),
        ({"activities": ["Cook"]}, "no window is of 'Cook'"),
    ):  # fmt: skip
        with pytest.raises(TrialbookError, match=why):
            SensorEvents(root=root, **options).splits()
    with pytest.raises(TrialbookError, match="no file is called"):
        SensorEvents(root=str(tmp_path), files="*.log").splits()
    with pytest.raises(TrialbookError, match="there is no event"):
        SensorEvents(root=str(write(tmp_path / "empty.txt", "\n"))).splits()


@pytest.mark.parametrize("split_by", ["day", "resident", "time"])
def test_the_generated_home_conforms(split_by: str) -> None:
    check_component(
        SmartHome, "dataset", options={"residents": 3, "days": 4, "split_by": split_by, "val": 0.25, "test": 0.3}
    )


def test_the_generated_home_and_its_export_are_the_same_data(tmp_path: Path) -> None:
    home = SmartHome(residents=2, days=5, seed=3)
    home.export(tmp_path)
    read = SensorEvents(root=str(tmp_path), rooms=SENSOR_ROOMS, split_by="day", seed=3)
    assert read.fingerprint == home.fingerprint


def test_without_noise_the_sensors_tell_the_truth() -> None:
    home = SmartHome(residents=1, days=3, missed=0, false_alarms=0)
    (stays,) = home.truth.values()
    (log,) = home.logs()
    assert all(one.stop == pytest.approx(two.start) for one, two in pairwise(stays))
    assert {stay.activity for stay in stays} >= set(HABITS) - {"Bed_to_Toilet", "Leave_Home", "Housekeeping"}
    starts = np.array([stay.start for stay in stays])
    for event in log.events:
        stay = stays[int(np.searchsorted(starts, event.time, side="right")) - 1]
        assert event.activity == stay.activity
        if event.state == "ON" and SENSOR_ROOMS[event.sensor] != "hallway":
            assert SENSOR_ROOMS[event.sensor] == stay.room


def test_noise_misses_events_and_makes_false_ones() -> None:
    clean, missing, false = (
        len(SmartHome(residents=1, days=6, missed=missed, false_alarms=alarms).logs()[0].events)
        for missed, alarms in ((0, 0), (0.2, 0), (0, 10))
    )
    assert 0.75 < missing / clean < 0.85  # 8 standard deviations of a binomial with some 8000 events
    assert false == pytest.approx(clean + 2 * 10 * 24 * 6, rel=0.05)


def test_another_seed_makes_another_home_and_the_same_one_the_same() -> None:
    one, same, other = (SmartHome(residents=1, days=3, seed=seed).fingerprint for seed in (0, 0, 1))
    assert one == same != other
