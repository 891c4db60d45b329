"""`pylis audit`: read the log, follow it, export it, check that nobody rewrote it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from controlplane import audit as chain
from controlplane.cli.client import Client, options
from controlplane.cli.output import Exit, Failure, columns, emit, format_option

_PAGE: Final = 1000
_PATH: Final = "/pylis/v1/audit"


@click.group()
def audit() -> None:
    """Who changed what, and who was refused. The log is append-only and hash-chained."""


@audit.command()
@click.option("-c", "--count", default=20, show_default=True, help="How many of the last records.")
@click.option("-f", "--follow", is_flag=True, help="Then show each new one, until Ctrl-C.")
@format_option
@options
def tail(count: int, follow: bool, output: str, client: Callable[[], Client]) -> None:
    """Show the last records.

    \b
    Example:
      pylis audit tail -f
    """
    connected = client()
    answer = connected.request("GET", f"{_PATH}?after={-count}&limit={max(1, count)}")
    if not follow:
        emit(answer["items"], output, lambda: columns(_HEADER, [_row(r) for r in answer["items"]]))
        return
    while True:
        for record in answer["items"]:
            click.echo(json.dumps(record) if output == "json" else "  ".join(_row(record)))
        after = answer["items"][-1]["sequence"] if answer["items"] else answer["head"]["sequence"]
        time.sleep(1 if not answer["items"] else 0)
        answer = connected.request("GET", f"{_PATH}?after={after}&limit={_PAGE}")


@audit.command()
@click.option("--format", "form", type=click.Choice(["json", "rfc5424"]), default="json", show_default=True)
@click.option("--after", default=0, help="Only records after this sequence number.")
@options
def export(form: str, after: int, client: Callable[[], Client]) -> None:
    """Print every record, one a line: JSON lines, or syslog messages by RFC 5424.

    \b
    Example:
      pylis audit export > audit.jsonl && pylis audit verify --file audit.jsonl
    """
    for record in _records(client(), after):
        if form == "json":
            click.echo(json.dumps(record, separators=(",", ":"), sort_keys=True))
        else:
            click.echo(chain.syslog(chain.decode(json.dumps(record)), socket.gethostname()))


@audit.command()
@click.option(
    "--file", type=click.Path(path_type=Path), help="An export (JSON lines) instead of the server's log."
)
@click.option(
    "--head", default="", help="SEQUENCE:HASH that an earlier verify printed: finds a log cut or rewritten."
)
@format_option
@options
def verify(file: Path | None, head: str, output: str, client: Callable[[], Client]) -> None:
    """Check the chain: a changed, removed or moved record is found. Exit 1 if there is one.

    \b
    Example:
      pylis audit verify --head 1042:9f86d0…
    """
    noted = _head(head) if head else None
    if file is None:
        answer = client().request("GET", f"{_PATH}/verify")
        found = chain.Head(answer["head"]["sequence"], answer["head"]["hash"])
        faults = [chain.Fault(f["sequence"], f["reason"]) for f in answer["faults"]]
        if noted and noted.sequence:
            faults += _noted(noted, found, list(_records(client(), noted.sequence - 1, 1)))
    else:
        lines = _lines(file)
        found, faults = chain.verify(lines)
        if noted:
            faults += _noted(
                noted, found, [json.loads(li) for li in lines[noted.sequence - 1 : noted.sequence]]
            )
    data = {
        "ok": not faults,
        "head": {"sequence": found.sequence, "hash": found.hash},
        "faults": [{"sequence": f.sequence, "reason": f.reason} for f in faults],
    }
    emit(data, output, lambda: _report(found, faults))
    if faults:
        raise SystemExit(Exit.NO)


_HEADER: Final = ("SEQ", "TIME", "WHO", "DECISION", "VERB", "OBJECT", "REASON")


def _row(record: dict[str, Any]) -> list[str]:
    what = "/".join(p for p in (record["resource"], record["namespace"], record["name"]) if p)
    where = what or str(record["detail"].get("path", ""))
    return [
        str(record["sequence"]), record["time"][:19] + "Z", record["who"] or "-", record["decision"], record["verb"],
        where or "-", record["reason"].splitlines()[0][:80] if record["reason"] else "",
    ]  # fmt: skip


def _records(client: Client, after: int, most: int = 0) -> Iterator[dict[str, Any]]:
    while True:
        items = client.request("GET", f"{_PATH}?after={after}&limit={most or _PAGE}")["items"]
        yield from items
        if not items or most:
            return
        after = items[-1]["sequence"]


def _noted(noted: chain.Head, found: chain.Head, there: list[dict[str, Any]]) -> list[chain.Fault]:
    if found.sequence < noted.sequence or not there:
        return chain.against(found, noted)
    return chain.against(chain.Head(there[0]["sequence"], there[0]["hash"]), noted)


def _report(found: chain.Head, faults: list[chain.Fault]) -> list[str]:
    if not faults:
        return [f"{found.sequence} records hold together; head {found.sequence}:{found.hash}"]
    head = f"the log was tampered with: {len(faults)} fault{'s' * (len(faults) != 1)}"
    return [head, *(f"  record {f.sequence} {f.reason}" for f in faults)]


def _head(text: str) -> chain.Head:
    sequence, _, hash_ = text.partition(":")
    if not sequence.isdigit() or len(hash_) != 64:
        raise Failure(f'--head "{text}" is no SEQUENCE:HASH', hint="pylis audit verify prints one")
    return chain.Head(int(sequence), hash_)


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text("utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {file}: {error}") from error
