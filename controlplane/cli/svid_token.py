"""What a JWT-SVID says, as data and as lines. Pure; whether it is valid is asked of `ca.jwt_svid`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ca import jwt_svid
from ca.errors import JwtError
from controlplane.cli.svid_report import for_people, rfc3339
from policies.document import Json


def token_report(token: str) -> dict[str, Json]:
    """Raises: JwtError when it is no JWT."""
    found = jwt_svid.read(token)
    return {
        "role": "token",
        "spiffeId": str(found.spiffe_id) if found.spiffe_id else None,
        "audience": [*found.audience],
        "notAfter": _end(found.claims.get("exp")),
        "header": {**found.header},
        "claims": {**found.claims},
    }


def token_lines(report: dict[str, Json], now: datetime) -> list[str]:
    """A block for a `token_report`. The signature is not shown: what is shown is no credential."""
    rows = [
        ("SPIFFE ID", str(report["spiffeId"] or "none")),
        ("audience", ", ".join(map(str, _list(report["audience"])))),
        ("not after", _until(report["notAfter"], now)),
        ("header", json.dumps(report["header"])),
        ("claims", json.dumps(report["claims"])),
    ]
    return ["token, not verified", *(f"  {label:<11}{text}" for label, text in rows)]


def token_identity(token: str) -> str | None:
    """The subject, if it is a SPIFFE ID; nobody has verified it."""
    try:
        found = jwt_svid.read(token).spiffe_id
    except JwtError:
        return None
    return str(found) if found else None


def token_end(token: str) -> str | None:
    """RFC 3339. Raises: JwtError."""
    return _end(jwt_svid.read(token).claims.get("exp"))


def _list(value: Json) -> list[Any]:
    return value if isinstance(value, list) else []


def _until(end: Json, now: datetime) -> str:
    if not isinstance(end, str):
        return "never said"
    moment = datetime.fromisoformat(end)
    span = for_people(moment - now)
    return f"{end} ({f'in {span}' if moment >= now else f'{span} ago'})"


def _end(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return rfc3339(datetime.fromtimestamp(value, UTC))
    except (ValueError, OverflowError, OSError):
        return None
