"""`pylis svid`: mint, show, verify, parse-id, for X.509-SVIDs and JWT-SVIDs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import click
from cryptography import x509

from ca import check, jwt_svid, keys
from ca.check import UNREADABLE
from ca.errors import JwtError, SpiffeIdError
from ca.spiffe_id import RESERVED, SpiffeId, TrustDomain
from ca.verify import svid_problems
from controlplane.cli.minting import Issuer, LocalIssuer, Order, RemoteIssuer, authority_domain
from controlplane.cli.output import Exit, Failure, columns, emit, format_option
from controlplane.cli.svid_files import write_jwt, write_svid
from controlplane.cli.svid_input import read_bundle, read_svid
from controlplane.cli.svid_report import chain_report, for_people, report_lines, rfc3339
from controlplane.cli.svid_source import SourceOptions, find_server, source_options
from controlplane.cli.svid_token import token_end, token_identity, token_lines, token_report
from controlplane.resources.workload_registration import RESERVED_DNS, duration
from policies.document import Json

_DNS = re.compile(
    r"(\*\.)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*", re.ASCII
)


@click.group()
def svid() -> None:
    """Mint, show and verify SVIDs: the certificates and tokens that say who a workload is."""


@svid.command()
@click.option(
    "--spiffe-id", metavar="ID", help="The identity, for example spiffe://example.org/ns/shop/sa/orders."
)
@click.option(
    "--ids-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Many at once, an ID a line: written to DIR/0, DIR/1, … in the file's order.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to write; a JWT is printed without it.",
)
@click.option("--ttl", help="How long it is to live: 90s, 10m, 1h.  [default: 1h; a JWT: 5m]")
@click.option("--dns", "dns_names", multiple=True, metavar="NAME", help="A DNS name to add; may be repeated.")
@click.option("--jwt", is_flag=True, help="A JWT-SVID instead of a certificate.")
@click.option("--audience", multiple=True, metavar="A", help="Whom the JWT is for; may be repeated.")
@format_option
@source_options
def mint(
    spiffe_id: str | None,
    ids_file: Path | None,
    out: Path | None,
    ttl: str | None,
    dns_names: tuple[str, ...],
    jwt: bool,
    audience: tuple[str, ...],
    output: str,
    source: SourceOptions,
) -> None:
    """Mint X.509-SVIDs: svid.pem (leaf and issuing authority), key.pem (0600), bundle.pem.

    The key is made here. With --jwt: svid.jwt (0600) and bundle.json. Without a server a local authority
    signs, made on first use.

    \b
    Examples:
      pylis svid mint --spiffe-id spiffe://example.org/ns/shop/sa/orders --out orders
      pylis svid mint --spiffe-id spiffe://example.org/ns/shop/sa/orders --jwt --audience ledger
    """
    _check_jwt_options(jwt, audience, dns_names)
    if out is None and (ids_file is not None or not jwt):
        raise Failure("--out is missing: where to write?", hint="see pylis svid mint --help")
    orders = _orders(spiffe_id, ids_file, _ttl(ttl or ("5m" if jwt else "1h")), _checked_dns(dns_names))
    issuers = _issuers(source, {order.spiffe_id.trust_domain for order in orders})
    if out is None:
        token = issuers[orders[0].spiffe_id.trust_domain].mint_jwt(orders[0], audience).token
        emit({"spiffeId": str(orders[0].spiffe_id), "token": token}, output, lambda: [token])
        return
    places = [out] if ids_file is None else [out / str(index) for index in range(len(orders))]
    done = [
        _mint_jwt(issuers[o.spiffe_id.trust_domain], o, audience, place)
        if jwt
        else _mint_one(issuers[o.spiffe_id.trust_domain], o, place)
        for o, place in zip(orders, places, strict=True)
    ]
    answer: Json = done[0] if ids_file is None else {"svids": [*done]}
    emit(answer, output, lambda: _minted_lines(done))


@svid.command()
@click.argument("file", type=click.Path(path_type=Path))
@format_option
def show(file: Path, output: str) -> None:
    """Show what the SVID in FILE says: its certificates, leaf first, or the token's header and claims.

    \b
    Example:  pylis svid show orders/svid.pem
    """
    found = read_svid(file)
    try:
        report = token_report(found) if isinstance(found, str) else chain_report(found)
    except JwtError as error:
        raise Failure(f"{file} is no JWT: {error}", hint="give svid.pem or svid.jwt") from error
    except UNREADABLE as error:
        raise Failure(f"{file}: a certificate's extensions cannot be read: {error}") from error
    lines = token_lines if isinstance(found, str) else report_lines
    emit(report, output, lambda: lines(report, datetime.now(UTC)))


@svid.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--bundle", "bundle_file", type=click.Path(path_type=Path), required=True, help="PEM or SPIFFE JSON."
)
@click.option("--at", metavar="RFC3339", help="Judge as of this moment instead of now.")
@click.option("--audience", multiple=True, metavar="A", help="A JWT must be for one of these.")
@format_option
def verify(file: Path, bundle_file: Path, at: str | None, audience: tuple[str, ...], output: str) -> None:
    """Verify the SVID in FILE (X.509 in PEM, or a JWT); exit 1 with every reason when it is not valid.

    \b
    Example:  pylis svid verify --bundle orders/bundle.pem orders/svid.pem
    """
    moment = _moment(at)
    found = read_svid(file)
    if isinstance(found, str) != bool(audience):
        text = "a JWT-SVID is for an audience" if isinstance(found, str) else "an X.509-SVID has no audience"
        raise Failure(text, hint="--audience is for JWT-SVIDs, and needed there")
    if isinstance(found, str):
        identity = token_identity(found)
        bundle = read_bundle(bundle_file, SpiffeId.parse(identity).trust_domain if identity else None)
        problems = jwt_svid.svid_problems(found, bundle, audience, moment)
    else:
        identity = _identity(found[0])
        bundle = read_bundle(bundle_file, authority_domain(found[0]))
        problems = svid_problems(found, bundle, moment)
    answer: Json = {
        "valid": not problems,
        "spiffeId": identity,
        "at": rfc3339(moment),
        "problems": [*problems],
    }
    emit(answer, output, lambda: _verdict(identity, problems, moment))
    if problems:
        sys.exit(Exit.NO)


@svid.command("parse-id")
@click.argument("spiffe_id", metavar="ID", required=False)
@click.option(
    "--json-lines", is_flag=True, help="Read a JSON string a line from stdin, answer a JSON object a line."
)
@format_option
def parse_id(spiffe_id: str | None, json_lines: bool, output: str) -> None:
    """Say whether ID is a SPIFFE ID, and of what parts; exit 1 with the reason when it is none.

    \b
    Example:  pylis svid parse-id spiffe://example.org/ns/shop/sa/orders
    """
    if json_lines == (spiffe_id is not None):
        raise Failure("give one ID, or --json-lines and IDs on stdin", hint="see pylis svid parse-id --help")
    if spiffe_id is None:
        answer_lines(sys.stdin.buffer, sys.stdout.buffer)
        return
    answer = parsed(spiffe_id)
    emit(answer, output, lambda: _parsed_lines(answer))
    if not answer["ok"]:
        sys.exit(Exit.NO)


def parsed(text: str) -> dict[str, Json]:
    """The parts of an ID, or why it is none."""
    try:
        identity = SpiffeId.parse(text)
    except SpiffeIdError as error:
        return {"id": text, "ok": False, "trustDomain": None, "path": None, "reason": str(error)}
    domain, path = identity.trust_domain.name, identity.path
    return {"id": text, "ok": True, "trustDomain": domain, "path": path, "reason": None}


def answer_lines(questions: BinaryIO, answers: BinaryIO) -> None:
    """A line in, a line out, whatever the line is."""
    for line in questions:
        try:
            text: object = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            text = None
        reason = "the line is no JSON string"
        nothing: dict[str, Json] = {
            "id": None,
            "ok": False,
            "trustDomain": None,
            "path": None,
            "reason": reason,
        }
        answers.write(json.dumps(parsed(text) if isinstance(text, str) else nothing).encode("ascii") + b"\n")
    answers.flush()


def _orders(
    spiffe_id: str | None, ids_file: Path | None, ttl: timedelta, dns_names: tuple[str, ...]
) -> list[Order]:
    if (spiffe_id is None) == (ids_file is None):
        raise Failure("give --spiffe-id or --ids-file, one of them", hint="see pylis svid mint --help")
    given = [("", spiffe_id or "")] if ids_file is None else _lines(ids_file)
    problems: list[str] = []
    orders: list[Order] = []
    for where, text in given:
        try:
            orders.append(Order(_workload(text), ttl, dns_names))
        except SpiffeIdError as error:
            problems.append(f"{where}{text!r} cannot be minted: {error}")
    if problems:
        raise Failure(
            "\n".join(problems), hint="a workload's ID looks like spiffe://example.org/ns/shop/sa/orders"
        )
    return orders


def _workload(text: str) -> SpiffeId:
    """Raises: SpiffeIdError for an ID that no workload may have."""
    identity = SpiffeId.parse(text)
    if not identity.path:
        raise SpiffeIdError("the ID of a workload needs a path")
    if identity.is_reserved:
        raise SpiffeIdError(f"paths below {RESERVED} are reserved for the control plane")
    return identity


def _lines(file: Path) -> list[tuple[str, str]]:
    """`(file:line, text)` of each line that is neither empty nor a comment."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {file}: {error}") from error
    numbered = ((n, line.strip()) for n, line in enumerate(text.split("\n"), 1))
    found = [(f"{file}:{n}  ", line) for n, line in numbered if line and not line.startswith("#")]
    if not found:
        raise Failure(f"{file} holds no SPIFFE ID", hint="write one a line")
    return found


