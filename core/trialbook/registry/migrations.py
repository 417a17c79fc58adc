"""Tables and views of the registry. Every change of them is a migration; a migration that was released stays as it is."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlite_utils import Migrations

#: ``PRAGMA user_version`` of an up-to-date registry: the number of migrations. Comparing it does not need the library
#: that applies them.
VERSION = 4
#: ``PRAGMA application_id`` of a registry ("trlb"), by which it is known from the SQLite files of other programs.
APPLICATION_ID = 0x74726C62

_TABLES = """
CREATE TABLE document (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
);
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    experiment TEXT NOT NULL,
    name TEXT NOT NULL,
    arm TEXT NOT NULL,
    base_arm TEXT NOT NULL,
    point TEXT NOT NULL,
    seed INTEGER NOT NULL,
    hash TEXT NOT NULL,
    outcome TEXT,
    error TEXT,
    started REAL,
    ended REAL,
    seconds REAL,
    results TEXT,
    plan INTEGER REFERENCES document (id),
    config INTEGER REFERENCES document (id),
    environment INTEGER REFERENCES document (id),
    components INTEGER REFERENCES document (id),
    data INTEGER REFERENCES document (id),
    stamp TEXT NOT NULL DEFAULT '',
    metrics_size INTEGER NOT NULL DEFAULT 0,
    metrics_check INTEGER NOT NULL DEFAULT 0,
    timing_size INTEGER NOT NULL DEFAULT 0,
    timing_check INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX run_experiment ON run (experiment, arm, seed);
CREATE TABLE metric (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (kind, name)
);
CREATE TABLE point (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    metric INTEGER NOT NULL REFERENCES metric (id),
    value REAL,
    PRIMARY KEY (run, step, metric)
) WITHOUT ROWID;
CREATE TABLE summary (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    metric INTEGER NOT NULL REFERENCES metric (id),
    first REAL,
    last REAL,
    min REAL,
    max REAL,
    min_step INTEGER,
    max_step INTEGER,
    first_step INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    count INTEGER NOT NULL,
    not_finite INTEGER NOT NULL,
    PRIMARY KEY (run, metric)
) WITHOUT ROWID;
"""

_VIEWS = """
CREATE VIEW run_overview AS
    SELECT run.experiment, run.arm, run.seed, run.name, coalesce(run.outcome, 'open') AS outcome,
           datetime(run.started, 'unixepoch') AS started_utc, datetime(run.ended, 'unixepoch') AS ended_utc,
           run.seconds, run.error, run.path,
           json_extract(environment.body, '$.git.commit') AS "commit",
           json_extract(environment.body, '$.git.dirty') AS dirty,
           json_extract(environment.body, '$.hardware.host') AS host,
           json_extract(data.body, '$.dataset.fingerprint') AS data_fingerprint
    FROM run
    LEFT JOIN document AS environment ON environment.id = run.environment
    LEFT JOIN document AS data ON data.id = run.data;
CREATE VIEW final_metrics AS
    SELECT run.experiment, run.arm, run.seed, run.name AS run, metric.kind, metric.name AS metric,
           summary.first, summary.last, summary.min, summary.min_step, summary.max, summary.max_step,
           summary.first_step, summary.last_step, summary.count, summary.not_finite
    FROM summary
    JOIN run ON run.id = summary.run
    JOIN metric ON metric.id = summary.metric;
CREATE VIEW metric_points AS
    SELECT run.experiment, run.arm, run.seed, run.name AS run, metric.kind, metric.name AS metric,
           point.step, point.value
    FROM point
    JOIN run ON run.id = point.run
    JOIN metric ON metric.id = point.metric;
CREATE VIEW run_config AS
    SELECT run.experiment, run.arm, run.seed, run.name AS run,
           replace(replace(replace(substr(leaf.fullkey, 3), '"', ''), '[', '.'), ']', '') AS key, leaf.atom AS value
    FROM run
    JOIN document ON document.id = run.config
    JOIN json_tree(document.body) AS leaf
    WHERE leaf.type NOT IN ('object', 'array');
