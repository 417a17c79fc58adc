"""The registry as an index: made by many at once, rebuilt, checked, read."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trialbook.api.registry import Registry
from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.runspec import RunSpec
from trialbook.contracts.files import read_lines
from trialbook.contracts.records import Record, Timing
from trialbook.errors import TrialbookError
from trialbook.registry import sql
from trialbook.registry.connection import UnusableRegistry, is_current, open_registry, read_registry
from trialbook.registry.migrations import APPLICATION_ID, VERSION, ensure_schema
from trialbook.registry.query import open_index
from trialbook.registry.recorder import Recorder
from trialbook.registry.run_directory import RunDirectory
from trialbook.registry.sync import check, sync
from trialbook.reports.inspect import remove_runs

TABLES = ("run", "metric", "point", "summary", "document")
NEWCOMER = """
import sys
from pathlib import Path
from trialbook.config.runspec import RunSpec
from trialbook.registry.recorder import Recorder
from trialbook.contracts.records import Record
root, seed = Path(sys.argv[1]), int(sys.argv[2])
spec = RunSpec(experiment="e", arm="a", base_arm="a", point={}, seed=seed, config={}, sources={}, id=f"{seed:08x}")
sys.stdin.readline()
with Recorder(root / spec.relative_path, root / "registry.db") as recorder:
    recorder.start(spec, {}, {})
    for step in range(200):
        recorder.add(Record(step, {f"m{i}": seed + step / (i + 1) for i in range(10)}))
    recorder.finish({})
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from trialbook.config.runspec import RunSpec
from trialbook.registry.recorder import Recorder
from trialbook.contracts.records import Record
root = Path(sys.argv[1])
spec = RunSpec(experiment="e", arm="killed", base_arm="killed", point={}, seed=0, config={}, sources={}, id="f" * 8)
with Recorder(root / spec.relative_path, root / "registry.db") as recorder:
    recorder.start(spec, {}, {})
    for step in range(500):
        recorder.add(Record(step, {"loss": 1.0 / (step + 1)}))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def record(root: Path, arm: str, seed: int, *, steps: int = 5, finish: bool = True) -> RunDirectory:
    spec = RunSpec(
        experiment="e", arm=arm, base_arm=arm, point={}, seed=seed, config={"train": {"lr": 0.1}}, sources={},
        id=f"{ord(arm[0]):04x}{seed:04x}", info=ExperimentInfo(baseline="a", question="?"),
    )  # fmt: skip
    with Recorder(root / spec.relative_path, root / "registry.db") as recorder:
        recorder.start(spec, {"hardware": {"cpu": "x"}}, {})
        for step in range(steps):
            recorder.add(Record(step, {"loss": 1 / (step + seed + 1), "r@1": step / 10}))
            recorder.add(Timing(step, {"train_seconds": step * 0.1}))
        if finish:
            recorder.finish({})
    return recorder.run


def content(registry: Path) -> dict[str, Any]:
    """All that the registry says, without row numbers."""
    database = sqlite3.connect(registry)
    runs = (
        "select r.path, r.experiment, r.arm, r.seed, r.hash, r.outcome, r.started, r.seconds, c.body, r.metrics_check "
        "from run r join document c on c.id = r.config order by 1"
    )
    return {
        "runs": database.execute(runs).fetchall(),
        "points": database.execute("select * from metric_points order by run, kind, metric, step").fetchall(),
        "summaries": database.execute("select * from final_metrics order by run, kind, metric").fetchall(),
    }


