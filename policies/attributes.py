"""The one table of what a condition may look at.

To add something to match on: a member of `Attribute`, a row in `ROWS`; the type checker then leads to every
fold (lower, evaluate, explain, xds.compile.keys). Nothing here says how Envoy reads an attribute.
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
    TRUST_DOMAIN = "source.trustDomain"
    SOURCE_IP = "source.ip"
    REMOTE_IP = "remote.ip"
    DESTINATION_IP = "destination.ip"
    DESTINATION_PORT = "destination.port"
    SNI = "connection.sni"
    HOST = "request.host"
    METHOD = "request.method"
    PATH = "request.path"
    HEADER = "request.headers"
    REQUEST_PRINCIPAL = "request.auth.principal"
    AUDIENCES = "request.auth.audiences"
    PRESENTER = "request.auth.presenter"
    CLAIM = "request.auth.claims"
    METADATA = "experimental.envoy.filters"


class Transport(StrEnum):
    ANY = "any"
    HTTP_ONLY = "http-only"


class ValueForm(StrEnum):
    TEXT = "text"  # exact, prefix*, *suffix, * (present and not empty)
    EXACT_TEXT = "exact-text"  # no wildcards
    NETWORK = "network"  # IP address or CIDR
    PORT = "port"  # 0..65535
    PATH = "path"  # text, or a template with {*} and {**}
    GLOB = "glob"  # text in which each * stands for anything
    TRUST_DOMAIN = "trust-domain"  # text without /, one * at an end
    REQUEST_PRINCIPAL = "request-principal"  # <issuer>/<subject> in nine forms
    METADATA = "metadata"  # text, or [text] for a list that holds it


@dataclass(frozen=True, slots=True)
class Row:
    transport: Transport
    form: ValueForm
    needs_identity: bool = False  # absent on a connection without a peer certificate
    needs_token: bool = False  # absent on a request without a verified token
    folds_case: bool = False  # compared without regard to case


ROWS: dict[Attribute, Row] = {
    # "<trust domain>/ns/<namespace>/sa/<service account>", without "spiffe://"
    Attribute.PRINCIPAL: Row(Transport.ANY, ValueForm.TEXT, needs_identity=True),
    Attribute.NAMESPACE: Row(Transport.ANY, ValueForm.GLOB, needs_identity=True),
    # "<namespace>/<service account>"
    Attribute.SERVICE_ACCOUNT: Row(Transport.ANY, ValueForm.EXACT_TEXT, needs_identity=True),
    Attribute.TRUST_DOMAIN: Row(Transport.ANY, ValueForm.TRUST_DOMAIN, needs_identity=True),
    # the direct peer of the connection, never X-Forwarded-For
    Attribute.SOURCE_IP: Row(Transport.ANY, ValueForm.NETWORK),
    # the client as the trusted proxies in front name it, else the direct peer
    Attribute.REMOTE_IP: Row(Transport.ANY, ValueForm.NETWORK),
    Attribute.DESTINATION_IP: Row(Transport.ANY, ValueForm.NETWORK),
    # the workload's own port, known when a program is made: lowering folds it away
    Attribute.DESTINATION_PORT: Row(Transport.ANY, ValueForm.PORT),
    # of the TLS handshake: absent on plaintext
    Attribute.SNI: Row(Transport.ANY, ValueForm.TEXT),
    Attribute.HOST: Row(Transport.HTTP_ONLY, ValueForm.TEXT, folds_case=True),
    Attribute.METHOD: Row(Transport.HTTP_ONLY, ValueForm.TEXT),
    # normalised, without query
    Attribute.PATH: Row(Transport.HTTP_ONLY, ValueForm.PATH),
    Attribute.HEADER: Row(Transport.HTTP_ONLY, ValueForm.TEXT),
    # of the verified token: issuer and subject, `aud`, `azp`, any other claim by its path
    Attribute.REQUEST_PRINCIPAL: Row(Transport.HTTP_ONLY, ValueForm.REQUEST_PRINCIPAL, needs_token=True),
    Attribute.AUDIENCES: Row(Transport.HTTP_ONLY, ValueForm.TEXT, needs_token=True),
    Attribute.PRESENTER: Row(Transport.HTTP_ONLY, ValueForm.TEXT, needs_token=True),
    Attribute.CLAIM: Row(Transport.HTTP_ONLY, ValueForm.TEXT, needs_token=True),
    # what an Envoy filter left about the request; nothing on TCP
    Attribute.METADATA: Row(Transport.ANY, ValueForm.METADATA),
}


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """An attribute; `name`: the header's (lower case) or the filter's; `path`: into the claims or the metadata."""

    attribute: Attribute
    name: str = ""
    path: tuple[str, ...] = ()

    @property
    def row(self) -> Row:
        return ROWS[self.attribute]

    @property
    def claim(self) -> tuple[str, ...]:
        """The path of the claim that an attribute of a token reads."""
        match self.attribute:
            case Attribute.AUDIENCES:
                return ("aud",)
            case Attribute.PRESENTER:
                return ("azp",)
            case _:
                return self.path

    def __str__(self) -> str:
        if self.attribute is Attribute.METADATA:
            return f"{self.attribute}.{self.name}[{''.join(self.path)}]"
        name = f"[{self.name}]" if self.name else ""
        return f"{self.attribute}{name}{''.join(f'[{step}]' for step in self.path)}"