CREATE VIEW run_components AS
    SELECT run.experiment, run.arm, run.seed, run.name AS run, part.key AS part,
           json_extract(part.value, '$.target') AS target,
           json_extract(part.value, '$.plugin') AS plugin,
           json_extract(part.value, '$.version') AS version,
           json_extract(part.value, '$.commit') AS "commit",
           json_extract(part.value, '$.source') AS source
    FROM run
    JOIN document ON document.id = run.components
    JOIN json_each(document.body) AS part;
"""

_FINDINGS = """
CREATE TABLE finding (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    "check" TEXT NOT NULL,
    severity TEXT NOT NULL,
    part TEXT NOT NULL,
    what TEXT NOT NULL,
    evidence TEXT NOT NULL,
    advice TEXT NOT NULL,
    step INTEGER NOT NULL,
    PRIMARY KEY (run, place)
) WITHOUT ROWID;
CREATE VIEW run_findings AS
    SELECT run.experiment, run.arm, run.seed, run.name AS run, finding."check", finding.severity, finding.part,
           finding.what, finding.evidence, finding.advice, finding.step
    FROM finding
    JOIN run ON run.id = finding.run;
"""

_COMPONENTS = """
DROP VIEW run_findings;
DROP VIEW run_components;
ALTER TABLE finding RENAME COLUMN part TO component;
ALTER TABLE finding RENAME COLUMN what TO message;
CREATE VIEW run_findings AS
    SELECT run.experiment, run.arm, run.seed, run.name AS run, finding."check", finding.severity, finding.component,
           finding.message, finding.evidence, finding.advice, finding.step
    FROM finding
    JOIN run ON run.id = finding.run;
CREATE VIEW run_components AS
    SELECT run.experiment, run.arm, run.seed, run.name AS run, component.key AS component,
           json_extract(component.value, '$.target') AS target,
           json_extract(component.value, '$.plugin') AS plugin,
           json_extract(component.value, '$.version') AS version,
           json_extract(component.value, '$.commit') AS "commit",
           json_extract(component.value, '$.source') AS source
    FROM run
    JOIN document ON document.id = run.components
    JOIN json_each(document.body) AS component;
"""

#: Points stand under names that are mapped as files are read: all runs are read again.
_NAMES = """
DELETE FROM point;
DELETE FROM summary;
DELETE FROM metric;
UPDATE run SET stamp = '', metrics_size = 0, metrics_check = 0, timing_size = 0, timing_check = 0;
"""


def migrations() -> Migrations:
    """The registry's migrations, oldest first."""
    from sqlite_utils import Migrations

    registry = Migrations("trialbook")

    @registry(name="001-runs-metrics-points")
    def _first(db: Any) -> None:
        _execute_all(db, _TABLES + _VIEWS)

    @registry(name="002-findings")
    def _second(db: Any) -> None:
        _execute_all(db, _FINDINGS)

    @registry(name="003-components")
    def _third(db: Any) -> None:
        _execute_all(db, _COMPONENTS)

    @registry(name="004-names")
    def _fourth(db: Any) -> None:
        _execute_all(db, _NAMES)

    return registry


def _execute_all(db: Any, statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            db.conn.execute(statement)


def ensure_schema(connection: sqlite3.Connection) -> None:
    """Bring a registry up to date, under one ``BEGIN IMMEDIATE``: of many processes that meet a new one, one does it.

    Args:
        connection: in autocommit mode, outside a transaction.
    """
    if schema_version(connection) >= VERSION and _application(connection) == APPLICATION_ID:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        if schema_version(connection) < VERSION:  # those that waited find it done and need not load the library
            from sqlite_utils import Database

            migrations().apply(Database(connection, recursive_triggers=False, execute_plugins=False))
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def is_registry(connection: sqlite3.Connection) -> bool:
    """Return whether a SQLite file is a registry, or new and empty.

    Those that were made before they had an ``application_id`` are known by their migrations.
    """
    if (application := _application(connection)) != 0:
        return application == APPLICATION_ID
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return schema_version(connection) == 0
    if not {"run", "document", "point", "_sqlite_migrations"} <= tables:
        return False
    made = "SELECT 1 FROM _sqlite_migrations WHERE migration_set = 'trialbook'"
    return connection.execute(made).fetchone() is not None


def _application(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def schema_version(connection: sqlite3.Connection) -> int:
    """Number of migrations that the registry has seen; 0 for a new file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
