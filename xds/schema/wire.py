"""protobuf's encoding, for messages that are put together from parts that are encoded already.

Only what has a length: strings, bytes and messages. The numbers of fields come from the schema.
Source: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from functools import cache
from typing import Final

from xds.schema import message_class

_LENGTH_DELIMITED: Final = 2


def field(tag: bytes, payload: bytes) -> bytes:
    return tag + varint(len(payload)) + payload


@cache
def tag(full_name: str, name: str) -> bytes:
    """Of a field of a message."""
    return tagged(message_class(full_name).DESCRIPTOR.fields_by_name[name].number)


@cache
def tagged(number: int) -> bytes:
    return varint(number << 3 | _LENGTH_DELIMITED)


def varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
