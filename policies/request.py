"""One request, or one TCP connection, as policy sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from policies.document import Json

IpAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Request:
    """`principal` is `<td>/ns/<ns>/sa/<sa>` of the peer's certificate, None on plaintext.

    `path` is as sent, query included; header names are lower case. TCP leaves the HTTP fields empty.
    `remote_ip`: the client as trusted proxies name it, None: the direct peer. `claims`: the payload of a token
    that was verified already, None: none was. `metadata`: what Envoy filters left, by filter.
    """

    principal: str | None = None
    source_ip: IpAddress | None = None
    method: str = ""
    path: str = ""
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    remote_ip: IpAddress | None = None
    destination_ip: IpAddress | None = None
    sni: str = ""
    claims: Mapping[str, Json] | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])
