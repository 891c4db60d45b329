"""The signing keys of OpenID providers, by discovery (an edge): HTTPS only, no redirects, bounded, cached.

    known key ID, younger than 10 minutes    from the cache
    else                                     fetched, at most once in 10 s for one issuer
    the fetch fails                          what was fetched within the last hour still counts; then nothing does

Only issuers that the operator named are ever asked; what they answer can name keys, never another issuer.
Source: OpenID Connect Discovery §4
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import structlog

from ca.attest import oidc
from ca.attest.oidc import ProviderKey
from ca.errors import AttestationError

FRESH_SECONDS: Final = 600.0
STALE_SECONDS: Final = 3600.0
AGAIN_SECONDS: Final = 10.0
FETCH_SECONDS: Final = 5.0
MAX_DOCUMENT: Final = 256 * 1024
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Fetched:
    keys: tuple[ProviderKey, ...]
    at: float


class ProviderKeys:
    """`seconds` is a clock that does not go back."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._cache: dict[str, _Fetched] = {}
        self._tried: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def of(self, issuer: str, ca_pem: str, kid: str) -> tuple[ProviderKey, ...]:
        """Keys of one issuer, among them `kid` if it has it. Raises: AttestationError when it cannot be asked.

        `ca_pem` "": its certificate is signed by a public authority.
        """
        if (found := self._fresh(issuer, kid)) is not None:
            return found  # nobody waits for what a stranger's token makes us ask
        async with self._locks.setdefault(issuer, asyncio.Lock()):
            if (found := self._fresh(issuer, kid)) is not None:
                return found
            known, now = self._cache.get(issuer), self._seconds()
            if now - self._tried.get(issuer, -AGAIN_SECONDS) >= AGAIN_SECONDS:
                self._tried[issuer] = now
                try:
                    keys = await _fetch(issuer, ca_pem)
                except (aiohttp.ClientError, OSError, TimeoutError, ValueError, AttestationError) as error:
                    log.warning(
                        "oidc.keys_unavailable", issuer=issuer, error=str(error) or type(error).__name__
                    )
                else:
                    known = self._cache[issuer] = _Fetched(keys, now)
            if known is None or now - known.at > STALE_SECONDS:
                raise AttestationError(f"the keys of {issuer} cannot be fetched now: try again")
            return known.keys

    def _fresh(self, issuer: str, kid: str) -> tuple[ProviderKey, ...] | None:
        known = self._cache.get(issuer)
        if known is None or self._seconds() - known.at >= FRESH_SECONDS:
            return None
        return known.keys if any(key.kid == kid for key in known.keys) else None


async def _fetch(issuer: str, ca_pem: str) -> tuple[ProviderKey, ...]:
    context = ssl.create_default_context(cadata=ca_pem or None)
    timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        about = await _get(session, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if about.get("issuer") != issuer:
            raise AttestationError("its discovery document is of another issuer")
        where = about.get("jwks_uri")
        if not isinstance(where, str) or urlsplit(where).scheme != "https":
            raise AttestationError("its discovery document names no https key set")
        return oidc.read_keys(await _get(session, where))


async def _get(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise AttestationError(f"{url} answered with status {response.status}")
        body = await response.content.read(MAX_DOCUMENT + 1)
        while len(body) <= MAX_DOCUMENT and (more := await response.content.read(MAX_DOCUMENT + 1)):
            body += more
        if len(body) > MAX_DOCUMENT:
            raise AttestationError(f"{url} answered with more than {MAX_DOCUMENT} bytes")
    value: Any = json.loads(body)
    if not isinstance(value, dict):
        raise AttestationError(f"{url} answered with no object")
    return value  # pyright: ignore[reportUnknownVariableType] - JSON from outside, read field by field
