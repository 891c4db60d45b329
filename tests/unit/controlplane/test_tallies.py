"""Who holds what, over several servers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from controlplane.conditions import Tally
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Key
from controlplane.tallies import RESOURCE, Report, Tallies
from xds.ledger import Ledger
from xds.snapshot import Snapshot

NOW = datetime(2026, 11, 26, tzinfo=UTC)
POLICY = Key("authorizationpolicies.security.istio.io", "shop", "p")


class Shared(MemoryStore):
    """As one server of several sees it."""

    alive = frozenset({"1"})

    @property
    def server(self) -> str:
        return "1"

    async def servers(self) -> frozenset[str]:
        return self.alive


def a_ledger(revision: int, *in_sync: str, late: tuple[str, ...] = ()) -> Ledger:
    ledger = Ledger()
    for node in (*in_sync, *late):
        ledger.connected(node, "", None, NOW)
        ledger.offered(node, revision, Snapshot())
        ledger.settled(node, {})
    ledger.advance(revision + 1, late)
    return ledger


def test_a_report_tells_who_holds_a_revision() -> None:
    ledger = a_ledger(4, "a", "b", late=("c",))
    ledger.nacked("c", "t", "no", NOW)
    report = Report.of(ledger)
    assert (report.seen, report.total) == (5, 3)
    assert report.tally(4) == Tally(3, 3)
    assert report.tally(5) == Tally(3, 2, ["c"])
    assert report.tally(6) == Tally(3, 0, known=False), "the server itself is not there yet"
    assert Report.read(report.to_json()) == report


async def test_all_servers_that_are_there_are_added_up() -> None:
    store = Shared()
    tallies = Tallies(store, a_ledger(9, "a"))
    assert (await tallies.look())(5) == Tally(1, 1)
    store.alive = frozenset({"1", "2", "3"})
    assert not (await tallies.look())(5).is_final, "two servers have not said anything"
    await store.create(Key(RESOURCE, "", "2"), Report(7, 2, ((4, 1),), (("x", 4),)).to_json())
    await store.create(Key(RESOURCE, "", "3"), Report(8, 3).to_json())
    assert (await tallies.look())(5) == Tally(6, 5, ["x"])
    assert (await tallies.look())(4).is_final
    store.alive = frozenset({"1", "3"})  # 2 was killed
    assert (await tallies.look())(5) == Tally(4, 4)
    await tallies.forget_gone()
    assert [r.key.name for r in (await store.list(RESOURCE))[0]] == ["3"]


async def test_a_server_reports_after_a_change_once_its_mesh_is_there() -> None:
    store, ledger = Shared(), a_ledger(0, "a")
    running = asyncio.create_task(Tallies(store, ledger).run())
    key = Key(RESOURCE, "", "1")

    async def reported(revision: int) -> Report:
        async with asyncio.timeout(20):
            while (record := await store.get(key)) is None or record.value["seen"] < revision:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return Report.read(record.value)

    assert (await reported(0)).total == 1
    made = await store.create(POLICY, {})
    ledger.advance(made.revision, ["a"])
    assert (await reported(made.revision)).behind == ((1, 1),)
    ledger.settled("a", {})
    async with asyncio.timeout(20):
        while (record := await store.get(key)) is not None and record.value["behind"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    quiet = store.revision
    await store.create(Key("apitokens.internal", "", "x"), {})
    ledger.advance(store.revision, [])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await store.wait(quiet + 1)
    running.cancel()
