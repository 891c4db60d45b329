"""Who is cut off: identities and single certificates, whatever their time of expiry says. A value, without I/O.

Every place that believes an SVID or a token of the mesh asks it: the xDS and agent ports, signing, token
validation; sidecars get it as policy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ca.spiffe_id import SpiffeId

_SERIAL: Final = re.compile(r"[0-9a-f]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Revocations:
    """`identities` are SPIFFE IDs as text; `serials` as `serial_text` writes them; `latest_…`: the newest first."""

    identities: frozenset[str] = frozenset()
    serials: frozenset[str] = frozenset()
    latest_identities: tuple[str, ...] = ()
    latest_serials: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.identities or self.serials)

    def covers(self, spiffe_id: SpiffeId | str, serial: str = "") -> bool:
        """`serial` "" where only the identity is known (a token)."""
        return str(spiffe_id) in self.identities or serial in self.serials


def serial_text(serial: int) -> str:
    """As Envoy and OpenSSL's tools compare it: hex, lower case, no leading zeros."""
    return f"{serial:x}"


def read_serial(text: str) -> str | None:
    """A serial as people copy it (`0A:1B…`, `0x0a1b…`, upper or lower case), or None when it is none."""
    plain = text.strip().lower().removeprefix("0x").replace(":", "")
    return (plain.lstrip("0") or None) if _SERIAL.fullmatch(plain) else None
