"""`pylis ca`: the local authorities, in SPIRE's words: prepare, activate, taint, revoke."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from ca.errors import AuthorityError, NotAcknowledgedError
from ca.rotation import WANTED, Event, Family
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain
from controlplane.authority_report import report, rows
from controlplane.cli.bundle import local_domain, parse_domain
from controlplane.cli.minting import Connection, open_local
from controlplane.cli.output import Failure, columns, emit, format_option
from controlplane.cli.svid_source import SourceOptions, find_server, source_options

PATH = "/pylis/v1/authorities"
_FAMILY = click.Choice([str(family) for family in Family])
_FORCE = click.option("--force", is_flag=True, help="Whether or not every agent has acknowledged.")


@click.group()
def ca() -> None:
    """The authorities that sign: rotated by themselves, and by command.

    \b
    An authority is prepared (known to everybody), then active (it signs), then old; tainted, all it signed is
    replaced at once; revoked, nothing it signed is believed. A stolen key in four steps:
      pylis ca prepare && pylis ca activate && pylis ca taint && pylis ca revoke
    """


def _command(function: Callable[..., object]) -> Callable[..., object]:
    """Adds -o, --trust-domain and where the authorities are."""

    @click.option("--trust-domain", metavar="NAME", help="Whose, when there are several local authorities.")
    @format_option
    @source_options
    @functools.wraps(function)
    def wrapped(*args: Any, trust_domain: str | None, source: SourceOptions, **rest: Any) -> object:
        return function(*args, place=_place(source, parse_domain(trust_domain)), **rest)

    return wrapped


@ca.command()
@_command
def status(output: str, place: _Place) -> None:
    """Show the authorities, and which agents have not acknowledged the bundle of now.

    \b
    Example:  pylis ca status
    """
    _show(place.status(), output)


@ca.command()
@click.option("--type", "family", type=_FAMILY, default="x509", show_default=True)
@_command
def prepare(family: str, output: str, place: _Place) -> None:
    """Make a new authority and put it into the bundle; it signs nothing yet.

    \b
    Example:  pylis ca prepare --type jwt
    """
    made = place.prepare(Family(family))
    click.echo("next: pylis ca status says who has not acknowledged it; then pylis ca activate", err=True)
    emit({"id": made, "type": family, "status": "prepared"}, output, lambda: [made])


@ca.command()
@click.argument("authority_id", metavar="[ID]", required=False)
@click.option(
    "--type", "family", type=_FAMILY, default="x509", show_default=True, help="Of which, without ID."
)
@_FORCE
@_command
def activate(authority_id: str | None, family: str, force: bool, output: str, place: _Place) -> None:
    """Sign with the prepared authority from now on; refused while an agent has not acknowledged it.

    \b
    Example:  pylis ca activate
    """
    _show(_act(place, Event.ACTIVATE, authority_id, family, force=force), output)


@ca.command()
@click.argument("authority_id", metavar="[ID]", required=False)
@click.option(
    "--type", "family", type=_FAMILY, default="x509", show_default=True, help="Of which, without ID."
)
@_command
def taint(authority_id: str | None, family: str, output: str, place: _Place) -> None:
    """Replace at once everything an old authority signed.

    \b
    Example:  pylis ca taint
    """
    _show(_act(place, Event.TAINT, authority_id, family, force=False), output)


@ca.command()
@click.argument("authority_id", metavar="[ID]", required=False)
@click.option(
    "--type", "family", type=_FAMILY, default="x509", show_default=True, help="Of which, without ID."
)
@_FORCE
@_command
def revoke(authority_id: str | None, family: str, force: bool, output: str, place: _Place) -> None:
    """Take a tainted authority out of the bundle: nothing it signed is believed any more.

    \b
    Example:  pylis ca revoke
    """
    _show(_act(place, Event.REVOKE, authority_id, family, force=force), output)


class _Place:
    """The authorities of a server, or of the state directory."""

    def __init__(self, server: Connection | None, local: CertificateAuthority | None) -> None:
        self._server = server
        self._local = local

    def status(self) -> dict[str, Any]:
        return self._ask("GET", "") if self._local is None else report(self._local)

    def prepare(self, family: Family) -> str:
        if self._local is None:
            return str(self._ask("POST", "/prepare", {"type": str(family)})["id"])
        return asyncio.run(self._local.prepare(family)).id

    def act(self, event: Event, id_: str, *, force: bool) -> dict[str, Any]:
        if self._local is None:
            more = {} if event is Event.TAINT else {"force": force}
            return self._ask("POST", f"/{event}", {"id": id_, **more})
        try:
            match event:
                case Event.ACTIVATE:
                    self._local.activate(id_, force=force)
                case Event.TAINT:
                    self._local.taint(id_)
                case _:
                    self._local.revoke(id_, force=force)
        except NotAcknowledgedError as error:
            raise Failure(str(error), hint="--force does it all the same") from error
        except AuthorityError as error:
            raise Failure(str(error)) from error
        return report(self._local)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if self._server is None:
            raise Failure("no server to ask")
        answer: Any = self._server.request(method, PATH + path, body)
        return answer


def _place(source: SourceOptions, wanted: TrustDomain | None) -> _Place:
    server = find_server(source, wanted)
    if server is not None:
        return _Place(server.connection, None)
    return _Place(None, open_local(source.state_dir, local_domain(source, wanted)))


def _act(place: _Place, event: Event, id_: str | None, family: str, *, force: bool) -> dict[str, Any]:
    if id_ is None:
        wanted = WANTED[event]
        found = [one["id"] for one in place.status()[family] if one["status"] == wanted]
        if len(found) != 1:
            count = f"{len(found)} {family} authorities are" if found else f"no {family} authority is"
            raise Failure(f"{count} {wanted}", hint="pylis ca status lists them; name one by its ID")
        id_ = str(found[0])
    return place.act(event, id_, force=force)


def _show(answer: dict[str, Any], output: str) -> None:
    emit(answer, output, lambda: _lines(answer))


def _lines(answer: dict[str, Any]) -> list[str]:
    lines = columns(["TYPE", "AUTHORITY", "STATUS", "UNTIL", "NEXT"], rows(answer, datetime.now(UTC)))
    waiting = answer["waitingFor"]
    lines += ["", f"trust domain {answer['trustDomain']}, bundle {answer['sequence']}"]
    return [*lines, f"not acknowledged by {', '.join(waiting)}" if waiting else "acknowledged by every agent"]
