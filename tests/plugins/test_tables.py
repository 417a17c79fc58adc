"""Tables of every separator, quoting and way of writing numbers; times without a zone; cells that hold nothing."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trialbook import TrialbookError
from trialbook.contracts.conversation_folder import read_folder
from trialbook_plugins.datasets._hub import load
from trialbook_plugins.datasets._tables import read_table
from trialbook_plugins.datasets.image_captions import ImageCaptions
from trialbook_plugins.datasets.llava import Llava
from trialbook_plugins.datasets.sensor_series import SensorSeries

COUNT = 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
    return tmp_path


def captions(root: Path, file: str, text: str, **options: Any) -> dict[str, list[str]]:
    """Name of each picture's file to its captions."""
    (root / file).write_text(text)
    found: dict[str, list[str]] = {}
    for split in ImageCaptions(root, file=file, size=8, **options).splits().values():
        said = split.read("text", np.arange(len(split.groups("text"))))
        for text, group in zip(said, split.groups("text"), strict=True):
            found.setdefault(split.labels("file")[group], []).append(text)
    return found


def lines(separator: str, said: dict[int, str]) -> str:
    rows = [separator.join((f"{i:02}.png", said.get(i, f"number {i}"))) for i in range(COUNT)]
    return "\n".join([separator.join(("image", "caption")), *rows]) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", [".csv", ".CSV", ".tsv", ".Tsv"])
def test_the_header_shows_what_separates_the_cells(root: Path, separator: str, ending: str) -> None:
    found = captions(root, f"table{ending}", lines(separator, {}))
    assert found == {f"{i:02}.png": [f"number {i}"] for i in range(COUNT)}


def test_a_quote_between_tabs_is_a_letter(root: Path) -> None:
    odd = {2: '"a tall tree', 5: 'the sign said "stop"', 7: 'stop"', 9: '"A" and "B"', 10: '"'}
    found = captions(root, "table.tsv", lines("\t", odd))
    assert len(found) == COUNT
    assert {i: found[f"{i:02}.png"][0] for i in odd} == odd


def test_a_cell_between_tabs_that_is_quoted_as_a_whole_is_read_as_before(root: Path) -> None:
    quoted = {1: '"say ""hi"""', 4: '"with\ttab"', 6: '"two\nlines"'}
    found = captions(root, "table.tsv", lines("\t", quoted))
    assert [found[f"{i:02}.png"] for i in quoted] == [['say "hi"'], ["with\ttab"], ["two\nlines"]]
    assert len(found) == COUNT


@pytest.mark.parametrize(("file", "separator"), [("table.csv", ","), ("table.tsv", "\t")])
def test_a_cell_that_spans_lines_is_reported(
    root: Path, file: str, separator: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    captions(root, file, lines(separator, {3: '"one\ntwo\nthree"'}))
    assert any("from line 5 to 7" in record.getMessage() for record in caplog.records)
    caplog.clear()
    captions(root, f"plain-{file}", lines(separator, {}))
    assert not caplog.records


@pytest.mark.parametrize(("file", "separator"), [("t.csv", ";"), ("t.CSV", ","), ("t.csv", "\t"), ("t.csv", "|")])
def test_the_datasets_library_is_told_what_separates_the_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, separator: str
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / file).write_text(lines(separator, {}))
    (data,) = load(file, tmp_path, None, None).values()
    assert data[:2] == {"image": ["00.png", "01.png"], "caption": ["number 0", "number 1"]}


def test_lines_of_rows_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "t.tsv"
    file.write_text('a\tb\n1\t"x\ny"\n\n2\tz\n')
    assert list(read_table(file, ["a"]).rows) == [(2, ["1", "x\ny"]), (5, ["2", "z"])]


# --- nothing in a cell ------------------------------------------------------------------------------------------------

ROWS: list[dict[str, Any]] = [{"image": f"{i:02}.png", "caption": f"number {i}"} for i in range(COUNT)]


@pytest.mark.parametrize(
    ("row", "change"),
    [
        (3, {"caption": None}), (3, {"caption": ""}), (3, {"caption": float("nan")}), (3, {"caption": [None, " "]}),
        (4, {"image": None}), (4, {"image": ""}), (4, {"image": "none.png"}),
    ],
)  # fmt: skip
def test_rows_without_a_picture_or_caption_stop_the_reading_or_are_left_out_and_counted(
    root: Path, row: int, change: dict[str, Any]
) -> None:
    text = "\n".join(json.dumps({**one, **change} if i == row else one) for i, one in enumerate(ROWS))
    with pytest.raises(TrialbookError, match="skip_missing"):
        captions(root, "t.jsonl", text)
    dataset = ImageCaptions(root, file="t.jsonl", size=8, skip_missing=True)
    assert sum(len(split) for split in dataset.splits().values()) == COUNT - 1
    assert dataset.dropped.missing + dataset.dropped.uncaptioned == 1


