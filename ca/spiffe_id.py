"""SPIFFE IDs and trust domains, read by a character scan: no URL library, ASCII only, nothing is repaired.

Source: SPIFFE-ID §2 (limits: 255 bytes for a trust domain, 2048 for an ID)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ca.errors import SpiffeIdError

SCHEME: Final = "spiffe://"
MAX_ID: Final = 2048
MAX_TRUST_DOMAIN: Final = 255
RESERVED: Final = "/pylis/"  # paths the control plane keeps for itself and its agents
_DOMAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_")
_SEGMENT: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


@dataclass(frozen=True, slots=True, order=True)
class TrustDomain:
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises: SpiffeIdError."""
        if not text:
            raise SpiffeIdError("the trust domain is empty")
        if len(text) > MAX_TRUST_DOMAIN:
            raise SpiffeIdError(f"the trust domain is longer than {MAX_TRUST_DOMAIN} bytes")
        if bad := next((c for c in text if c not in _DOMAIN), None):
            raise SpiffeIdError(f"the trust domain has {bad!r}; only a-z, 0-9, '.', '-' and '_' are allowed")
        return cls(text)

    @property
    def id(self) -> str:
        return f"{SCHEME}{self.name}"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """`path` is "" (a trust domain's own ID) or starts with a slash."""

    trust_domain: TrustDomain
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises: SpiffeIdError with the first rule that is broken."""
        if not text.startswith(SCHEME):
            raise SpiffeIdError(f"the scheme is not {SCHEME}")
        if len(text.encode("utf-8", "surrogatepass")) > MAX_ID:
            raise SpiffeIdError(f"longer than {MAX_ID} bytes")
        domain, slash, rest = text.removeprefix(SCHEME).partition("/")
        trust_domain = TrustDomain.parse(domain)
        if not slash:
            return cls(trust_domain, "")
        check_path(rest)
        return cls(trust_domain, f"/{rest}")

    @property
    def namespace(self) -> str | None:
        """Only for `/ns/N/sa/S`."""
        parts = self._workload()
        return parts[0] if parts else None

    @property
    def service_account(self) -> str | None:
        """Only for `/ns/N/sa/S`."""
        parts = self._workload()
        return parts[1] if parts else None

    @property
    def principal(self) -> str:
        """As policies write it: without the scheme."""
        return f"{self.trust_domain}{self.path}"

    @property
    def is_reserved(self) -> bool:
        return self.path.startswith(RESERVED) or self.path == RESERVED.rstrip("/")

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}{self.path}"

    def _workload(self) -> tuple[str, str] | None:
        match self.path.split("/"):
            case ["", "ns", namespace, "sa", account]:
                return namespace, account
            case _:
                return None


def check_path(rest: str) -> None:
    """`rest` is a path without its leading slash. Raises: SpiffeIdError."""
    for segment in rest.split("/"):
        if not segment:
            raise SpiffeIdError("the path has an empty segment or a trailing slash")
        if segment in (".", ".."):
            raise SpiffeIdError("the path has a dot segment")
        if bad := next((c for c in segment if c not in _SEGMENT), None):
            raise SpiffeIdError(f"the path has {bad!r}; only a-z, A-Z, 0-9, '.', '-' and '_' are allowed")


def workload_id(trust_domain: TrustDomain, namespace: str, service_account: str) -> SpiffeId:
    """Raises: SpiffeIdError when a part is no single path segment."""
    return _build(trust_domain, "ns", namespace, "sa", service_account)


def agent_id(trust_domain: TrustDomain, name: str) -> SpiffeId:
    return _build(trust_domain, "pylis", "agent", name)


def server_id(trust_domain: TrustDomain) -> SpiffeId:
    return _build(trust_domain, "pylis", "server")


def xds_id(trust_domain: TrustDomain) -> SpiffeId:
    """Of processes that hold sidecars' connections for the server, and are trusted with no more than that."""
    return _build(trust_domain, "pylis", "xds")


def agent_name(identity: SpiffeId) -> str | None:
    """The agent's name in an agent's ID; None for any other."""
    match identity.path.split("/"):
        case ["", "pylis", "agent", name]:
            return name
        case _:
            return None


def _build(trust_domain: TrustDomain, *segments: str) -> SpiffeId:
    for segment in segments:
        if "/" in segment:
            raise SpiffeIdError(f"{segment!r} is no single path segment")
        check_path(segment)
    return SpiffeId.parse(f"{trust_domain.id}/{'/'.join(segments)}")
