"""People as callers of the API: the ID token of an OpenID provider the operator trusts says who they are.

Source: OpenID Connect Core 1.0 §2, §3.1.3.7; Kubernetes, "Authenticating: OpenID Connect Tokens"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog

from ca.attest import oidc
from ca.attest.oidc import ProviderKey
from ca.errors import AttestationError
from controlplane.access import Caller
from controlplane.people_settings import Naming, PeopleIssuer

MAX_GROUPS: Final = 200
MAX_NAME: Final = 256
log = structlog.get_logger()


class Keys(Protocol):
    async def of(self, issuer: str, ca_pem: str, kid: str) -> tuple[ProviderKey, ...]: ...


class People:
    """`keys` finds an issuer's signing keys; no other issuer than these is ever asked for any."""

    def __init__(
        self,
        issuers: Iterable[PeopleIssuer],
        keys: Keys,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._issuers = {one.issuer: one for one in issuers}
        self._keys = keys
        self._clock = clock

    async def by_token(self, token: str) -> Caller | None:
        if not self._issuers or token.count(".") != 2:
            return None
        try:
            issuer = self._issuers.get(oidc.issuer_of(token))
            if issuer is None:
                return None
            keys = await self._keys.of(issuer.issuer, issuer.ca_pem, oidc.key_id(token))
            claims, _ = oidc.verified(token, issuer.issuer, issuer.audience, keys, self._clock())
            return caller(issuer, claims)
        except AttestationError as error:
            log.info("oidc.refused", error=str(error))
            return None

    def how_to_log_in(self) -> dict[str, Any]:
        """What `pylis login` needs to know; none of it is secret."""
        return {
            "issuers": [
                {"issuer": one.issuer, "clientId": one.audience, "scopes": list(one.scopes), "ca": one.ca_pem}
                for one in self._issuers.values()
            ]
        }


def caller(issuer: PeopleIssuer, claims: Mapping[str, Any]) -> Caller:
    """Of claims that were verified. Raises: AttestationError."""
    audience = claims.get("aud")
    party = claims.get("azp", issuer.audience)
    if isinstance(audience, list) and party != issuer.audience:
        raise AttestationError("the token was made for another party (azp)")
    oidc.required(claims, issuer.require)
    names = _named(issuer.username, claims)
    if len(names) != 1:
        raise AttestationError(f"the token has no claim {issuer.username.claim!r} that names its person")
    if issuer.username.claim == "email" and claims.get("email_verified", True) is not True:
        raise AttestationError("the token's email address is not verified")
    groups = _named(issuer.groups, claims)
    if len(groups) > MAX_GROUPS:
        raise AttestationError(f"the token names more than {MAX_GROUPS} groups")
    return Caller(names[0], tuple(groups))


def _named(naming: Naming, claims: Mapping[str, Any]) -> list[str]:
    """What could not be said in a log line or a header names nobody."""
    found = [value for value in oidc.texts(claims, naming.claim, MAX_GROUPS + 1) if value]
    if any(len(value) > MAX_NAME or not value.isprintable() for value in found):
        raise AttestationError(f"claim {naming.claim!r} holds what is no name")
    return [naming.prefix + value for value in found]
