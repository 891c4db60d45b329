"""`pylis backup`, `pylis restore`: the SQLite store as one file, taken while the server runs."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import click

from controlplane.cli.output import Failure

_store = click.option(
    "--data-dir", type=click.Path(path_type=Path), default=Path(".pylis"), show_default=True, envvar="PYLIS_DATA_DIR",
    help="Where the server keeps its store (store.db).",
)  # fmt: skip


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_store
def backup(file: Path, data_dir: Path) -> None:
    """Copy the store into FILE, consistent, while the server goes on.

    The envelope key and the authority's keys are not in it: keep `envelope.key` and `ca/` elsewhere.
    A PostgreSQL is backed up by its own tools (pg_dump).

    \b
    Example:
      pylis backup /backup/pylis-$(date +%F).db --data-dir /var/lib/pylis
    """
    source = data_dir / "store.db"
    if not source.exists():
        raise Failure(f"there is no {source}", hint="name the server's directory: --data-dir DIR")
    if file.exists():
        raise Failure(f"{file} is there already", hint="name another file")
    try:
        file.touch(mode=0o600)
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(file)) as copy:
            live.backup(copy)
            (revision,) = copy.execute("SELECT revision FROM counter").fetchone()
            (sequence,) = copy.execute("SELECT audit_sequence FROM counter").fetchone()
    except (OSError, sqlite3.Error) as error:
        raise Failure(f"cannot copy {source} to {file}: {error}") from error
    click.echo(
        f"{file}: revision {revision}, {sequence} audit records; keep {data_dir}/envelope.key beside it, not in it"
    )


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_store
@click.option(
    "--envelope-key", default="", envvar="PYLIS_ENVELOPE_KEY", metavar="pkcs11:…", help="As the server's."
)
def restore(file: Path, data_dir: Path, envelope_key: str) -> None:
    """Put a backup in the store's place. The server must not run; the old store is kept beside it.

    Revisions go on far above the backup's, so that every client that watches lists anew.

    \b
    Example:
      pylis restore /backup/pylis-2026-11-26.db --data-dir /var/lib/pylis
    """
    from controlplane.store.port import UnusableError
    from controlplane.store.sqlite import restored
    from controlplane.store.vault import outer_key

    try:
        outer = outer_key(data_dir / "envelope.key", envelope_key)
        kept, revision = asyncio.run(restored(file, data_dir / "store.db", outer))
    except UnusableError as error:
        raise Failure(str(error), hint="stop the server first; is the envelope key the backup's?") from error
    click.echo(f"restored at revision {revision}" + (f"; the store before is {kept}" if kept else ""))
