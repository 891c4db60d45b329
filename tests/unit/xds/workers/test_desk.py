"""The desk in a worker: it asks, waits for the server's word, and says what proxies say."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ca.spiffe_id import TrustDomain, workload_id
from xds.desk import STOPPING, Claim, Session
from xds.errors import Refusal, RefusedError
from xds.peer import Peer
from xds.snapshot import CLUSTER, Resource, Snapshot
from xds.stream import Acked, Nacked
from xds.workers.desk import MAX_WORDS, WorkerDesk
from xds.workers.frames import Closed, End, FromWorker, Open, Refuse, Said, Sent, Settled
from xds.workers.sharing import Shelf

CLAIM = Claim(
    Peer(workload_id(TrustDomain("example.org"), "shop", "web"), datetime.now(UTC) + timedelta(hours=1)),
    "shop/web", "envoy", b"pem",
)  # fmt: skip
ONE = Snapshot.of([Resource(CLUSTER, "a", b"a", "1")])
TWO = Snapshot.of([Resource(CLUSTER, "a", b"b", "2")])


class Worker:
    """A desk, and the server's end of the channel."""

    def __init__(self) -> None:
        self.said: list[FromWorker] = []
        self.desk = WorkerDesk(self.said.append)
        self.shelf = Shelf()

    def offer(self, stream: int, snapshot: Snapshot) -> None:
        for frame in self.shelf.offer(stream, snapshot):
            self.desk.take(frame)

    async def asked(self) -> asyncio.Task[Session]:
        opening = asyncio.ensure_future(self.desk.open(CLAIM))
        await asyncio.sleep(0)
        assert self.said == [Open(1, "shop/web", "envoy", b"pem")]
        self.said.clear()
        return opening


async def test_a_stream_is_open_when_the_server_offers_it_something() -> None:
    worker = Worker()
    opening = await worker.asked()
    assert not opening.done()
    worker.offer(1, ONE)
    session = await opening
    assert await worker.desk.newest(session) == ONE
    assert worker.said == []


async def test_the_servers_refusal_is_the_proxys() -> None:
    worker = Worker()
    opening = await worker.asked()
    worker.desk.take(Refuse(1, "PERMISSION_DENIED", "no"))
    with pytest.raises(RefusedError, match="no") as refused:
        await opening
    assert refused.value.refusal is Refusal.PERMISSION_DENIED
    assert worker.said == []


async def test_a_proxy_that_does_not_wait_is_closed_and_a_late_offer_is_no_matter() -> None:
    worker = Worker()
    opening = await worker.asked()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert worker.said == [Closed(1)]
    worker.offer(1, ONE)
    worker.desk.take(End(1, "late"))


async def test_news_make_the_session_stale_and_settling_names_what_was_held() -> None:
    worker = Worker()
    opening = await worker.asked()
    worker.offer(1, ONE)
    session = await opening
    assert await worker.desk.newest(session) == ONE
    worker.desk.sent(CLUSTER, 10)
    worker.desk.sent(CLUSTER, 5)
    worker.desk.heard(session, Acked(CLUSTER, "1"))
    for _ in range(2):
        worker.desk.settled(session, {})
    assert worker.said == [Said(1, CLUSTER, None), Sent(CLUSTER, 2, 15), Settled(1, 1, ())]
    worker.offer(1, TWO)
    assert session.stale
    worker.said.clear()
    worker.desk.heard(session, Nacked(CLUSTER, "2", "w" * 2 * MAX_WORDS))
    worker.desk.settled(session, {CLUSTER: ("a",)})
    assert worker.said == [Said(1, CLUSTER, "w" * MAX_WORDS), Settled(1, 2, (CLUSTER,))]


@pytest.mark.parametrize("open_already", [True, False])
async def test_when_the_server_is_gone_every_stream_ends(open_already: bool) -> None:
    worker = Worker()
    opening = await worker.asked()
    if open_already:
        worker.offer(1, ONE)
        session = await opening
        worker.desk.stop()
        assert session.ending == STOPPING
    else:
        worker.desk.stop()
        with pytest.raises(RefusedError, match=STOPPING):
            await opening


async def test_a_node_that_says_too_much_of_itself_is_not_handed_on() -> None:
    worker = Worker()
    with pytest.raises(RefusedError):
        await worker.desk.open(Claim(CLAIM.peer, "n" * 1_000_000, "envoy", b"pem"))
    assert worker.said == []
