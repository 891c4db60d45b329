"""Frames between the server and a worker: what goes in comes out, however it is cut; nothing else is let in."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xds.errors import FrameError
from xds.workers.frames import (
    FROM_SERVER,
    FROM_WORKER,
    Asked,
    Closed,
    Decoder,
    Drop,
    End,
    Identity,
    Listening,
    Offer,
    Open,
    Ping,
    Pong,
    Refuse,
    Renew,
    Renewed,
    Said,
    Sent,
    Settled,
    Shelve,
    encode,
)

EVERY = (
    Renew(), Identity("roots", b"chain"), Shelve(7, "type", "nämé", "v1", b"\0\xff body"), Drop((1, 2)),
    Offer(3, 1, {"type": (7, 8)}, ("gone",)), Refuse(3, "PERMISSION_DENIED", "no"), End(3, "why"), Ping(),
    Asked(b"csr"), Listening(4), Renewed(), Open(3, "shop/web", "envoy", b"pem"), Said(3, "type", None),
    Said(3, "type", "words"), Settled(3, 1, ("type",)), Sent("type", 2, 512), Closed(3), Pong(),
)  # fmt: skip
LIMIT = 1_000


def framed(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">II", len(text), len(body)) + text + body


def test_every_kind_has_an_example_here() -> None:
    assert {type(one) for one in EVERY} == FROM_SERVER | FROM_WORKER
    assert not FROM_SERVER & FROM_WORKER


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_what_is_sent_is_read_however_it_is_cut(cuts: list[int]) -> None:
    data = b"".join(map(encode, EVERY))
    decoder, found, number = Decoder(FROM_SERVER | FROM_WORKER, LIMIT), list[Any](), 0
    while data:
        size = cuts[number % len(cuts)]
        found += decoder.feed(data[:size])
        data, number = data[size:], number + 1
    assert tuple(found) == EVERY


@pytest.mark.parametrize("message", [m for m in EVERY if type(m) in FROM_SERVER], ids=repr)
def test_what_only_the_server_says_is_not_taken_from_a_worker(message: Any) -> None:
    with pytest.raises(FrameError, match="kind"):
        Decoder(FROM_WORKER, LIMIT).feed(encode(message))


SETTLED = json.loads(encode(Settled(1, 1, ()))[8:])[0]


@pytest.mark.parametrize(
    "data",
    [
        framed(b"no json"), framed(b"[" * 500), framed({}), framed([]), framed([True]), framed([99]), framed([-1]),
        framed([SETTLED, 1, 2]), framed([SETTLED, 1, 2, [], 3]), framed([SETTLED, "1", 2, []]),
        framed([SETTLED, 1, -2, []]), framed([SETTLED, 1, 1 << 60, []]), framed([SETTLED, 1, 2, "types"]),
        framed([SETTLED, 1, 2, [3]]), framed([SETTLED, 1, 2, []], b"bytes where none belong"),
    ],
    ids=lambda data: repr(data[8:40]),
)  # fmt: skip
def test_what_does_not_fit_is_an_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        Decoder(FROM_WORKER, LIMIT).feed(data)


def test_a_frame_too_large_is_refused_by_its_lengths_alone() -> None:
    with pytest.raises(FrameError, match="at most"):
        Decoder(FROM_WORKER, LIMIT).feed(struct.pack(">II", LIMIT, 1))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_messages_or_a_frame_error(data: bytes) -> None:
    try:
        for message in Decoder(FROM_WORKER, LIMIT).feed(data):
            assert type(message) in FROM_WORKER
    except FrameError:
        pass
