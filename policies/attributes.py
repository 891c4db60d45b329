"""The one table of what a condition may look at.

To add something to match on: a member of `Attribute`, a row in `ROWS`; the type checker then leads to every
fold (lower, evaluate, explain, xds.compile.rbac). Nothing here says how Envoy reads an attribute.
Source: Istio's AuthorizationPolicy reference (docs/reference/policy.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Attribute(StrEnum):
    """Names are those of Istio's `when` keys where it has one."""

    PRINCIPAL = "source.principal"
    NAMESPACE = "source.namespace"
    SERVICE_ACCOUNT = "source.serviceAccount"
    SOURCE_IP = "source.ip"
    DESTINATION_PORT = "destination.port"
    HOST = "request.host"
    METHOD = "request.method"
    PATH = "request.path"
    HEADER = "request.headers"


class Transport(StrEnum):
    ANY = "any"
    HTTP_ONLY = "http-only"


class ValueForm(StrEnum):
    TEXT = "text"  # exact, prefix*, *suffix, * (present and not empty)
    EXACT_TEXT = "exact-text"  # no wildcards
    NETWORK = "network"  # IP address or CIDR
    PORT = "port"  # 0..65535


@dataclass(frozen=True, slots=True)
class Row:
    transport: Transport
    form: ValueForm
    needs_identity: bool = False  # absent on a connection without a peer certificate
    folds_case: bool = False  # compared without regard to case


ROWS: dict[Attribute, Row] = {
    # "<trust domain>/ns/<namespace>/sa/<service account>", without "spiffe://"
    Attribute.PRINCIPAL: Row(Transport.ANY, ValueForm.TEXT, needs_identity=True),
    Attribute.NAMESPACE: Row(Transport.ANY, ValueForm.TEXT, needs_identity=True),
    # "<namespace>/<service account>"
    Attribute.SERVICE_ACCOUNT: Row(Transport.ANY, ValueForm.EXACT_TEXT, needs_identity=True),
    # the direct peer of the connection, never X-Forwarded-For
    Attribute.SOURCE_IP: Row(Transport.ANY, ValueForm.NETWORK),
    # the workload's own port, known when a program is made: lowering folds it away
    Attribute.DESTINATION_PORT: Row(Transport.ANY, ValueForm.PORT),
    Attribute.HOST: Row(Transport.HTTP_ONLY, ValueForm.TEXT, folds_case=True),
    Attribute.METHOD: Row(Transport.HTTP_ONLY, ValueForm.TEXT),
    # normalised, without query
    Attribute.PATH: Row(Transport.HTTP_ONLY, ValueForm.TEXT),
    Attribute.HEADER: Row(Transport.HTTP_ONLY, ValueForm.TEXT),
}


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """An attribute, with the header's name (lower case) where it has one."""

    attribute: Attribute
    name: str = ""

    @property
    def row(self) -> Row:
        return ROWS[self.attribute]

    def __str__(self) -> str:
        return f"{self.attribute}[{self.name}]" if self.name else str(self.attribute)
