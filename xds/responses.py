"""What a stream answers, as values; `encode` gives the bytes of the protocol's own messages.

A delta response is put together from what each resource is encoded as already (`Resource.entry`): a thousand sidecars
are told the same, and nothing of it is encoded a thousand times.
Source: envoy.service.discovery.v3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from xds.schema import encode, new
from xds.schema.wire import field, tag
from xds.snapshot import DELTA_RESPONSE, Resource

_SOTW: Final = "envoy.service.discovery.v3.DiscoveryResponse"


@dataclass(frozen=True, slots=True)
class DeltaResponse:
    """Fields are named as in DeltaDiscoveryResponse."""

    type_url: str
    nonce: str
    system_version_info: str
    resources: Sequence[Resource]
    removed_resources: Sequence[str] = ()

    def encode(self) -> bytes:
        gone = tag(DELTA_RESPONSE, "removed_resources")
        return b"".join(
            (
                field(tag(DELTA_RESPONSE, "system_version_info"), self.system_version_info.encode()),
                *(resource.entry for resource in self.resources),
                field(tag(DELTA_RESPONSE, "type_url"), self.type_url.encode()),
                field(tag(DELTA_RESPONSE, "nonce"), self.nonce.encode()),
                *(field(gone, name.encode()) for name in self.removed_resources),
            )
        )


@dataclass(frozen=True, slots=True)
class SotwResponse:
    """Fields are named as in DiscoveryResponse."""

    type_url: str
    nonce: str
    version_info: str
    resources: Sequence[Resource]

    def encode(self) -> bytes:
        resources = [{"type_url": r.type_url, "value": r.body} for r in self.resources]
        return encode(
            new(
                _SOTW,
                type_url=self.type_url,
                nonce=self.nonce,
                version_info=self.version_info,
                resources=resources,
            )
        )


Response = DeltaResponse | SotwResponse
