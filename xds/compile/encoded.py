"""Matcher nodes as bytes: a branch that thousands of keys share is encoded once and put in by length.

Building them as messages would copy each branch into each parent, level by level; as bytes a node costs what is
new in it. The numbers of fields come from the schema, and what is built is read back as a message by whoever
takes it. Source: https://protobuf.dev/programming-guides/encoding; xds.type.matcher.v3.Matcher
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from google.protobuf.message import Message

from xds.schema import decode, message_class

OnMatch = bytes  # an encoded Matcher.OnMatch

_M: Final = "xds.type.matcher.v3.Matcher"
_LENGTH_DELIMITED: Final = 2
_KEY, _VALUE = 1, 2  # of every map entry


def mapped(input_: bytes, kind: str, table: Mapping[str, OnMatch], otherwise: OnMatch | None) -> OnMatch:
    """`input_`: an encoded TypedExtensionConfig; `kind`: exact_match_map or prefix_match_map."""
    entry = _tag(f"{_M}.MatcherTree.MatchMap", "map")
    values = {id(value): _field(_tagged(_VALUE), value) for value in table.values()}
    parts: list[bytes] = []
    key_tag = _tagged(_KEY)
    for key in sorted(table):
        name, value = key.encode(), values[id(table[key])]
        head = key_tag + _length(len(name)) + name
        parts += (entry, _length(len(head) + len(value)), head, value)
    tree = _field(_tag(f"{_M}.MatcherTree", "input"), input_)
    tree += _field(_tag(f"{_M}.MatcherTree", kind), b"".join(parts))
    return _node(_field(_tag(_M, "matcher_tree"), tree), otherwise)


def listed(entries: Iterable[tuple[bytes, OnMatch]], otherwise: OnMatch | None) -> OnMatch:
    """Encoded predicates with what each leads to; the first that holds is taken."""
    matcher = f"{_M}.MatcherList.FieldMatcher"
    predicate, on_match = _tag(matcher, "predicate"), _tag(matcher, "on_match")
    one = _tag(f"{_M}.MatcherList", "matchers")
    found = [_field(one, _field(predicate, test) + _field(on_match, leads_to)) for test, leads_to in entries]
    return _node(_field(_tag(_M, "matcher_list"), b"".join(found)), otherwise)


def matcher_of(on_match: OnMatch) -> Message:
    """The Matcher inside of an OnMatch that holds one."""
    start = 1  # its tag
    while on_match[start] & 0x80:
        start += 1
    return decode(_M, on_match[start + 1 :])


def _node(body: bytes, otherwise: OnMatch | None) -> OnMatch:
    if otherwise is not None:
        body += _field(_tag(_M, "on_no_match"), otherwise)
    return _field(_tag(f"{_M}.OnMatch", "matcher"), body)


def _field(tag: bytes, payload: bytes) -> bytes:
    return tag + _length(len(payload)) + payload


@cache
def _tag(full_name: str, field: str) -> bytes:
    return _tagged(message_class(full_name).DESCRIPTOR.fields_by_name[field].number)


@cache
def _tagged(number: int) -> bytes:
    return _length(number << 3 | _LENGTH_DELIMITED)


def _length(value: int) -> bytes:
    """A varint."""
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
