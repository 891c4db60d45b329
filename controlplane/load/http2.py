"""One gRPC stream on one HTTP/2 connection, from the client's side, without I/O.

Only what a bidirectional stream needs, and lean, because a thousand of them share one process: bytes come in by
`receive`, bytes to send are taken from `outgoing`. What the peer may do to us (settings, pings, windows, GOAWAY, an
end in the middle) is answered; what we never do (push, priorities, several streams) is not here.
Source: RFC 9113; gRPC over HTTP/2 (PROTOCOL-HTTP2.md)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from hpack import Decoder, Encoder

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32
_WINDOW_SIZE: Final = 2**30
_FRAME: Final = 16_384
_STREAM: Final = 1


@dataclass(frozen=True, slots=True)
class Received:
    """One gRPC message."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream is over; `status` is gRPC's number, -1 where the connection or the stream broke."""

    status: int
    message: str


Event = Received | Ended


class GrpcStream:
    """`outgoing()` after each call of another method."""

    def __init__(self, path: str, authority: str) -> None:
        self._in = bytearray()
        self._message = bytearray()
        self._block = bytearray()
        self._block_ends_stream = False
        self._decoder = Decoder()
        self._window, self._stream_window = 65_535, 65_535
        self._initial_window = 65_535
        self._unsent = bytearray()
        self._unacknowledged = 0
        self.ended = False
        self.going_away = False  # the peer wants no more streams on this connection
        settings = struct.pack(">HIHI", 2, 0, 4, _WINDOW_SIZE)
        headers = [
            (":method", "POST"), (":scheme", "https"), (":path", path), (":authority", authority),
            ("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "pylis-bench"),
        ]  # fmt: skip
        block: bytes = Encoder().encode(headers)
        window = struct.pack(">I", _WINDOW_SIZE - 65_535)
        self._out = bytearray(PREFACE)
        self._out += _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, window)
        self._out += _frame(_HEADERS, _END_HEADERS, _STREAM, block)

    def send(self, body: bytes) -> None:
        self._unsent += struct.pack(">BI", 0, len(body)) + body
        self._flush()

    def outgoing(self) -> bytes:
        """Bytes to write now; they are handed out once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Raises: ValueError for bytes that are no HTTP/2."""
        self._in += data
        events: list[Event] = []
        at = 0
        while len(self._in) - at >= 9:
            length = int.from_bytes(self._in[at : at + 3], "big")
            if len(self._in) - at < 9 + length:
                break
            kind, flags = self._in[at + 3], self._in[at + 4]
            payload = bytes(self._in[at + 9 : at + 9 + length])
            at += 9 + length
            events += self._take(kind, flags, payload)
        del self._in[:at]
        return events

    def _take(self, kind: int, flags: int, payload: bytes) -> list[Event]:
        match kind:
            case 0:
                return self._data(flags, payload)
            case 1 | 9:
                return self._header_block(kind, flags, payload)
            case 3:
                return self._end(-1, f"the stream was reset ({int.from_bytes(payload, 'big')})")
            case 4 if not flags & _ACK:
                self._settings(payload)
            case 6 if not flags & _ACK:
                self._out += _frame(_PING, _ACK, 0, payload)
            case 7:
                self.going_away = True
                last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
                if last < _STREAM:
                    return self._end(-1, "the server is going away")
            case 8:
                self._widen(int.from_bytes(payload, "big") & 0x7FFFFFFF)
            case _:
                pass
        return []

    def _data(self, flags: int, payload: bytes) -> list[Event]:
        self._unacknowledged += len(payload)
        if self._unacknowledged > _WINDOW_SIZE // 4:
            for stream in (0, _STREAM):
                self._out += _frame(_WINDOW, 0, stream, struct.pack(">I", self._unacknowledged))
            self._unacknowledged = 0
        self._message += payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
        events: list[Event] = []
        while len(self._message) >= 5:
            size = int.from_bytes(self._message[1:5], "big")
            if len(self._message) < 5 + size:
                break
            events.append(Received(bytes(self._message[5 : 5 + size])))
            del self._message[: 5 + size]
        return events + (self._end(-1, "the stream ended without a status") if flags & _END_STREAM else [])

    def _header_block(self, kind: int, flags: int, payload: bytes) -> list[Event]:
        if kind == _HEADERS:
            padding = payload[0] if flags & _PADDED else 0
            start = (1 if flags & _PADDED else 0) + (5 if flags & _PRIORITY else 0)
            self._block = bytearray(payload[start : len(payload) - padding])
            self._block_ends_stream = bool(flags & _END_STREAM)
        else:
            self._block += payload
        if not flags & _END_HEADERS:
            return []
        headers = {str(name): str(value) for name, value in self._decoder.decode(bytes(self._block))}
        if not self._block_ends_stream:
            return []
        status = headers.get("grpc-status", "")
        message = headers.get("grpc-message", f"HTTP status {headers.get(':status', '?')}")
        return self._end(int(status) if status.isdigit() else -1, message)

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            name, value = struct.unpack_from(">HI", payload, at)
            if name == 4:  # SETTINGS_INITIAL_WINDOW_SIZE holds for streams that are open, too
                self._stream_window += value - self._initial_window
                self._initial_window = value
        self._out += _frame(_SETTINGS, _ACK, 0, b"")
        self._flush()

    def _widen(self, by: int) -> None:
        # one stream: what widens one of the two windows is all the same waited for by the other
        self._window += by
        self._stream_window += by
        self._flush()

    def _flush(self) -> None:
        while (
            self._unsent and (room := min(self._window, self._stream_window, _FRAME, len(self._unsent))) > 0
        ):
            self._out += _frame(_DATA, 0, _STREAM, bytes(self._unsent[:room]))
            del self._unsent[:room]
            self._window -= room
            self._stream_window -= room

    def _end(self, status: int, message: str) -> list[Event]:
        if self.ended:
            return []
        self.ended = True
        return [Ended(status, message)]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
