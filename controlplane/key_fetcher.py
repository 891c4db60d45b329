"""Keys of token issuers: fetched here, so that no sidecar has to reach an issuer, and kept when one is away.

Each source (a JWKS, or an issuer's OpenID configuration that names one) is fetched when the first rule names it and
every 20 minutes from then on. A failure is tried again after 1 s, doubling to 5 min, while the last good keys stay
in force; where there never were any, every token is refused. Answers are bounded, redirects are not followed, and
nothing of an answer that is no key set is logged: who may write policy must not read other servers through us.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
import structlog

from policies.request_authentication import is_web_address, read_keys

log = structlog.get_logger()

REFRESH_SECONDS: Final = 20 * 60.0
FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 300.0
MAX_BYTES: Final = 1 << 20
_DISCOVERY: Final = "/.well-known/openid-configuration"


class KeysUnavailableError(Exception):
    """Why no keys came, in one sentence that quotes nothing of the answer."""


@dataclass(slots=True)
class _Source:
    retry_seconds: float
    due: float = 0.0
    known: bool = False


class KeyFetcher:
    """`wanted` gives the sources and the seconds each may take; `learned(source, jwks)` is called for new keys."""

    def __init__(
        self,
        wanted: Callable[[], Mapping[str, float]],
        learned: Callable[[str, str], None],
        *,
        refresh_seconds: float = REFRESH_SECONDS,
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
    ) -> None:
        self._wanted = wanted
        self._learned = learned
        self._refresh_seconds = refresh_seconds
        self._first_retry_seconds = first_retry_seconds
        self._sources: dict[str, _Source] = {}
        self._look_again = asyncio.Event()

    def look_again(self) -> None:
        """The mesh changed: there may be other sources."""
        self._look_again.set()

    async def run(self) -> None:
        """Until cancelled."""
        clock = asyncio.get_running_loop().time
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            while True:
                self._look_again.clear()
                wanted = self._wanted()
                self._sources = {
                    name: self._sources.get(name) or _Source(self._first_retry_seconds) for name in wanted
                }
                due = [name for name, source in self._sources.items() if source.due <= clock()]
                await asyncio.gather(*(self._renew(session, name, wanted[name], clock) for name in due))
                soonest = min((source.due for source in self._sources.values()), default=None)
                try:
                    async with asyncio.timeout(None if soonest is None else max(0.0, soonest - clock())):
                        await self._look_again.wait()
                except TimeoutError:
                    continue

    async def _renew(
        self, session: aiohttp.ClientSession, name: str, seconds: float, clock: Callable[[], float]
    ) -> None:
        source = self._sources[name]
        try:
            async with asyncio.timeout(seconds):
                jwks = await fetch(session, name)
        except (KeysUnavailableError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = str(error) if isinstance(error, KeysUnavailableError) else type(error).__name__
            log.warning(
                "keys.unavailable", source=name, why=why, kept=source.known, again=source.retry_seconds
            )
            source.due = clock() + source.retry_seconds
            source.retry_seconds = min(LONGEST_RETRY_SECONDS, 2 * source.retry_seconds)
            return
        if not source.known:
            log.info("keys.fetched", source=name)
        source.known = True
        source.due, source.retry_seconds = clock() + self._refresh_seconds, self._first_retry_seconds
        self._learned(name, jwks)


async def fetch(session: aiohttp.ClientSession, source: str) -> str:
    """The key set of a source, as text. Raises: KeysUnavailableError, and what aiohttp raises."""
    if not is_web_address(source):
        raise KeysUnavailableError("is no http or https address; give the rule jwks or a jwksUri")
    text = await _get(session, source)
    if source.endswith(_DISCOVERY):
        where = _jwks_uri(text)
        if where is None:
            raise KeysUnavailableError("the OpenID configuration names no jwks_uri")
        text = await _get(session, where)
    if read_keys(text) is None:
        raise KeysUnavailableError("the answer is no JSON Web Key Set")
    return text


async def _get(session: aiohttp.ClientSession, address: str) -> str:
    async with session.get(address, allow_redirects=False) as answer:
        if answer.status != 200:
            raise KeysUnavailableError(f"answered {answer.status}")
        body = await answer.content.read(MAX_BYTES + 1)
        while body and len(body) <= MAX_BYTES and (more := await answer.content.read(MAX_BYTES)):
            body += more
    if len(body) > MAX_BYTES:
        raise KeysUnavailableError(f"answered more than {MAX_BYTES} bytes")
    return body.decode()


def _jwks_uri(text: str) -> str | None:
    try:
        found = json.loads(text).get("jwks_uri")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, str) and is_web_address(found) else None
