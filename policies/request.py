"""One request, or one TCP connection, as policy sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True)
class Request:
    """`principal` is `<td>/ns/<ns>/sa/<sa>` of the peer's certificate, None on plaintext.

    `path` is as sent, query included; header names are lower case. TCP leaves the HTTP fields empty.
    """

    principal: str | None = None
    source_ip: IPv4Address | IPv6Address | None = None
    method: str = ""
    path: str = ""
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