def test_a_null_caption_of_a_picture_with_others_is_left_out_and_counted(root: Path) -> None:
    text = "\n".join(map(json.dumps, [*ROWS, {"image": "00.png", "caption": None}]))
    (root / "t.jsonl").write_text(text)
    dataset = ImageCaptions(root, file="t.jsonl", size=8, skip_missing=True)
    assert sum(len(split.groups("text")) for split in dataset.splits().values()) == COUNT
    assert dataset.dropped.nulls == 1


def test_a_last_row_of_separators_alone_can_be_left_out(root: Path) -> None:
    assert len(captions(root, "t.csv", lines(",", {}) + ",\n", skip_missing=True)) == COUNT
    assert len(captions(root, "u.csv", lines(",", {}) + "11.png\n", skip_missing=True)) == COUNT
    with pytest.raises(TrialbookError, match=r"v\.csv:14"):
        captions(root, "v.csv", lines(",", {}) + ",\n")


# --- numbers ----------------------------------------------------------------------------------------------------------

VALUES = np.random.default_rng(0).normal(size=(40, 3)).round(2)


def folder_of(root: Path, text: str) -> Path:
    (root / "walk").mkdir(parents=True)
    (root / "walk/a.txt").write_text(text)
    return root


def windows(root: Path, **options: Any) -> np.ndarray[Any, Any]:
    """All windows of one sample, one after the other, as they were recorded."""
    dataset = SensorSeries(
        None, root=str(root), normalise="none", val=0, test=0, allow_overlap=True, **{"window": 2, **options}
    )
    return np.concatenate(list(dataset.splits()["train"].read("sensor", np.arange(len(dataset.splits()["train"])))))


def written(separator: str, point: str, form: str = "{:.2f}") -> str:
    return "\n".join(separator.join(form.format(v).replace(".", point) for v in row) for row in VALUES.tolist()) + "\n"


@pytest.mark.parametrize(
    ("separator", "point"),
    [(",", "."), (", ", "."), (";", "."), ("\t", "."), (" ", "."), (";", ","), ("; ", ","), ("\t", ","), (" ", ",")],
)
def test_numbers_of_a_text_file_are_the_same_however_they_are_written(
    tmp_path: Path, separator: str, point: str
) -> None:
    root = folder_of(tmp_path / "home", written(separator, point))
    np.testing.assert_allclose(windows(root), VALUES, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1,5,-0,25\n2,0,-0,75\n", 1),
        ("1,25,-0,5\n", 1),
        ("10,5\n1,05\n", 2),
        ("1.234,5;2.345,6\n", 1),
        ("1.5;2.5\n2,5;3,5\n", 2),
    ],
)
def test_a_comma_that_may_separate_numbers_or_decimals_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int
) -> None:
    with pytest.raises(TrialbookError, match=rf"a\.txt:{line}: "):
        windows(folder_of(tmp_path / "home", text))


@pytest.mark.parametrize("text", ["1,2,3\n4,5,6\n", "1,2,3;\n4,5,6;\n", "1.5,2.5;3.5\n4.5,5.5;6.5\n"])
def test_what_was_read_right_is_read_as_before(tmp_path: Path, text: str) -> None:
    expected = [[1, 2, 3], [4, 5, 6]] if "." not in text else [[1.5, 2.5, 3.5], [4.5, 5.5, 6.5]]
    np.testing.assert_array_equal(windows(folder_of(tmp_path / "home", text)), expected)


def table(separator: str, point: str, form: str = "{:.2f}") -> str:
    rows = [separator.join(("walk", line)) for line in written(separator, point, form).splitlines()]
    return "\n".join([separator.join(("label", "x", "y", "z")), *rows]) + "\n"


@pytest.mark.parametrize(
    ("file", "separator", "point"),
    [
        ("t.csv", ",", "."),
        ("t.csv", ";", "."),
        ("t.csv", ";", ","),
        ("t.TSV", "\t", ","),
        ("t.CSV", "\t", "."),
        ("t.csv", "|", ","),
    ],
)
def test_numbers_of_a_table_are_the_same_however_they_are_written(
    tmp_path: Path, file: str, separator: str, point: str
) -> None:
    (tmp_path / file).write_text(table(separator, point))
    np.testing.assert_allclose(windows(tmp_path / file), VALUES, rtol=1e-6)


