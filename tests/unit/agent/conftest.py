"""What the agent's tests share: a CA, and builders for what the control plane would send."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.holdings import Holdings
from agent.node_identity import NodeIdentity
from ca import keys
from ca.csr import prove
from ca.issue import X509Svid
from ca.keystore import MemoryKeystore
from ca.node_protocol import Authorized, Entry
from ca.rotation import Lifetime
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain


class Mesh:
    """Test modules cannot import this file: what they need hangs on the fixture."""

    def __init__(self) -> None:
        self.domain = TrustDomain.parse("example.org")
        self.age = timedelta(hours=3)  # of what is issued now
        self.ca = CertificateAuthority.open(
            self.domain, MemoryKeystore(), clock=lambda: datetime.now(UTC) - self.age
        )
        self.age = timedelta(0)
        self.holdings = Holdings()

    def entry(
        self, name: str = "shop/orders", *selectors: str, spiffe_id: str = "", ttl: int = 3600, hint: str = ""
    ) -> Entry:
        namespace, _, account = name.partition("/")
        identity = spiffe_id or f"spiffe://example.org/ns/{namespace}/sa/{account}"
        return Entry(name, identity, selectors or ("unix:uid:0",), ttl, (), hint)

    def authorize(self, *entries: Entry) -> None:
        self.holdings.authorize(Authorized(entries, self.ca.bundle))

    def svid(self, entry: Entry, key: keys.PrivateKey) -> X509Svid:
        ttl = timedelta(seconds=entry.ttl_seconds)
        return self.ca.issue_id(SpiffeId.parse(entry.spiffe_id), keys.csr_for(key), ttl, entry.dns_names)

    def hold(self, entry: Entry) -> X509Svid:
        """As if the server had signed it."""
        key = keys.new_key()
        svid = self.svid(entry, key)
        self.holdings.store(entry, key, svid.chain, Lifetime(svid.not_before, svid.not_after), 0.5)
        return svid

    def node(self, xds: str = "127.0.0.1:1", age: timedelta = timedelta(0)) -> NodeIdentity:
        """As issued that long ago, for an hour."""
        key = keys.new_key()
        self.age = age
        svid = self.ca.issue_agent("one", prove(keys.csr_for(key)))
        self.age = timedelta(0)
        return NodeIdentity("one", xds, self.ca.bundle, key, svid.chain)


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def until() -> Callable[..., object]:
    """Waits for something that another task or process does, and that has no event."""

    async def wait(true: Callable[[], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def short_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short enough for a Unix socket."""
    return tmp_path_factory.mktemp("a")