def test_16_processes_meet_a_registry_that_is_not_there_yet(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", NEWCOMER, str(tmp_path), str(seed)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(16)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    told = {line["kind"] for path in tmp_path.glob("e/*/events.jsonl") for line in read_lines(path)}
    assert told <= {"registry-behind"}  # one that found it busy for longer than it waits says so, and is taken up later
    sync(tmp_path / "registry.db")
    database = sqlite3.connect(tmp_path / "registry.db")
    rows = database.execute("select seed, count(*), sum(value) from metric_points group by seed").fetchall()
    totals = {seed: sum(seed + step / (i + 1) for step in range(200) for i in range(10)) for seed in range(16)}
    assert [(seed, count) for seed, count, _ in rows] == [(seed, 2000) for seed in range(16)]
    assert {seed: total for seed, _, total in rows} == pytest.approx(totals)
    assert database.execute("select count(*) from _sqlite_migrations").fetchone() == (VERSION,)


def _ensure(file: Path, start: Any, outcome: Any) -> None:
    start.wait()
    try:
        open_registry(file).close()
        outcome.put("")
    except Exception as error:
        outcome.put(repr(error))


def test_the_schema_is_made_once_by_processes_that_begin_at_the_same_moment(tmp_path: Path) -> None:
    import sqlite_utils  # noqa: F401 - before forking, so that all begin at the same moment

    context = multiprocessing.get_context("fork")
    for attempt in range(3):
        start, outcome = context.Event(), context.Queue()
        file = tmp_path / f"{attempt}.db"
        workers = [context.Process(target=_ensure, args=(file, start, outcome)) for _ in range(16)]
        for worker in workers:
            worker.start()
        start.set()
        assert [outcome.get(timeout=60) for _ in workers] == [""] * 16
        for worker in workers:
            worker.join()
        assert sqlite3.connect(file).execute("pragma journal_mode").fetchone() == ("wal",)


def test_a_rebuilt_registry_says_the_same(tmp_path: Path) -> None:
    for arm in "ab":
        for seed in range(2):
            record(tmp_path, arm, seed)
    before = content(tmp_path / "registry.db")
    for file in tmp_path.glob("registry.db*"):
        file.unlink()
    report = sync(tmp_path / "registry.db")
    assert len(report.added) == 4
    assert content(tmp_path / "registry.db") == before
    assert check(tmp_path / "registry.db") == []
    again = sync(tmp_path / "registry.db")
    assert (again.added, again.updated, again.removed, again.unchanged) == ([], [], [], 4)


def test_sync_takes_in_copied_directories_and_lets_go_of_deleted_ones(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    gone = record(here, "a", 0)
    kept = record(here, "a", 1)
    copied = record(there, "b", 0)
    shutil.copytree(copied.path, here / "e" / copied.path.name)
    shutil.rmtree(gone.path)
    assert [d.message for d in check(here / "registry.db")] == [
        "is not in the registry", "is in the registry, its directory is gone",
    ]  # fmt: skip
    report = sync(here / "registry.db")
    assert (report.added, report.removed) == ([f"e/{copied.path.name}"], [f"e/{gone.path.name}"])
    with open_index(here / "registry.db") as index:
        assert {run.name for run in index.runs()} == {kept.path.name, copied.path.name}
    assert check(here / "registry.db") == []


def test_check_sees_every_way_in_which_the_two_can_differ(tmp_path: Path) -> None:
    run = record(tmp_path, "a", 0)
    registry = tmp_path / "registry.db"

    def messages() -> list[str]:
        return [difference.message for difference in check(registry)]

    metrics = run.lines("metrics").read_bytes()
    run.lines("metrics").write_bytes(metrics + b'{"step":9,"values":{"loss":1.0}}\n')
    assert messages() == ["metrics.jsonl has more than the registry"]
    run.lines("metrics").write_bytes(metrics.replace(b"1.0", b"2.0", 1))
    assert messages() == ["metrics.jsonl is not what the registry read"]
    run.lines("metrics").write_bytes(metrics)
    assert messages() == []
    run.json("data").write_text('{"changed": 1}')
    assert messages() == ["its JSON files changed after the registry read them"]
    sync(registry)
    database = sqlite3.connect(registry)
    database.execute("delete from point where step = 2")
    database.commit()
    (message,) = messages()
    assert message.startswith("the registry has another number of points than its files")
    assert sync(registry, reread=True).updated == [f"e/{run.path.name}"]
    assert messages() == []


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    run = record(tmp_path, "a", 0)
    lines = run.lines("metrics").read_text().replace("0.5", "0.75").splitlines(keepends=True)
    run.lines("metrics").write_text("".join(lines[:3]))
    assert sync(tmp_path / "registry.db").updated == [f"e/{run.path.name}"]
    rows = sqlite3.connect(tmp_path / "registry.db").execute("select value from metric_points where metric = 'loss'")
    assert [value for (value,) in rows] == [1.0, 0.75, 1 / 3]


def test_one_spoilt_directory_does_not_keep_the_others_out(tmp_path: Path) -> None:
    record(tmp_path, "a", 0)
    spoilt, odd = record(tmp_path, "b", 0), record(tmp_path, "c", 0)
    spoilt.json("run").write_text("{")
    odd.lines("metrics").write_text('{"no": "record"}\n')
    for file in tmp_path.glob("registry.db*"):
        file.unlink()
    report = sync(tmp_path / "registry.db")
    assert len(report.added) == 1
    assert [place in problem for place, problem in zip(("run.json", "metrics.jsonl:1"), report.problems, strict=True)]
    with open_index(tmp_path / "registry.db") as index:
        assert {run.arm: run.status for run in index.runs()} == {"a": "finished", "b": "unreadable", "c": "unreadable"}


def test_a_killed_run_shows_as_killed_with_all_its_points(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -9
    with open_index(tmp_path / "registry.db") as index:
        (run,) = index.runs()
        assert run.status == "killed"
        assert index.summaries([run], ["loss"], "count, last") == [(run.id, "loss", 500, 1 / 500)]


def test_a_missing_registry_is_built_and_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrialbookError, match="no run is recorded in"), open_index(tmp_path / "registry.db"):
        pass
    record(tmp_path, "a", 0)
    for file in tmp_path.glob("registry.db*"):
        file.unlink()
    with open_index(tmp_path / "registry.db") as index:
        assert [run.arm for run in index.runs()] == ["a"]


def test_a_new_directory_is_noticed_and_a_spoilt_one_hides_no_other(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    record(here, "a", 0)
    for arm in "bc":
        run = record(there, arm, 0)
        shutil.copytree(run.path, here / "e" / run.path.name)
    RunDirectory(here / "e" / run.path.name).json("run").write_text("{")
    with open_index(here / "registry.db") as index:
        assert {run.arm: run.status for run in index.runs()} == {"a": "finished", "b": "finished", "c": "unreadable"}


def test_a_registry_that_cannot_be_written_is_still_read(tmp_path: Path) -> None:
    record(tmp_path, "a", 0)
    run = record(tmp_path, "b", 0, finish=False)
    with run.lines("metrics").open("a") as stream:
        stream.write('{"step":9,"values":{"loss":0.5}}\n')
    database = sqlite3.connect(tmp_path / "registry.db")
    database.execute("create trigger t before update on run begin select raise(abort, 'no'); end")
    database.close()
    with open_index(tmp_path / "registry.db") as index:
        assert {run.arm: run.status for run in index.runs()} == {"a": "finished", "b": "killed"}


def test_runs_are_found_by_name_beginning_id_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = record(tmp_path, "abc", 0), record(tmp_path, "abd", 0)
    monkeypatch.chdir(tmp_path)
    with open_index(tmp_path / "registry.db") as index:
        for text in (
            first.path.name,
            "abc",
            str(first.path),
            f"e/{first.path.name}",
            f"./e/{first.path.name}/",
            "e/abc",
        ):
            assert index.one(text).name == first.path.name
        index_by_id = index.find(second.path.name.rpartition("-")[2])
        assert {run.name for run in index_by_id} == {first.path.name, second.path.name}  # both ids are 00610000
        with pytest.raises(TrialbookError, match="fits 2 runs: e/abc"):
            index.one("ab")
        with pytest.raises(TrialbookError, match="did you mean 'abc-s0-00610000'"):
            index.one("abx-s0-00610000")


def test_reading_cannot_write(tmp_path: Path) -> None:
    record(tmp_path, "a", 0)
    connection = read_registry(tmp_path / "registry.db")
    for statement in ("delete from run", "create table x (a)", "pragma user_version = 7"):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute(statement)


def test_what_is_no_registry_of_ours_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    file.write_bytes(b"something else" * 1000)
    for opener in (open_registry, read_registry):
        with pytest.raises(TrialbookError, match="no SQLite file or is damaged"):
            opener(file)
    file.unlink()
    newer = sqlite3.connect(file)
    newer.execute(f"pragma application_id = {APPLICATION_ID}")
    newer.execute(f"pragma user_version = {VERSION + 1}")
    newer.close()
    for opener in (open_registry, read_registry):
        with pytest.raises(TrialbookError, match="newer trialbook"):
            opener(file)


def test_the_schema_is_up_to_date_without_loading_its_library(tmp_path: Path) -> None:
    open_registry(tmp_path / "registry.db").close()
    code = (
        "import sys; from pathlib import Path; from trialbook.registry.connection import open_registry; "
        f"open_registry(Path({str(tmp_path / 'registry.db')!r})); print('sqlite_utils' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    connection.execute("create table point (mine)")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        ensure_schema(connection)
    assert [name for (name,) in connection.execute("select name from sqlite_master")] == ["point"]


def test_the_views_answer_a_browsers_questions(tmp_path: Path) -> None:
    run = record(tmp_path, "a", 3)
    database = sqlite3.connect(tmp_path / "registry.db")

    def ask(question: str) -> list[Any]:
        return database.execute(question).fetchall()

    assert ask("select experiment, arm, seed, name, outcome from run_overview") == [
        ("e", "a", 3, run.path.name, "finished")
    ]
    assert ask("select last, min_step from final_metrics where metric = 'loss'") == [(1 / 8, 4)]
    assert ask("select count(*) from metric_points where kind = 'timing'") == [(5,)]
    assert ask("select key, value from run_config") == [("train.lr", 0.1)]
    nested = json.dumps({"a_b": {"c-d.e": 1}, "loss": [{"use": 2}]})
    database.execute("update document set body = ? where body like '%lr%'", [nested])
    assert ask("select key, value from run_config") == [("a_b.c-d.e", 1), ("loss.0.use", 2)]
    assert ask("select count(*) from run_components") == [(0,)]
    key = "select sql from sqlite_master where name = 'point'"
    assert "PRIMARY KEY (run, step, metric)" in ask(key)[0][0]
    assert "WITHOUT ROWID" in ask(key)[0][0]
    assert {name for (name,) in ask("select name from sqlite_master where type = 'table'")} >= set(TABLES)


def test_what_runs_share_is_kept_once(tmp_path: Path) -> None:
    for seed in range(3):
        record(tmp_path, "a", seed)
    database = sqlite3.connect(tmp_path / "registry.db")
    assert database.execute("select count(distinct config), count(distinct environment) from run").fetchone() == (1, 1)
    assert json.loads(database.execute("select body from document join run on config = document.id").fetchone()[0])


def test_the_documentation_names_every_view_and_column(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "registry.md").read_text(encoding="utf-8")
    connection = open_registry(tmp_path / "registry.db")
    views = [name for (name,) in connection.execute("select name from sqlite_master where type = 'view'")]
    assert len(views) == 6
    for view in views:
        section = page[page.index(f"`{view}`: one row") :]
        for column in connection.execute(f"select name from pragma_table_info('{view}')"):
            assert f"`{column[0]}`" in section, (view, column)


def _foreign(file: Path) -> None:
    """A SQLite file of another program, with a version that could be ours."""
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE run (id INTEGER)")
    other.execute(f"PRAGMA user_version = {VERSION}")
    other.close()


@pytest.mark.parametrize(
    "make", [_foreign, Path.mkdir, os.mkfifo, lambda file: file.write_bytes(b"SQLite format 3\0" + bytes(900))]
)
def test_a_registry_of_others_is_left_alone_and_runs_are_read_from_their_directories(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    run, file = record(tmp_path, "a", 0), tmp_path / "registry.db"
    for one in tmp_path.glob("registry.db*"):
        one.unlink()
    make(file)
    before = file.read_bytes() if file.is_file() else None
    for opener in (open_registry, read_registry, sync):
        with pytest.raises(UnusableRegistry):
            opener(file)
    with open_index(file) as index:
        (row,) = index.runs()
        assert (row.path, row.status) == (f"e/{run.path.name}", "finished")
        assert index.summaries([row], ["loss"], "count")
    assert before == (file.read_bytes() if file.is_file() else None)
    assert [one.name for one in tmp_path.glob("registry.db*")] == ["registry.db"]
    remove_runs(file, [row])
    assert not run.path.exists()


def test_a_registry_from_before_it_had_a_mark_is_adopted(tmp_path: Path) -> None:
    record(tmp_path, "a", 0)
    file = tmp_path / "registry.db"
    with closing(sqlite3.connect(file)) as old:
        assert old.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        old.execute("PRAGMA application_id = 0")
    assert is_current(file)
    assert sync(file).unchanged == 1
    with closing(sqlite3.connect(file)) as now:
        assert now.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID


def test_a_registry_that_cannot_be_opened_does_not_hide_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record(tmp_path, "a", 0)

    def full(*args: object, **options: object) -> sqlite3.Connection:
        if args == (":memory:",):
            return connect(*args, **options)
        raise sqlite3.OperationalError("disk I/O error")

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", full)
    with open_index(tmp_path / "registry.db") as index:
        assert [run.arm for run in index.runs()] == ["a"]
    assert "disk I/O error" in caplog.text


def test_sync_is_advised_only_where_it_helps(tmp_path: Path) -> None:
    run, file = record(tmp_path, "a", 0), tmp_path / "registry.db"
    run.json("env").write_text('{"changed": 1}')
    assert [one.sync_helps for one in check(file)] == [True]
    run.json("env").write_text("[]")
    assert [one.sync_helps for one in check(file)] == [False]
    assert len(sync(file).problems) == 1
    assert [one.sync_helps for one in check(file)] == [False]
    run.json("env").write_text("{}")
    assert [one.sync_helps for one in check(file)] == [True]
    assert (len(sync(file).updated), check(file)) == (1, [])


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH 'made.db' AS made", "VACUUM INTO 'made.db'", "PRAGMA query_only = OFF", "PRAGMA user_version", "DELETE FROM run",
        "CREATE TEMP TABLE made (a)", "BEGIN IMMEDIATE", "SELECT load_extension('made')", "SELECT 1; SELECT 2", "SELECT '\ud800'",
    ],
)  # fmt: skip
def test_a_question_in_sql_can_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    record(tmp_path, "a", 0)
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(TrialbookError):
        Registry(tmp_path / "registry.db").sql(query)
    assert {path.name for path in tmp_path.iterdir()} <= before | {"registry.db-wal", "registry.db-shm"}
    assert Registry(tmp_path / "registry.db").sql(
        "WITH a AS (SELECT count(*) AS n FROM run) SELECT n FROM a"
    ).table.rows == [(1,)]


def test_a_question_in_sql_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path, "a", 0)
    endless = "WITH RECURSIVE a (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT {} FROM a"
    with pytest.raises(TrialbookError, match=r"within 0\.05 s"):
        Registry(tmp_path / "registry.db").sql(endless.format("sum(n)"), seconds=0.05)
    monkeypatch.setattr(sql, "MOST_ROWS", 100)
    with pytest.raises(TrialbookError, match="more than 100 rows"):
        Registry(tmp_path / "registry.db").sql(endless.format("n"))


def test_every_view_can_be_asked(tmp_path: Path) -> None:
    record(tmp_path, "a", 0)
    views = Registry(tmp_path / "registry.db").sql("SELECT name FROM sqlite_master WHERE type = 'view'").table.rows
    assert len(views) >= 6
    for (view,) in views:
        Registry(tmp_path / "registry.db").sql(f"SELECT * FROM {view}")


def test_odd_names_beside_the_runs_hide_none_of_them(tmp_path: Path) -> None:
    run, file = record(tmp_path, "a", 0), tmp_path / "registry.db"
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "e" / "pipe")
    shutil.copytree(run.path, os.fsdecode(os.fsencode(tmp_path) + b"/e/w\xff-s0-1"))
    shutil.copytree(run.path, tmp_path / "e" / f"b-s{2**64}-00000001")
    (tmp_path / "e" / f"b-s{2**64}-00000001" / "run.json").write_text("{")
    with open_index(file) as index:
        assert [(one.name, one.status) for one in index.runs()] == [
            (f"b-s{2**64}-00000001", "unreadable"),
            (run.path.name, "finished"),
        ]
    names = {one.run: one.sync_helps for one in check(file)}
    assert names == {r"e/w\udcff-s0-1": False, f"e/b-s{2**64}-00000001": False}
    assert (sync(file).unchanged, len(sync(file).problems)) == (2, 2)
