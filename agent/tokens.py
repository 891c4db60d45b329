"""JWT-SVIDs for workloads: signed by the control plane on demand, kept until half of their life is over.

While the control plane is away a kept token serves until shortly before it expires. A token is dropped when its
registration is, or when the authority that signed it is tainted or gone from the bundle.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from agent.holdings import Holdings
from agent.link import TokenUnavailableError
from ca import jwt_svid
from ca.errors import JwtError
from ca.node_protocol import Entry, SignedJwt

MAX_KEPT: Final = 1000
LAST_SECONDS: Final = 10  # a token that expires so soon is not given out
_Key = tuple[str, str, tuple[str, ...]]


class Tokens:
    """`sign(registration, audience)` asks the control plane. Raises there: TokenRefusedError, TokenUnavailableError."""

    def __init__(
        self,
        holdings: Holdings,
        sign: Callable[[str, tuple[str, ...]], Awaitable[SignedJwt]],
        now: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
    ) -> None:
        self._holdings = holdings
        self._sign = sign
        self._now = now
        self._kept: OrderedDict[_Key, SignedJwt] = OrderedDict()

    async def get(self, entry: Entry, audience: tuple[str, ...]) -> str:
        """Raises: TokenRefusedError, TokenUnavailableError."""
        key = (entry.name, entry.spiffe_id, tuple(sorted(set(audience))))
        kept = self._kept.get(key)
        if kept is not None and not self._is_believed(kept):
            del self._kept[key]
            kept = None
        if kept is not None and self._now() < (kept.issued + kept.expires) / 2:
            self._kept.move_to_end(key)
            return kept.token
        try:
            signed = await self._sign(entry.name, audience)
        except TokenUnavailableError:
            if kept is None or kept.expires - self._now() < LAST_SECONDS:
                raise
            return kept.token
        self._kept[key] = signed
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return signed.token

    def _is_believed(self, signed: SignedJwt) -> bool:
        try:
            kid = jwt_svid.read(signed.token).header.get("kid")
        except JwtError:
            return False
        bundle = self._holdings.bundle
        known = bundle is not None and isinstance(kid, str) and bundle.jwt_key(kid) is not None
        return known and kid not in self._holdings.tainted
