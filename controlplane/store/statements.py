"""What both SQL stores ask of the same tables, once. Parameters are :1, :2, …; a dialect writes them its own way.

Not here: what is SQLite's or PostgreSQL's alone (single rows against whole columns, locks, notices).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from controlplane.store.schema import HISTORY_KEPT

OBJECT: Final = "resource, namespace, name, value, created, revision"
EVENT: Final = "change, resource, namespace, name, value, created, revision, minor, time, author"
PAGE: Final = 1000  # rows that are read in one go
_ONE: Final = "resource=:1 AND namespace=:2 AND name=:3"
_PARAMETER: Final = re.compile(r":(\d)")


@dataclass(frozen=True, slots=True)
class Statements:
    """`sign`: what stands before a parameter's number."""

    sign: str

    def _of(self, text: str) -> str:
        return _PARAMETER.sub(lambda found: self.sign + found[1], text)

    @property
    def history(self) -> str:
        """Of one name (1, 2, 3), oldest first."""
        return self._of(f"SELECT {EVENT} FROM events WHERE {_ONE} AND minor=0 ORDER BY revision")  # noqa: S608

    @property
    def latest_events(self) -> str:
        """Above a revision (1), newest first, so many (2)."""
        return self._of(f"SELECT {EVENT} FROM events WHERE revision > :1 ORDER BY revision DESC LIMIT :2")  # noqa: S608

    @property
    def next_events(self) -> str:
        """Above a revision (1), oldest first, so many (2)."""
        return self._of(f"SELECT {EVENT} FROM events WHERE revision > :1 ORDER BY revision LIMIT :2")  # noqa: S608

    @property
    def compact(self) -> str:
        """Up to a revision (1)."""
        return self._of(HISTORY_KEPT.format(":1"))

    @property
    def audit_after(self) -> str:
        """Lines above a sequence (1), so many (2)."""
        return self._of("SELECT line FROM audit WHERE sequence > :1 ORDER BY sequence LIMIT :2")

    @property
    def audit_rows(self) -> str:
        """Lines from a row (1) on, so many (2), whatever the sequences say."""
        return self._of("SELECT line FROM audit ORDER BY sequence LIMIT :2 OFFSET :1")


REVISION: Final = "SELECT revision FROM counter"
DATA_KEY: Final = "SELECT value FROM meta WHERE name='data_key'"
SQLITE: Final = Statements("?")
POSTGRESQL: Final = Statements("$")
