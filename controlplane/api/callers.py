"""Who asks: bearer tokens, JWT-SVIDs, OIDC tokens and client certificates → a Caller; and what a request is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from aiohttp import web

from controlplane.access import Caller
from controlplane.api.errors import ApiError
from controlplane.store.port import Key

CALLER: Final = web.RequestKey("caller", Caller)
ABOUT: Final = web.RequestKey("about", object)


@dataclass(frozen=True, slots=True)
class About:
    """For the audit log: what a refused request wanted."""

    verb: str
    key: Key


class Authenticator(Protocol):
    """One way to prove who one is; None: this is none of its credentials, or it is not good."""

    async def by_token(self, token: str) -> Caller | None: ...


class CertificateAuthenticator(Protocol):
    def by_certificates(self, chain: Sequence[bytes]) -> Caller | None:
        """DER, leaf first; the client has proved that it holds the leaf's key."""
        ...


class Authentication:
    """Tries each way in turn. A credential that is wrong is not made good by another one beside it."""

    def __init__(
        self, tokens: Sequence[Authenticator], certificates: CertificateAuthenticator | None
    ) -> None:
        self._tokens = tokens
        self._certificates = certificates

    async def caller(self, request: web.Request) -> Caller | None:
        header = request.headers.get("Authorization", "")
        found: Caller | None = None
        if header:
            scheme, _, token = header.partition(" ")
            if scheme.lower() == "bearer" and 0 < len(token.strip()) <= 8192:
                found = await self._by_token(token.strip())
        elif self._certificates is not None:
            chain = _chain(request)
            found = self._certificates.by_certificates(chain) if chain else None
        if found is None:
            return None
        agent = request.headers.get("User-Agent", "")[:256]
        return replace(found, source=request.remote or "", user_agent=agent)

    async def _by_token(self, token: str) -> Caller | None:
        for way in self._tokens:
            found = await way.by_token(token)
            if found is not None:
                return found
        return None


def _chain(request: web.Request) -> list[bytes]:
    """The client's certificates. Python < 3.13 has no public name for the whole chain."""
    tls = request.transport.get_extra_info("ssl_object") if request.transport else None
    if tls is None or tls.getpeercert(binary_form=True) is None:
        return []
    if hasattr(tls, "get_unverified_chain"):
        return [bytes(der) for der in tls.get_unverified_chain()]
    return [bytes(one.public_bytes(2)) for one in tls._sslobj.get_unverified_chain()]  # 2: DER


def caller_of(request: web.Request) -> Caller:
    """Raises: ApiError 401 where nobody was identified."""
    caller = request.get(CALLER)
    if caller is None:
        raise ApiError(401, "Unauthorized", "Unauthorized")
    return caller


def note_target(request: web.Request, verb: str, key: Key) -> None:
    request[ABOUT] = About(verb, key)


def about(request: web.Request) -> About | None:
    found = request.get(ABOUT)
    return found if isinstance(found, About) else None
