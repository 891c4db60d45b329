"""FetchX509SVID over a Unix socket with the standard library alone: it runs in a container that has only Python.

Prints the SPIFFE IDs it is given, or `refused`.
"""

from __future__ import annotations

import socket
import struct


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def literal(name: bytes, value: bytes) -> bytes:
    """HPACK: a literal that is never indexed, without Huffman."""
    return b"\x10" + bytes([len(name)]) + name + bytes([len(value)]) + value


def fields(message: bytes) -> list[tuple[int, bytes]]:
    """Length-delimited fields of a protobuf message."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key, size = varint(), varint()
        found.append((key >> 3, message[at : at + size]))
        at += size
    return found


def main() -> None:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("/agent/agent.sock")
    headers = b"".join(
        literal(name, value)
        for name, value in [
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/SpiffeWorkloadAPI/FetchX509SVID"),
            (b":authority", b"localhost"), (b"te", b"trailers"), (b"content-type", b"application/grpc"),
            (b"workload.spiffe.io", b"true"),
        ]
    )  # fmt: skip
    request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, headers)
    connection.sendall(request + frame(0, 1, 1, b"\x00" * 5))
    file, data = connection.makefile("rb"), b""
    while True:
        head = file.read(9)
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        body = file.read(size)
        if kind == 0:
            data += body
            if len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[1:5], "big"):
                for number, svid in fields(data[5:]):
                    if number == 1:
                        print(dict(fields(svid))[1].decode())
                return
        if (kind == 1 and flags & 1) or kind == 3:
            print("refused")
            return


main()