def _ttl(text: str) -> timedelta:
    ttl = duration(text)
    if not ttl:
        raise Failure(f'--ttl "{text}" is no time', hint="for example 90s, 10m or 1h")
    return ttl


def _checked_dns(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if len(name) > 253 or not _DNS.fullmatch(name):
            raise Failure(f'--dns "{name}" is no DNS name', hint="for example orders.shop")
        if name.endswith(RESERVED_DNS):
            raise Failure(f'--dns "{name}" belongs to the control plane', hint="choose another name")
    return names


def _issuers(source: SourceOptions, domains: set[TrustDomain]) -> dict[TrustDomain, Issuer]:
    local = LocalIssuer(source.state_dir)
    found: dict[TrustDomain, Issuer] = {}
    for domain in sorted(domains):
        server = find_server(source, domain)
        found[domain] = RemoteIssuer(server.connection, server.bundle) if server else local
    return found


def _mint_one(issuer: Issuer, order: Order, place: Path) -> dict[str, Json]:
    key = keys.new_key()
    minted = issuer.mint(order, keys.csr_for(key))
    files = write_svid(place, minted.chain_pem, keys.key_pem(key), minted.bundle.to_pem())
    leaf = x509.load_der_x509_certificate(minted.chain[0])
    end = leaf.not_valid_after_utc
    if end < datetime.now(UTC) + order.ttl - timedelta(minutes=1):
        click.echo(
            f"{order.spiffe_id}: valid only until {rfc3339(end)}, when its issuing authority ends", err=True
        )
    return {
        "spiffeId": str(order.spiffe_id),
        "notAfter": rfc3339(end),
        "serial": f"{leaf.serial_number:x}",
        "svid": str(files.svid),
        "key": str(files.key),
        "bundle": str(files.bundle),
    }


def _mint_jwt(issuer: Issuer, order: Order, audience: Sequence[str], place: Path) -> dict[str, Json]:
    minted = issuer.mint_jwt(order, audience)
    files = write_jwt(place, minted.token, json.dumps(minted.bundle.to_spiffe(), indent=2) + "\n")
    return {
        "spiffeId": str(order.spiffe_id),
        "notAfter": token_end(minted.token),
        "audience": [*audience],
        "svid": str(files.svid),
        "bundle": str(files.bundle),
    }


def _check_jwt_options(jwt: bool, audience: tuple[str, ...], dns_names: tuple[str, ...]) -> None:
    if jwt and not audience:
        raise Failure("a JWT-SVID needs an audience: whom is it for?", hint="--jwt --audience NAME")
    if jwt and dns_names:
        raise Failure("--dns is for certificates: a JWT-SVID has no DNS names")
    if audience and not jwt:
        raise Failure("--audience is for JWT-SVIDs", hint="--jwt --audience NAME")
    if jwt and (problems := jwt_svid.audience_problems(audience)):
        raise Failure("; ".join(problems))


def _minted_lines(done: Sequence[dict[str, Json]]) -> list[str]:
    now = datetime.now(UTC)
    left = [for_people(datetime.fromisoformat(str(one["notAfter"])) - now) for one in done]
    rows = [[str(one["spiffeId"]), span, str(one["svid"])] for one, span in zip(done, left, strict=True)]
    return columns(["SPIFFE ID", "VALID FOR", "WRITTEN TO"], rows)


def _parsed_lines(answer: dict[str, Json]) -> list[str]:
    if not answer["ok"]:
        return [f"no SPIFFE ID: {answer['reason']}"]
    return [f"trust domain  {answer['trustDomain']}", f"path          {answer['path']}"]


def _identity(certificate: x509.Certificate) -> str | None:
    try:
        return str(check.spiffe_id(certificate))
    except (SpiffeIdError, ValueError):
        return None


def _verdict(identity: str | None, problems: Sequence[str], moment: datetime) -> list[str]:
    name = identity or "the certificate"
    if not problems:
        return [f"valid: {name} at {rfc3339(moment)}"]
    return [f"not valid: {name} at {rfc3339(moment)}", *(f"  {problem}" for problem in problems)]


def _moment(at: str | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise Failure(f'--at "{at}" is no RFC 3339 time', hint="for example 2026-07-01T12:00:00Z") from error
    if moment.tzinfo is None:
        raise Failure(f'--at "{at}" names no time zone', hint="for example 2026-07-01T12:00:00Z")
    return moment.astimezone(UTC)
