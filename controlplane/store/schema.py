"""The tables of the SQL stores and how they came to be: migrations, forward and back. To change one: a row below.

Both dialects keep the same tables. A store of a newer version is refused; `pylis store migrate --to N` goes back.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

_OBJECTS: Final = """
CREATE TABLE objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    value TEXT NOT NULL, created {big} NOT NULL, revision {big} NOT NULL,
    PRIMARY KEY (resource, namespace, name)
);
CREATE TABLE events (
    revision {big} PRIMARY KEY, change TEXT NOT NULL,
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    value TEXT NOT NULL, created {big} NOT NULL
);
CREATE TABLE counter (revision {big} NOT NULL);
INSERT INTO counter VALUES (0);
"""
_AUDIT: Final = """
ALTER TABLE events ADD COLUMN minor {small} NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN time TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN author TEXT NOT NULL DEFAULT '';
CREATE INDEX events_by_object ON events (resource, namespace, name, revision);
ALTER TABLE counter ADD COLUMN audit_sequence {big} NOT NULL DEFAULT 0;
ALTER TABLE counter ADD COLUMN audit_hash TEXT NOT NULL DEFAULT '0000000000000000000000000000000000000000000000000000000000000000';
ALTER TABLE counter ADD COLUMN audit_seal TEXT NOT NULL DEFAULT '';
CREATE TABLE audit (sequence {big} PRIMARY KEY, line TEXT NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_NO_AUDIT: Final = """
DROP TABLE meta;
DROP TABLE audit;
ALTER TABLE counter DROP COLUMN audit_seal;
ALTER TABLE counter DROP COLUMN audit_hash;
ALTER TABLE counter DROP COLUMN audit_sequence;
DROP INDEX events_by_object;
ALTER TABLE events DROP COLUMN author;
ALTER TABLE events DROP COLUMN time;
ALTER TABLE events DROP COLUMN minor;
"""
CHANGES_KEPT: Final = 100  # of one object
INTERNAL: Final = ".internal"  # how resources end that are the server's own
# What is older than {} and neither among an object's last changes nor worth keeping at all.
HISTORY_KEPT: Final = f"""
DELETE FROM events WHERE revision <= {{}} AND (minor <> 0 OR resource LIKE '%{INTERNAL}' OR revision IN (
    SELECT revision FROM (
        SELECT revision, row_number() OVER (PARTITION BY resource, namespace, name ORDER BY revision DESC) AS place
        FROM events WHERE minor = 0
    ) AS numbered WHERE place > {CHANGES_KEPT}
))
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Migration:
    """`down` undoes `up`; what only `up` knows is lost by it."""

    version: int
    up: str
    down: str

    def script(self, *, forward: bool, dialect: str) -> str:
        words = (
            {"big": "BIGINT", "small": "SMALLINT"}
            if dialect == "postgresql"
            else {"big": "INTEGER", "small": "INTEGER"}
        )
        return (self.up if forward else self.down).format(**words)


MIGRATIONS: Final = (
    Migration(1, _OBJECTS, "DROP TABLE counter; DROP TABLE events; DROP TABLE objects;"),
    Migration(2, _AUDIT, _NO_AUDIT),
)
LATEST: Final = MIGRATIONS[-1].version


class NewerSchemaError(Exception):
    """The store was written by a newer Pylis."""


def steps(at: int, to: int, dialect: str) -> list[tuple[int, str]]:
    """(version afterwards, script) from version `at` to `to`. Raises: NewerSchemaError."""
    if at > LATEST:
        raise NewerSchemaError(f"it has schema version {at}, this Pylis knows {LATEST}")
    if to >= at:
        return [
            (m.version, m.script(forward=True, dialect=dialect)) for m in MIGRATIONS if at < m.version <= to
        ]
    return [
        (m.version - 1, m.script(forward=False, dialect=dialect))
        for m in reversed(MIGRATIONS)
        if to < m.version <= at
    ]


def migrate_sqlite(db: sqlite3.Connection, to: int = LATEST) -> None:
    """Raises: sqlite3.Error, for a newer schema too."""
    (at,) = db.execute("PRAGMA user_version").fetchone()
    try:
        for version, script in steps(at, to, "sqlite"):
            db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version={version}; COMMIT;")
    except NewerSchemaError as error:
        raise sqlite3.DatabaseError(str(error)) from error