def test_thousands_between_tabs_are_no_decimals(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("label\tx\nwalk\t1,234\nwalk\t5,678\n")
    with pytest.raises(TrialbookError, match=r"t\.tsv:2"):
        windows(tmp_path / "t.tsv")


def test_halves_of_decimals_in_a_ts_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.TS").write_text("@dimensions 2\n@data\n0,5,-0,25:1,0,2,0:walk\n")
    with pytest.raises(TrialbookError, match=r"a\.TS:3"):
        windows(tmp_path / "a.TS")


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def stamped(root: Path, hours: list[str]) -> Path:
    file = root / "t.csv"
    file.write_text("label,t,x\n" + "".join(f"sit,{at},{i * i}\n" for i, at in enumerate(hours)))
    return file


SPRING = [f"2021-03-28T{hour:02}:{minute:02}:00" for hour in range(5) for minute in range(0, 60, 10)]


@pytest.mark.usefixtures("_zone")
def test_times_without_a_zone_are_the_same_on_every_machine(tmp_path: Path) -> None:
    """The clocks of Berlin have no time from 2 to 3 in this night."""
    values = windows(stamped(tmp_path, SPRING), time="t")
    np.testing.assert_array_equal(values[:, 0], np.arange(len(SPRING)) ** 2)


def test_times_are_of_the_zone_that_is_named(tmp_path: Path) -> None:
    twice = ["2021-10-31T02:30:00+02:00", "2021-10-31T02:40:00", "2021-10-31T04:00:00+01:00"]
    with pytest.raises(TrialbookError, match="not after"):
        windows(
            stamped(tmp_path, ["2021-07-01T12:00:00+00:00", "2021-07-01T13:00:00"]), time="t", timezone="Europe/Berlin"
        )
    assert len(windows(stamped(tmp_path, twice), time="t", timezone="Europe/Berlin", window=3)) == 3
    with pytest.raises(TrialbookError, match="timezone"):
        SensorSeries(None, root=str(tmp_path), timezone="Berlin")


def test_a_message_shows_times_as_they_are_written(tmp_path: Path) -> None:
    file = stamped(tmp_path, ["2021-03-28T01:00:00", "2021-03-28T00:00:00"])
    with pytest.raises(TrialbookError, match=r"2021-03-28T00:00:00.*2021-03-28T01:00:00"):
        windows(file, time="t")
    file = stamped(tmp_path, ["1616893200.5", "1616893200.25"])
    with pytest.raises(TrialbookError, match=r"1616893200\.25"):
        windows(file, time="t")


def test_a_label_that_is_none_is_a_bad_row(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    labels = np.array([0.0, 1.0, np.nan, 1.0, 0.0])
    np.savez(file, series=np.random.default_rng(0).normal(size=(5, 4, 2)), label=labels)
    with pytest.raises(TrialbookError, match="row 2"):
        windows(file, window=0)
    dataset = SensorSeries(None, root=str(file), val=0, test=0, normalise="none", skip_bad=True)
    assert dataset.class_names == ("0.0", "1.0")
    assert len(dataset.left_out) == 1


@pytest.mark.parametrize("kind", [".csv", ".npz", ".ts", "folder"])
def test_a_value_too_large_for_single_precision_is_a_bad_row(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"a{kind}"
    if kind == ".csv":
        file.write_text("label,x\nsit,1\nsit,1e300\n")
    elif kind == ".npz":
        np.savez(file, series=np.array([[[1.0]], [[1e300]]]), label=np.array(["sit", "sit"]))
    elif kind == ".ts":
        file.write_text("@data\n1.0,2.0:sit\n1.0,1e300:sit\n")
    else:
        file = folder_of(tmp_path / "home", "1.0\n1e300\n")
    with pytest.raises(TrialbookError, match=r":[23]: |row 1"):
        windows(file)


@pytest.mark.parametrize("cell", ["1_000", "\uff11", "0x1p3"])
def test_what_python_alone_takes_for_a_number_is_a_bad_line(tmp_path: Path, cell: str) -> None:
    with pytest.raises(TrialbookError, match=r"a\.txt:2: "):
        windows(folder_of(tmp_path / "home", f"1.0\n{cell}\n"))


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_a_table_without_rows_is_named(tmp_path: Path, ending: str, text: str) -> None:
    for skip in (False, True):
        with pytest.raises(TrialbookError):
            captions(tmp_path, f"t{ending}", text, skip_missing=skip)


@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, "1" * 10_000])
def test_json_that_no_parser_reads_is_named(tmp_path: Path, value: str) -> None:
    with pytest.raises(TrialbookError, match=r"t\.jsonl:1: "):
        captions(tmp_path, "t.jsonl", f'{{"image": {value}}}')
    (tmp_path / "t.json").write_text(value)
    with pytest.raises(TrialbookError, match=r"t\.json: "):
        Llava(tmp_path, root=".", file="t.json").splits()
    (tmp_path / "train.jsonl").write_text(f'{{"id": {value}}}')
    with pytest.raises(TrialbookError, match=r"train\.jsonl:1: "):
        read_folder(tmp_path)


def test_a_time_of_utc_may_end_in_z(tmp_path: Path) -> None:
    file = stamped(tmp_path, ["2021-03-28T01:00:00Z", "2021-03-28T01:00:01", "2021-03-28T03:00:02+02:00"])
    assert len(windows(file, time="t", window=3)) == 3
