"""Limits: buckets fill again, guesses end, connections that do not speak are dropped."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from controlplane.api.errors import ApiError
from controlplane.api.limits import Buckets, Connections, Gate, Limits


def test_a_bucket_empties_and_fills() -> None:
    now = [0.0]
    buckets = Buckets(rate=2, burst=3, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b"), "one client's bucket is its own"
    now[0] = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [True, False]


def ask(gate: Gate, client: str, *, counted: bool = True) -> None:
    with gate.admitted(client, counted=counted):
        pass


def test_the_gate_counts_requests_and_guesses() -> None:
    gate = Gate(Limits(rate=0, burst=2, refused=0, refused_burst=2))
    ask(gate, "a")
    ask(gate, "a")
    with pytest.raises(ApiError) as refused:
        ask(gate, "a")
    assert refused.value.code == 429
    ask(gate, "b")
    gate.refused("x")
    gate.refused("x")
    with pytest.raises(ApiError, match="failed authentications"):
        gate.refused("x")
    gate.refused("y")


def test_a_caller_has_as_many_requests_at_once_as_it_leaves_free_for_others() -> None:
    gate = Gate(Limits(running=8))
    with ExitStack() as running:
        for client, most in (("greedy", 4), ("also greedy", 2), ("a third", 1)):
            for _ in range(most):
                running.enter_context(gate.admitted(client))
            with pytest.raises(ApiError, match="busy") as refused:
                ask(gate, client)
            assert refused.value.code == 429
        ask(gate, "who asks now and then")
        ask(gate, "greedy", counted=False)
    with ExitStack() as running:  # all of them have gone
        for _ in range(4):
            running.enter_context(gate.admitted("a third"))


async def test_who_changes_something_now_and_then_is_not_behind_who_does_all_the_time() -> None:
    gate, served = Gate(Limits()), list[str]()

    async def one(client: str) -> None:
        await gate.turn(client)
        served.append(client)

    flood = [asyncio.create_task(one("flood")) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.gather(one("now and then"), *flood)
    assert served.index("now and then") < 5
    assert len(served) == 101


class Pipe(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_who_says_nothing_is_dropped_and_who_asks_is_not() -> None:
    connections = Connections(Limits(connections=3, head_seconds=0.01, idle_seconds=60))
    silent, asking = Pipe(), Pipe()
    connections.opened(silent)
    connections.opened(asking)
    connections.busy(asking)
    reaper = asyncio.create_task(connections.run())
    async with asyncio.timeout(20):
        while not silent.aborted:  # noqa: ASYNC110 - a transport tells nobody
            await asyncio.sleep(0.01)
    reaper.cancel()
    assert (asking.aborted, len(connections), connections.dropped) == (False, 1, 1)
    connections.idle(asking)
    connections.closed(asking)
    assert len(connections) == 0


def test_there_are_never_more_than_allowed() -> None:
    connections = Connections(Limits(connections=1))
    first, second = Pipe(), Pipe()
    connections.opened(first)
    connections.opened(second)
    assert (first.aborted, second.aborted) == (False, True)
