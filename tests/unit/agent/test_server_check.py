from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent import server_check
from agent.server_check import ForeignServerError

SERVER = "spiffe://example.org/pylis/server"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def a_certificate(identity: str = SERVER) -> dict[str, Any]:
    """As `getpeercert()` gives it."""
    form = "%b %d %H:%M:%S %Y GMT"
    return {
        "subjectAltName": (("DNS", "localhost"), ("URI", identity)),
        "notBefore": START.strftime(form),
        "notAfter": (START + HOUR).strftime(form),
    }


@pytest.mark.parametrize("minutes", [-14, -10, 0, 30, 60, 70, 74])
def test_clocks_may_be_some_minutes_apart(minutes: int) -> None:
    server_check.check(a_certificate(), SERVER, START + timedelta(minutes=minutes))


@pytest.mark.parametrize("minutes", [-16, 76, 600])
def test_what_is_long_over_or_far_ahead_is_not_believed(minutes: int) -> None:
    with pytest.raises(ForeignServerError, match="is a clock wrong"):
        server_check.check(a_certificate(), SERVER, START + timedelta(minutes=minutes))


@pytest.mark.parametrize("certificate", [None, {}, a_certificate("spiffe://example.org/ns/a/sa/b")])
def test_anybody_else_is_not_the_control_plane(certificate: Any) -> None:
    with pytest.raises(ForeignServerError, match="is not that of"):
        server_check.check(certificate, SERVER, START)


def test_only_times_are_left_to_us() -> None:
    context = ssl.create_default_context()
    server_check.leave_times_to_us(context)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.verify_flags & 0x200000
