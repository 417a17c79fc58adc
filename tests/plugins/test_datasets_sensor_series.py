"""Windows of multichannel series: reading, cutting, scaling, splitting, and everything that is refused."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trialbook.contracts.datasets import find_overlaps
from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.datasets._leakage import find_leaked_windows
from trialbook_plugins.datasets.sensor_series import SensorSeries

DATA = os.environ.get("TRIALBOOK_DATA")
Values = NDArray[np.float64]


def walk(rng: np.random.Generator, length: int, channels: int = 2) -> Values:
    return rng.standard_normal((length, channels)).cumsum(axis=0).round(3)


def write_folder(root: Path, activities: dict[str, list[Values]]) -> Path:
    for activity, recordings in activities.items():
        (root / activity).mkdir(parents=True, exist_ok=True)
        for number, values in enumerate(recordings):
            lines = (" ".join(map(str, row)) for row in values.tolist())
            (root / activity / f"trial-{number:02d}-s{number % 3}.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    activities = {name: [walk(rng, 20 + number) for number in range(6)] for name in ("Sit_down", "Walk")}
    return write_folder(tmp_path / "home", activities)


def write_csv(file: Path, rows: list[list[Any]], header: str = "recording,time,label,x,y") -> Path:
    file.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return file


def csv_rows(recordings: int = 6, length: int = 12) -> list[list[Any]]:
    rng = np.random.default_rng(1)
    return [
        [f"r{number}", at, "walk" if number % 2 else "sit", *rng.standard_normal(2).round(4)]
        for number in range(recordings)
        for at in range(length)
    ]


@pytest.mark.parametrize("split_by", ["recording", "subject"])
def test_a_folder_of_text_files_conforms(folder: Path, split_by: str) -> None:
    options = {"root": str(folder), "window": 8, "stride": 4, "subject": r"-(s\d)\.txt", "split_by": split_by}
    check_component(SensorSeries, "dataset", options={**options, "val": 0.3, "test": 0.3, "captions": 2})


def test_windows_are_the_samples_of_the_file_on_the_scale_of_train(folder: Path) -> None:
    data = SensorSeries(root=str(folder), window=8, stride=4)
    train, test = data.splits()["train"], data.splits()["test"]
    raw: dict[str, Values] = {path.relative_to(folder).as_posix(): np.loadtxt(path) for path in folder.glob("*/*")}

    def windows(name: str) -> Values:
        return np.stack([raw[name][at : at + 8] for at in range(0, len(raw[name]) - 7, 4)])

    of_train = np.concatenate([windows(name) for name in dict.fromkeys(train.labels("recording"))]).reshape(-1, 2)
    mean, spread = of_train.mean(axis=0), of_train.std(axis=0)
    name = test.labels("recording")[0]
    own = [row for row, one in enumerate(test.labels("recording")) if one == name]
    expected = (windows(name) - mean) / spread
    np.testing.assert_allclose(test.read("sensor", np.array(own)), expected, atol=2e-5)  # float32 of values below 100


def test_min_max_puts_train_between_0_and_1_and_none_leaves_values_alone(folder: Path) -> None:
    scaled = SensorSeries(root=str(folder), window=8, normalise="minmax").splits()["train"]
    values = scaled.read("sensor", np.arange(len(scaled)))
    np.testing.assert_allclose([values.min(), values.max()], [0, 1], atol=1e-6)
    plain = SensorSeries(root=str(folder), window=8, normalise="none").splits()["train"]
    first = np.loadtxt(folder / plain.labels("recording")[0], dtype=np.float32)
    np.testing.assert_array_equal(plain.read("sensor", np.array([0]))[0], first[:8])


@pytest.mark.parametrize("split_by", ["recording", "subject", "time"])
def test_no_recording_stands_in_two_splits(folder: Path, split_by: Any) -> None:
    options: dict[str, Any] = {"subject": r"-(s\d)\.txt", "time": r"\d+", "val": 0.3, "test": 0.3}
    splits = SensorSeries(root=str(folder), window=8, stride=2, split_by=split_by, **options).splits()
    key = "subject" if split_by == "subject" else "recording"
    places = [set(split.labels(key)) for split in splits.values()]
    assert len(places) == 3
    assert sum(map(len, places)) == len(set.union(*places))


def test_by_time_the_last_recordings_are_tested(folder: Path) -> None:
    splits = SensorSeries(root=str(folder), window=8, split_by="time", time=r"trial-(\d+)", val=0, test=0.4).splits()
    number = {name: [int(one.split("-")[1]) for one in split.labels("recording")] for name, split in splits.items()}
    assert max(number["train"]) <= min(number["test"])


def test_a_single_recording_is_split_by_the_time_of_its_windows(tmp_path: Path) -> None:
    rows = [["r", at, "walk", *np.random.default_rng(at).standard_normal(2)] for at in range(200)]
    file = write_csv(tmp_path / "one.csv", rows)
    data = SensorSeries(root=str(file), window=4, stride=2, split_by="time", time="time", recording="recording")
    told = {name: split.read("sensor", np.arange(len(split))) for name, split in data.splits().items()}
    assert list(told) == ["train", "val", "test"]
    assert not find_overlaps(data.splits(), ["sensor"])
    assert sum(map(len, told.values())) == 99 - 2  # those that reach over a boundary are in no split
    assert [one.why for one in data.left_out] == ["2 windows reach over the time at which a split ends"]


def test_stratified_splits_have_every_activity_while_there_are_enough(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    root = write_folder(tmp_path, {"a": [walk(rng, 20) for _ in range(20)], "b": [walk(rng, 20) for _ in range(3)]})
    for seed in range(5):
        splits = SensorSeries(root=str(root), window=10, stratify=True, seed=seed).splits()
        assert all(set(split.labels("label")) == {"a", "b"} for split in splits.values())


def test_a_copy_of_a_recording_under_another_name_stays_with_it(folder: Path) -> None:
    (folder / "Walk" / "trial-99-s0.txt").write_bytes((folder / "Walk" / "trial-01-s1.txt").read_bytes())
    splits = SensorSeries(root=str(folder), window=8).splits()
    homes = [
        name for name, split in splits.items() for one in split.labels("recording") if one[-12:-7] in ("al-99", "al-01")
    ]
    walks = {
        name for name, split in splits.items() for one in split.labels("recording") if one.startswith("Walk/trial-99")
    }
    twins = {
        name for name, split in splits.items() for one in split.labels("recording") if one.startswith("Walk/trial-01")
    }
    assert walks == twins, homes


@pytest.mark.parametrize("shift", [0, 1, 5])
def test_a_window_of_a_test_recording_planted_in_train_is_refused(tmp_path: Path, shift: int) -> None:
    rng = np.random.default_rng(0)
    rows: list[list[Any]] = []
    recordings = {name: walk(rng, 24) for name in ("a", "b", "c", "d")}
    recordings["a"][shift : shift + 8] = recordings["d"][8:16]  # the second window of d, at any offset
    for name, values in recordings.items():
        rows += [[name, at, "walk", *values[at], "test" if name == "d" else "train"] for at in range(24)]
    file = write_csv(tmp_path / "planted.csv", rows, header="recording,time,label,x,y,split")
    options: dict[str, Any] = {
        "window": 8,
        "recording": "recording",
        "time": "time",
        "split": "split",
        "split_by": "given",
        "val": 0,
    }
    with pytest.raises(
        TrialbookError, match=r"in both train and test|windows of split 'test' stand in recordings of train"
    ):
        SensorSeries(root=str(file), **options).splits()
    assert len(SensorSeries(root=str(file), allow_overlap=True, **options).splits()) == 2


def test_planted_windows_are_found_at_every_offset_and_nowhere_else() -> None:
    rng = np.random.default_rng(0)
    recordings = [walk(rng, 50, 3).astype(np.float32) for _ in range(4)]
    windows = [recordings[1][at : at + 7] for at in (0, 3, 43)] + [
        recordings[2][:5],
        walk(rng, 7, 3).astype(np.float32),
    ]
    assert find_leaked_windows(windows, [recordings[0], recordings[1]]) == [0, 1, 2]
    assert find_leaked_windows(windows, recordings) == [0, 1, 2, 3]
    assert (
        find_leaked_windows([np.zeros((4, 3), np.float32)], [np.zeros((9, 3), np.float32)]) == []
    )  # rest is the same everywhere


def test_bad_lines_are_named_with_file_and_line_or_left_out(folder: Path) -> None:
    for content, why in (
        ("1 2\n3\n", ":2: 1 numbers"),
        ("1 2\nnan 3\n", ":2: NaN"),
        ("1 2\nx 3\n", ":2: .*'x'"),
        ("1 2\n3 1e300\n", ":2: .*float32"),
        ("", ":1: no samples"),
    ):
        (folder / "Walk" / "zz-s0.txt").write_text(content)
        with pytest.raises(TrialbookError, match=f"zz-s0.txt{why}.*skip_bad"):
            SensorSeries(root=str(folder), window=8).splits()
        data = SensorSeries(root=str(folder), window=8, skip_bad=True)
        assert [Path(one.where.rpartition(":")[0]).name for one in data.left_out] == ["zz-s0.txt"]


def test_a_file_with_another_number_of_channels_is_refused(folder: Path) -> None:
    (folder / "Walk" / "zz-s0.txt").write_text("1 2 3\n4 5 6\n")
    with pytest.raises(TrialbookError, match="3 channels, where the files before have 2"):
        SensorSeries(root=str(folder), window=8).splits()


def test_a_channel_that_is_constant_over_train_is_refused_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat = [np.column_stack([walk(rng, 20, 1), np.full(20, 7.0)]) for _ in range(8)]
    root = write_folder(tmp_path, {"a": flat})
    with pytest.raises(TrialbookError, match="channel 'z' is constant"):
        SensorSeries(root=str(root), window=10, channels=["x", "z"]).splits()
    assert SensorSeries(root=str(root), window=10, normalise="none").splits()


def test_recordings_shorter_than_a_window_are_dropped_and_listed_or_kept(folder: Path) -> None:
    dropped = SensorSeries(root=str(folder), window=22)
    assert len(dropped.left_out) == 4
    assert all("fewer than a window's 22" in one.why for one in dropped.left_out)
    kept = SensorSeries(root=str(folder), window=22, short="keep")
    assert kept.describe("sensor").shape == (0, 2)
    assert not kept.left_out
    train = kept.splits()["train"]
    assert {len(row) for row in train.read("sensor", np.arange(len(train)))} <= {20, 21, 22}
    check_component(SensorSeries, "dataset", options={"root": str(folder), "window": 22, "short": "keep", "val": 0.3})


def test_windows_in_seconds_are_those_in_samples(folder: Path) -> None:
    seconds = SensorSeries(root=str(folder), window=0.5, stride=0.25, unit="seconds", rate=16)
    samples = SensorSeries(root=str(folder), window=8, stride=4)
    assert seconds.splits()["test"].content("sensor") == samples.splits()["test"].content("sensor")
    assert {facts["seconds"] for facts in seconds.splits()["train"].labels("facts")} == {0.5}


def test_unsorted_times_of_a_csv_file_are_refused_or_cut_the_recording(tmp_path: Path) -> None:
    rows = csv_rows()
    rows[5], rows[6] = rows[6], rows[5]
    file = write_csv(tmp_path / "late.csv", rows)
    options: dict[str, Any] = {"root": str(file), "window": 4, "recording": "recording", "time": "time"}
    with pytest.raises(
        TrialbookError, match=r"late.csv:8: its time \(5\) is not after that of the sample before \(6\)"
    ):
        SensorSeries(**options).splits()
    data = SensorSeries(skip_bad=True, **options)
    assert len(data.left_out) == 1
    assert Counter(one for split in data.splits().values() for one in split.labels("recording"))["r0"] == 2


def test_a_csv_window_never_reaches_over_a_change_of_label(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [[f"r{at // 30}", at % 30, "walk" if at % 30 < 13 else "sit", *rng.standard_normal(2)] for at in range(180)]
    data = SensorSeries(root=str(write_csv(tmp_path / "a.csv", rows)), window=5, recording="recording", time="time")
    counts = Counter(one for split in data.splits().values() for one in split.labels("label"))
    assert counts == {"walk": 6 * 2, "sit": 6 * 3}


def test_npz_arrays_are_read_and_mismatched_lengths_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    series = rng.standard_normal((12, 10, 3))
    labels = np.array(["a", "b"] * 6)
    np.savez(tmp_path / "ok.npz", series=series, label=labels)
    check_component(SensorSeries, "dataset", options={"root": str(tmp_path / "ok.npz"), "val": 0.2})
    np.savez(tmp_path / "short.npz", series=series, label=labels[:11])
    with pytest.raises(TrialbookError, match=r"'label' has shape \[11\] for 12 rows of 'series'"):
        SensorSeries(root=str(tmp_path / "short.npz")).splits()
    series[3, 2, 1] = np.nan
    np.savez(tmp_path / "nan.npz", series=series, label=labels)
    with pytest.raises(TrialbookError, match="row 3 of 'series': 1 values are NaN"):
        SensorSeries(root=str(tmp_path / "nan.npz")).splits()
    assert len(SensorSeries(root=str(tmp_path / "nan.npz"), skip_bad=True).left_out) == 1
    series[3, 2, 1] = 1e300
    np.savez(tmp_path / "large.npz", series=series, label=labels)
    with pytest.raises(TrialbookError, match="row 3 of 'series': 1 values"):
        SensorSeries(root=str(tmp_path / "large.npz")).splits()


def test_broken_ts_lines_are_named(tmp_path: Path) -> None:
    head = "@dimensions 2\n@classLabel true a b\n@data\n"
    for line, why in (
        ("1,2:3:a", "channels of 2, 1 samples"),
        ("1,2:a", "1 channels"),
        ("1,?:3,4:b", "missing"),
        ("1,2:3,4:c", "label 'c'"),
    ):
        (tmp_path / "x_TRAIN.ts").write_text(head + line + "\n")
        with pytest.raises(TrialbookError, match=f"x_TRAIN.ts:4: .*{why}"):
            SensorSeries(root=str(tmp_path)).splits()


def test_options_that_cannot_be_are_refused(folder: Path) -> None:
    for options, why in (
        ({"unit": "seconds"}, "rate"), ({"window": 1}, "window"), ({"window": 8, "stride": 0}, "stride"),
        ({"captions": 0}, "captions"),
        ({"rate": -1.0}, "rate"),
    ):  # fmt: skip
        with pytest.raises(TrialbookError, match=why):
            SensorSeries(root=str(folder), **options)
    for late, why in (
        ({"activities": ["Wlak"]}, "no 'Wlak'.*Sit_down, Walk"), ({"split_by": "subject"}, "subject"),
        ({"split_by": "time"}, "time"),
        ({"split_by": "given"}, "split"), ({"window": 99}, "as long as a window"), ({"channels": ["x"]}, "channels names 1"),
    ):  # fmt: skip
        with pytest.raises(TrialbookError, match=why):
            SensorSeries(**{"root": str(folder), "window": 8, **late}).splits()


def test_captions_and_facts_go_with_their_windows(folder: Path) -> None:
    split = SensorSeries(root=str(folder), window=8, rate=16, channels=["x", "y"], style="plain").splits()["train"]
    order = np.random.default_rng(0).permutation(len(split))
    texts, facts = split.read("text", order), split.labels("facts")
    for text, row in zip(texts, order.tolist(), strict=True):
        group = int(split.groups("text")[row])
        assert facts[group]["activity"].lower().replace("_", " ") in text
        assert facts[group]["key"] == split.content("sensor")[group]


@pytest.mark.skipif(DATA is None, reason="TRIALBOOK_DATA is not set")
def test_the_wrist_accelerometer_has_14_activities_split_by_recording() -> None:
    options: dict[str, Any] = {
        "root": "wrist-accelerometer",
        "window": 3.75,
        "unit": "seconds",
        "rate": 32,
        "stratify": True,
    }
    data = SensorSeries(Path(DATA or ""), subject=r"-([fm]\d+)\.txt$", **options)
    splits = data.splits()
    assert len(data.class_names) == 14
    recordings = {name: set(split.labels("recording")) for name, split in splits.items()}
    assert (
        sum(map(len, recordings.values())) == len(set.union(*recordings.values())) == 839
    )  # README says 840; so many files there are
    assert not data.left_out
    assert all(set(split.labels("label")) == set(data.class_names) for split in splits.values())
    assert len({one for split in splits.values() for one in split.labels("subject")}) == 16
    assert data.describe("sensor").shape == (120, 3)


@pytest.mark.skipif(DATA is None, reason="TRIALBOOK_DATA is not set")
def test_basic_motions_are_read_by_changing_the_table_alone() -> None:
    check_component(
        SensorSeries, "dataset", injected={"data_root": Path(DATA or "")},
        options={"root": "basic-motions", "split_by": "given", "val": 0.2, "stratify": True},
    )  # fmt: skip
    data = SensorSeries(Path(DATA or ""), root="basic-motions", split_by="given", val=0)
    assert {name: len(split) for name, split in data.splits().items()} == {"train": 40, "test": 40}
    assert data.class_names == ("Badminton", "Running", "Standing", "Walking")
    assert data.describe("sensor").shape == (100, 6)
