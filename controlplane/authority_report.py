"""The authorities as data and as lines: what the API answers and `pylis ca status` prints. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ca.authorities import Authority
from ca.rotation import Family, Status
from ca.service import CertificateAuthority


def report(authority: CertificateAuthority) -> dict[str, Any]:
    """`waitingFor`: agents that have not acknowledged the bundle of now."""
    return {
        "trustDomain": authority.trust_domain.name,
        "sequence": authority.bundle.sequence,
        "waitingFor": list(authority.waiting),
        **{str(family): [_one(a) for a in authority.authorities.of(family)] for family in Family},
    }


def _one(a: Authority) -> dict[str, Any]:
    return {
        "id": a.id,
        "status": str(a.status),
        "notBefore": a.lifetime.not_before.isoformat(),
        "notAfter": a.lifetime.not_after.isoformat(),
        "retires": a.retires.isoformat() if a.retires else None,
    }


def rows(answer: dict[str, Any], now: datetime) -> list[list[str]]:
    """TYPE, AUTHORITY, STATUS, UNTIL, NEXT."""
    return [
        [family, one["id"], one["status"], one["notAfter"][:10], _next(one, now)]
        for family in map(str, Family)
        for one in answer[family]
    ]


def _next(one: dict[str, Any], now: datetime) -> str:
    match one["status"]:
        case Status.PREPARED:
            return "pylis ca activate"
        case Status.ACTIVE:
            return "expired" if datetime.fromisoformat(one["notAfter"]) <= now else "signs"
        case Status.OLD:
            return f"leaves the bundle in {_hours(one['retires'], now)}"
        case Status.TAINTED:
            return "all it signed is being replaced; then pylis ca revoke"
        case _:
            return ""


def _hours(moment: str | None, now: datetime) -> str:
    left = datetime.fromisoformat(moment) - now if moment else timedelta(0)
    return f"{max(0, round(left / timedelta(hours=1)))} h"
