"""Is the other end of a TLS connection the control plane? Its SPIFFE ID, and its validity by a clock that may be off.

OpenSSL has checked the chain already, but not the times: machines whose clocks are some minutes apart have to find
together, and a certificate of the control plane lives an hour.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any, Final

LEEWAY: Final = timedelta(minutes=15)
_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which Python has no name for


class ForeignServerError(Exception):
    """The other end is not the control plane of this trust domain, or not any more."""


def leave_times_to_us(context: ssl.SSLContext) -> None:
    """Whoever uses the context calls `check` after the handshake."""
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)


def check(certificate: Any, identity: str, now: datetime) -> None:
    """`certificate` as `getpeercert()` gives it. Raises: ForeignServerError."""
    fields: dict[str, Any] = certificate or {}
    if ("URI", identity) not in fields.get("subjectAltName", ()):
        raise ForeignServerError(f"the server's certificate is not that of {identity}")
    start, end = _moment(fields["notBefore"]), _moment(fields["notAfter"])
    if not start - LEEWAY <= now <= end + LEEWAY:
        text = f"the server's certificate is valid from {start.isoformat()} to {end.isoformat()}"
        raise ForeignServerError(f"{text}, and it is {now.isoformat()} here: is a clock wrong?")


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
