"""When the authorities change, so do: the agents' bundle, the kubeconfig, what the xDS port presents and believes.

Streams stay open at all but one change: a root that left the bundle. Who was authenticated by it connects again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from ca.service import CertificateAuthority
from xds.serve import XdsServer

log = structlog.get_logger()


class Refreshed(Protocol):
    async def refresh_identity(self) -> None:
        """Afterwards its handshakes believe the bundle of now. Raises: OSError, TimeoutError."""
        ...


class AuthorityWatch:
    """`changed` is called after each change; `run` until cancelled. `workers`: who else holds streams of the xDS port."""

    def __init__(
        self,
        authority: CertificateAuthority,
        xds: XdsServer,
        changed: Callable[[], None],
        workers: Refreshed | None = None,
    ) -> None:
        self._authority = authority
        self._xds = xds
        self._ports: tuple[Refreshed, ...] = (xds,) if workers is None else (xds, workers)
        self._changed = changed
        self._wake = asyncio.Event()
        authority.watch(self._heard)

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.in_force()

    async def in_force(self) -> None:
        """Afterwards the xDS port believes the bundle of now."""
        for port in self._ports:
            try:
                await port.refresh_identity()
            except (OSError, TimeoutError) as error:  # the next handshake tries again
                log.warning("xds.identity_not_refreshed", error=str(error) or type(error).__name__)

    def _heard(self) -> None:
        self._changed()
        self._wake.set()
        if self._authority.is_narrower:
            self._xds.close_streams(lambda _: True, "an authority left the bundle: connect again")
