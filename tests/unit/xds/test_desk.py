"""The desk: who may open a stream, what the ledger and the meter hear of it, and how a stream is told to end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ca.spiffe_id import SpiffeId, TrustDomain, workload_id
from xds.compile import Work
from xds.desk import CROWDED, MAX_STREAMS, NOT_PROXYLESS, REVOKED, Claim, MeshDesk, Wake
from xds.errors import NotAuthorizedError, Refusal, RefusedError
from xds.ledger import Ledger, State
from xds.peer import Peer
from xds.snapshot import CLUSTER, Resource, Snapshot
from xds.stream import Acked, Nacked

NOW = datetime(2030, 1, 1, tzinfo=UTC)
WEB = Peer(workload_id(TrustDomain("example.org"), "shop", "web"), NOW + timedelta(hours=1), "01")
NODE = "shop/web"


class Source:
    def __init__(self) -> None:
        self.revision = 1
        self.content = Snapshot.of([Resource(CLUSTER, "a", b"a", "1")])

    def admit(self, peer: SpiffeId, node_id: str) -> None:
        if node_id != NODE:
            raise NotAuthorizedError(node_id)

    def is_proxyless(self, node_id: str) -> bool:
        return False

    def heavy(self, node_id: str) -> list[Work]:
        return []

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        return self.revision, self.content


class Opened:
    def __init__(self) -> None:
        self.ledger, self.source = Ledger(), Source()
        self.revoked: set[Peer] = set()
        self.desk = MeshDesk(self.source, self.ledger, lambda: NOW, self.revoked.__contains__)

    @property
    def state(self) -> State:
        return self.ledger.status()[0].state


def a_claim(node_id: str = NODE, user_agent: str = "envoy") -> Claim:
    return Claim(WEB, node_id, user_agent, b"")


async def test_a_stream_is_on_the_ledger_from_its_opening_to_its_end() -> None:
    opened = Opened()
    session = await opened.desk.open(a_claim())
    assert opened.state is State.PENDING
    assert await opened.desk.newest(session) == opened.source.content
    assert not session.stale
    opened.desk.settled(session, {})
    assert opened.state is State.SYNCED
    opened.desk.close(session)
    assert opened.state is State.LOST
    assert opened.desk.meter.streams == 0


async def test_what_a_proxy_says_is_kept() -> None:
    opened = Opened()
    session = await opened.desk.open(a_claim())
    opened.desk.heard(session, Nacked(CLUSTER, "1", "no such thing"))
    assert opened.ledger.refusals(NODE) == {CLUSTER: "no such thing"}
    opened.desk.heard(session, Acked(CLUSTER, "2"))
    assert opened.ledger.refusals(NODE) == {}


async def test_news_is_for_those_it_concerns() -> None:
    opened = Opened()
    session = await opened.desk.open(a_claim())
    await opened.desk.newest(session)
    opened.desk.publish(["shop/other"])
    assert not session.stale
    opened.desk.publish([NODE])
    assert session.stale
    assert session.wake.is_set()


async def test_who_is_cut_off_is_ended_and_refused_when_it_comes_again() -> None:
    opened = Opened()
    session = await opened.desk.open(a_claim())
    opened.revoked.add(WEB)
    opened.desk.end_revoked()
    assert session.ending == REVOKED
    with pytest.raises(RefusedError, match="quarantine") as refused:
        await opened.desk.open(a_claim())
    assert refused.value.refusal is Refusal.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("claim", "refusal", "reason"),
    [
        (a_claim("shop/other"), Refusal.PERMISSION_DENIED, "may not claim that node"),
        (a_claim(user_agent="gRPC C-core"), Refusal.FAILED_PRECONDITION, NOT_PROXYLESS),
    ],
)
async def test_who_may_not_have_it_is_not_on_the_ledger(claim: Claim, refusal: Refusal, reason: str) -> None:
    opened = Opened()
    with pytest.raises(RefusedError, match=reason) as refused:
        await opened.desk.open(claim)
    assert refused.value.refusal is refusal
    assert opened.ledger.status() == []


async def test_a_node_has_so_many_streams_and_no_more() -> None:
    opened = Opened()
    sessions = [await opened.desk.open(a_claim()) for _ in range(MAX_STREAMS)]
    assert not any(session.ending for session in sessions)
    more = [await opened.desk.open(a_claim()) for _ in range(MAX_STREAMS)]
    assert {session.ending for session in sessions} == {CROWDED}, "the oldest make room"
    assert not any(session.ending for session in more)
    with pytest.raises(RefusedError) as refused:
        await opened.desk.open(a_claim())  # those that were told to end have not
    assert refused.value.refusal is Refusal.RESOURCE_EXHAUSTED
    for session in sessions:
        opened.desk.close(session)
    await opened.desk.open(a_claim())


async def test_all_are_dismissed_and_who_serves_them_hears_of_it_once() -> None:
    opened = Opened()
    sessions = [await opened.desk.open(a_claim()) for _ in range(5)]
    heard: list[int] = []
    for number, session in enumerate(sessions):
        session.when_ended = lambda n=number: heard.append(n)
    await opened.desk.dismiss("the end")
    sessions[0].end("again")
    assert sorted(heard) == [0, 1, 2, 3, 4]
    assert {session.ending for session in sessions[1:]} == {"the end"}


async def test_who_waits_is_woken_once_for_each_time_it_was_cleared() -> None:
    wake = Wake()
    waiting = asyncio.ensure_future(wake.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    wake.set()
    wake.set()
    await waiting
    await wake.wait()  # it is set still
    wake.clear()
    again = asyncio.ensure_future(wake.wait())
    await asyncio.sleep(0)
    assert not again.done() and not wake.is_set()
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again
    wake.set()  # nobody is there
    assert wake.is_set()
