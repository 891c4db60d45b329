"""The pool of workers: its port is its own, and what of the server's environment a worker sees."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest

from ca.spiffe_id import SpiffeId
from xds.compile import Work
from xds.desk import MeshDesk
from xds.errors import NotAuthorizedError, WorkersError
from xds.ledger import Ledger
from xds.serve import AddressInUseError
from xds.snapshot import Snapshot
from xds.workers import pool
from xds.workers.channel import Certified
from xds.workers.pool import WorkerPool, reserve


class Nothing:
    def admit(self, peer: SpiffeId, node_id: str) -> None:
        raise NotAuthorizedError(node_id)

    def is_proxyless(self, node_id: str) -> bool:
        return False

    def heavy(self, node_id: str) -> list[Work]:
        return []

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        return 1, Snapshot()


async def test_a_port_that_somebody_listens_on_is_not_shared_even_if_they_would() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(AddressInUseError):
            await reserve("127.0.0.1", other.getsockname()[1], 0)


async def test_a_reserved_port_is_nobody_elses_but_those_who_share_it() -> None:
    with await reserve("127.0.0.1", 0, 0) as held:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(held.getsockname())
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(held.getsockname())


async def test_workers_that_cannot_start_are_said_and_leave_nothing() -> None:
    def certify(_csr: bytes) -> Certified:
        return Certified(b"no certificate", "", datetime.now(UTC))

    workers = WorkerPool("127.0.0.1:0", 1, MeshDesk(Nothing(), Ledger()), certify, lambda _: None)
    with pytest.raises(WorkersError, match="did not start: exit code 1"):
        await workers.start()
    assert workers.listening == 0
    with await reserve("127.0.0.1", workers.port, 0):
        pass


def test_no_setting_of_the_server_reaches_a_worker() -> None:
    assert not [name for name in pool._KEPT if "PYLIS" in name]
