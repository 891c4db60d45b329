"""What the server and a worker say to each other, as bytes; without I/O.

    server → worker   Renew and Identity: the worker makes its key, the server signs; Shelve, Offer and Drop: resources,
                      and what a stream should hold by their numbers (`sharing`); Refuse and End of a stream; Ping
    worker → server   Asked (a CSR, one for each Renew), Listening, Renewed; Open of a stream, with what proves its peer;
                      then Said (its acknowledgements and refusals), Sent, Settled, Closed; Pong

A frame is the lengths of its two parts (4 bytes each, big-endian), a JSON array (the kind, then the fields in order),
and bytes as they are. Whatever does not fit raises FrameError: neither side goes on with the other then.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Final, cast

from xds.errors import FrameError

_LENGTHS: Final = struct.Struct(">II")
MAX_FROM_WORKER: Final = 256 * 1024
MAX_FROM_SERVER: Final = 256 * 1024 * 1024  # one resource may be large; the server is believed


@dataclass(frozen=True, slots=True)
class Renew:
    """Make a key, ask for a certificate."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The certificate for the key that was made last: PEM, leaf first; and whom to believe."""

    roots: str
    chain: bytes


@dataclass(frozen=True, slots=True)
class Shelve:
    """From now on `number` is this resource."""

    number: int
    type_url: str
    name: str
    version: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Drop:
    """No stream here holds these any more."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """The stream should hold these; types that are not named stay. The first admits the stream. `count` grows by one."""

    stream: int
    count: int
    changed: dict[str, tuple[int, ...]]
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """`refusal` is the name of a gRPC status."""

    stream: int
    refusal: str
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    stream: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ping:
    pass


@dataclass(frozen=True, slots=True)
class Asked:
    """DER."""

    csr: bytes


@dataclass(frozen=True, slots=True)
class Listening:
    """`landlock`: the version of the kernel's confinement it is under; 0: none."""

    landlock: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """New handshakes present and believe what the last Identity said."""


@dataclass(frozen=True, slots=True)
class Open:
    """`chain`: PEM, leaf first, as the handshake proved it to the worker."""

    stream: int
    node_id: str
    user_agent: str
    chain: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Said:
    """`message`: a refusal, in the proxy's words; None: an acknowledgement."""

    stream: int
    type_url: str
    message: str | None


@dataclass(frozen=True, slots=True)
class Settled:
    """The proxy holds what was offered with `count`, but for the types it refused."""

    stream: int
    count: int
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    type_url: str
    responses: int
    size: int


@dataclass(frozen=True, slots=True)
class Closed:
    stream: int


@dataclass(frozen=True, slots=True)
class Pong:
    pass


FromServer = Renew | Identity | Shelve | Drop | Offer | Refuse | End | Ping
FromWorker = Asked | Listening | Renewed | Open | Said | Settled | Sent | Closed | Pong
_KINDS: Final[tuple[type[Any], ...]] = (
    Renew, Identity, Shelve, Drop, Offer, Refuse, End, Ping,
    Asked, Listening, Renewed, Open, Said, Settled, Sent, Closed, Pong,
)  # fmt: skip
_NUMBER: Final = {kind: number for number, kind in enumerate(_KINDS)}
FROM_SERVER: Final = frozenset(_KINDS[:8])
FROM_WORKER: Final = frozenset(_KINDS[8:])


def encode(message: FromServer | FromWorker) -> bytes:
    header: list[Any] = [_NUMBER[type(message)]]
    body = b""
    for name, read in _FIELDS[type(message)]:
        if read is None:
            body = getattr(message, name)
        else:
            header.append(getattr(message, name))
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(body)) + text + body


class Decoder:
    """`feed` it what was read; it answers with the messages that are whole by now."""

    def __init__(self, expected: frozenset[type[Any]], limit: int) -> None:
        self._expected = expected
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterable[Any]:
        """Messages of the expected kinds. Raises: FrameError."""
        self._buffer += data
        position, found = 0, list[Any]()
        while len(self._buffer) - position >= _LENGTHS.size:
            header, body = _LENGTHS.unpack_from(self._buffer, position)
            if header + body > self._limit:
                raise FrameError(f"a frame of {header + body} bytes, at most {self._limit} are read")
            start, end = position + _LENGTHS.size, position + _LENGTHS.size + header + body
            if len(self._buffer) < end:
                break
            text, content = self._buffer[start : start + header], bytes(self._buffer[start + header : end])
            found.append(_decode(bytes(text), content, self._expected))
            position = end
        del self._buffer[:position]
        return found


def _decode(text: bytes, body: bytes, expected: frozenset[type[Any]]) -> Any:
    try:
        header: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError("a frame that is no JSON") from error
    if not isinstance(header, list) or not header:
        raise FrameError("a frame that is no array")
    items = cast("list[Any]", header)
    number = _whole(items[0])
    kind: Any = _KINDS[number] if number < len(_KINDS) else None
    if kind is None or kind not in expected:
        raise FrameError(f"a frame of kind {number}")
    readers = _FIELDS[kind]
    given = iter(items[1:])
    if len(items) - 1 != sum(read is not None for _, read in readers):
        raise FrameError(f"{kind.__name__} has other fields")
    if body and all(read is not None for _, read in readers):
        raise FrameError(f"{kind.__name__} has no bytes")
    return kind(*(body if read is None else read(next(given)) for _, read in readers))


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise FrameError("not a number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise FrameError("not a string")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise FrameError("not a list")
    return cast("list[Any]", value)


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(map(_whole, _list(value)))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _numbers_by_text(value: Any) -> dict[str, tuple[int, ...]]:
    if not isinstance(value, dict):
        raise FrameError("not an object")
    return {key: _numbers(numbers) for key, numbers in cast("dict[str, Any]", value).items()}


# what each field's type is read by; bytes are the frame's second part
_READERS: Final[dict[str, Callable[[Any], Any] | None]] = {
    "int": _whole,
    "str": _text,
    "str | None": _text_or_none,
    "tuple[int, ...]": _numbers,
    "tuple[str, ...]": _texts,
    "dict[str, tuple[int, ...]]": _numbers_by_text,
    "bytes": None,
}
_FIELDS: Final = {kind: [(one.name, _READERS[str(one.type)]) for one in fields(kind)] for kind in _KINDS}
