"""Against frames written out by hand; against a real gRPC server in tests/e2e/test_bench.py."""

from __future__ import annotations

import pytest
from hpack import Encoder

from controlplane.load.http2 import PREFACE, Ended, GrpcStream, Received


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found: list[tuple[int, int, int, bytes]] = []
    while data:
        size = int.from_bytes(data[:3], "big")
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def a_message(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4, "big") + body


@pytest.fixture
def stream() -> GrpcStream:
    one = GrpcStream("/a.B/C", "server")
    one.outgoing()
    return one


def test_it_opens_with_the_preface_settings_and_headers() -> None:
    data = GrpcStream("/a.B/C", "server").outgoing()
    assert data.startswith(PREFACE)
    assert [kind for kind, *_ in frames(data[len(PREFACE) :])] == [4, 8, 1]


def test_a_message_may_come_in_pieces_and_two_in_one(stream: GrpcStream) -> None:
    data = frame(0, 0, 1, a_message(b"one") + a_message(b"two"))
    found = [event for at in range(len(data)) for event in stream.receive(data[at : at + 1])]
    assert found == [Received(b"one"), Received(b"two")]


def test_padding_is_no_content(stream: GrpcStream) -> None:
    assert stream.receive(frame(0, 8, 1, b"\x03" + a_message(b"x") + b"\0\0\0")) == [Received(b"x")]


def test_settings_and_pings_are_acknowledged(stream: GrpcStream) -> None:
    stream.receive(frame(4, 0, 0, b"") + frame(6, 0, 0, b"12345678"))
    assert frames(stream.outgoing()) == [(4, 1, 0, b""), (6, 1, 0, b"12345678")]


def test_what_does_not_fit_the_window_waits_for_it(stream: GrpcStream) -> None:
    stream.send(b"x" * 70_000)
    sent = sum(len(payload) for *_, payload in frames(stream.outgoing()))
    assert sent == 65_535
    stream.receive(frame(8, 0, 0, (10_000).to_bytes(4, "big")))
    assert sum(len(payload) for *_, payload in frames(stream.outgoing())) == 70_005 - 65_535


def test_trailers_tell_the_status(stream: GrpcStream) -> None:
    headers = Encoder().encode([(":status", "200"), ("grpc-status", "7"), ("grpc-message", "no")])
    half = len(headers) // 2
    assert stream.receive(frame(1, 1, 1, headers[:half])) == []
    assert stream.receive(frame(9, 4, 1, headers[half:])) == [Ended(7, "no")]


@pytest.mark.parametrize("data", [frame(3, 0, 1, b"\0\0\0\7"), frame(7, 0, 0, b"\0" * 8)])
def test_a_reset_or_a_server_that_goes_ends_it_once(stream: GrpcStream, data: bytes) -> None:
    (event,) = stream.receive(data)
    assert isinstance(event, Ended) and event.status == -1
    assert stream.receive(frame(3, 0, 1, b"\0\0\0\7")) == []


def test_a_server_that_goes_after_this_stream_lets_it_end(stream: GrpcStream) -> None:
    assert stream.receive(frame(7, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0")) == []
