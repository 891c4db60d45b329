"""What policy needs to know of a workload and of the mesh it lives in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from policies.authorizer import Authorizer


class PathNormalization(StrEnum):
    """Istio's four modes. Source: MeshConfig.pathNormalization."""

    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


class MtlsMode(StrEnum):
    STRICT = "STRICT"
    PERMISSIVE = "PERMISSIVE"
    DISABLE = "DISABLE"


@dataclass(frozen=True, slots=True)
class MeshSettings:
    trust_domain: str
    trust_domain_aliases: tuple[str, ...] = ()
    root_namespace: str = "istio-system"
    # stricter than Istio's BASE on purpose: //admin must not pass a DENY on /admin (docs/adr/0006)
    path_normalization: PathNormalization = PathNormalization.MERGE_SLASHES
    # whom CUSTOM policies may ask
    authorizers: tuple[Authorizer, ...] = ()
    # how many proxies in front of the mesh are believed about the client's address (X-Forwarded-For)
    trusted_proxies: int = 0
    # development: a denied caller is told which rule denied it
    explain_denials: bool = False

    def authorizer(self, name: str) -> Authorizer | None:
        return next((one for one in self.authorizers if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Workload:
    namespace: str
    name: str
    service_account: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
