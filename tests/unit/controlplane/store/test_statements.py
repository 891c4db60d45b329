"""One text, two dialects: SQLite takes each statement as it stands; PostgreSQL numbers its parameters with $."""

from __future__ import annotations

import sqlite3

import pytest

from controlplane.store.schema import migrate_sqlite
from controlplane.store.statements import POSTGRESQL, SQLITE

ALL = {
    "history": ("t", "", "a"),
    "latest_events": (0, 10),
    "next_events": (0, 10),
    "compact": (0,),
    "audit_after": (0, 10),
    "audit_rows": (0, 10),
}


@pytest.mark.parametrize("name", ALL)
def test_each_is_taken_by_sqlite_with_its_parameters(name: str) -> None:
    db = sqlite3.connect(":memory:")
    migrate_sqlite(db)
    assert db.execute(getattr(SQLITE, name), ALL[name]).fetchall() == []
    db.close()


@pytest.mark.parametrize("name", ALL)
def test_only_the_sign_of_parameters_differs(name: str) -> None:
    assert getattr(POSTGRESQL, name).replace("$", "?") == getattr(SQLITE, name)
    assert "$1" in getattr(POSTGRESQL, name)
