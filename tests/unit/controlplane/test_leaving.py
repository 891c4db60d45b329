from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

import pytest

from controlplane.leaving import Leaving
from xds.ledger import Ledger

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GONE = frozenset({"shop/catalog-b"})


class Told:
    def __init__(self) -> None:
        self.nodes: list[AbstractSet[str]] = []
        self.at_once = asyncio.Event()

    def __call__(self, nodes: AbstractSet[str]) -> None:
        self.nodes.append(nodes)
        self.at_once.set()

    async def within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.at_once.wait(), seconds)
        except TimeoutError:
            return False
        return True


@pytest.fixture
def ledger() -> Ledger:
    """Two connected proxies that hold mesh 1."""
    made = Ledger()
    for name in ("shop/frontend", "shop/ledger"):
        made.connected(name, f"spiffe://example.org/{name}", None, NOW)
        made.settled(name, {})
    made.advance(1, ())
    return made


async def test_it_is_told_once_its_callers_have_heard(ledger: Ledger) -> None:
    told = Told()
    ledger.advance(2, ["shop/frontend"])
    Leaving(ledger, told, least=0.0, most=60.0).begin(GONE, {"shop/frontend"}, 2)
    assert not await told.within(0.2)
    ledger.settled("shop/frontend", {})
    assert await told.within(20)
    assert told.nodes == [GONE]


async def test_who_does_not_call_it_is_not_waited_for(ledger: Ledger) -> None:
    told = Told()
    ledger.advance(2, ["shop/frontend", "shop/ledger"])
    ledger.settled("shop/frontend", {})
    Leaving(ledger, told, least=0.0, most=60.0).begin(GONE, {"shop/frontend"}, 2)
    assert await told.within(20)


@pytest.mark.parametrize("how", ["refuses", "goes", "is silent"])
async def test_a_caller_that_never_takes_it_keeps_nobody(ledger: Ledger, how: str) -> None:
    told = Told()
    ledger.advance(2, ["shop/frontend"])
    Leaving(ledger, told, least=0.0, most=0.3 if how == "is silent" else 60.0).begin(
        GONE, {"shop/frontend"}, 2
    )
    match how:
        case "refuses":
            ledger.nacked("shop/frontend", "t", "no", NOW)
        case "goes":
            ledger.disconnected("shop/frontend", NOW)
        case _:
            pass
    assert await told.within(20)


async def test_requests_under_way_have_their_time(ledger: Ledger) -> None:
    told, loop = Told(), asyncio.get_running_loop()
    began = loop.time()
    Leaving(ledger, told, least=0.3, most=60.0).begin(GONE, frozenset(), 2)
    assert await told.within(20)
    assert loop.time() - began >= 0.3
