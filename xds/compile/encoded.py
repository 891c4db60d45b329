"""Matcher nodes as bytes: a branch that thousands of keys share is encoded once and put in by length.

Building them as messages would copy each branch into each parent, level by level; as bytes a node costs what is
new in it. What is built is read back as a message by whoever takes it. Source: xds.type.matcher.v3.Matcher
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.message import Message

from xds.schema import decode
from xds.schema.wire import field, tag, tagged, varint

OnMatch = bytes  # an encoded Matcher.OnMatch

_M: Final = "xds.type.matcher.v3.Matcher"
_KEY, _VALUE = 1, 2  # of every map entry


def mapped(input_: bytes, kind: str, table: Mapping[str, OnMatch], otherwise: OnMatch | None) -> OnMatch:
    """`input_`: an encoded TypedExtensionConfig; `kind`: exact_match_map or prefix_match_map."""
    entry = tag(f"{_M}.MatcherTree.MatchMap", "map")
    values = {id(value): field(tagged(_VALUE), value) for value in table.values()}
    parts: list[bytes] = []
    key_tag = tagged(_KEY)
    for key in sorted(table):
        name, value = key.encode(), values[id(table[key])]
        head = key_tag + varint(len(name)) + name
        parts += (entry, varint(len(head) + len(value)), head, value)
    tree = field(tag(f"{_M}.MatcherTree", "input"), input_)
    tree += field(tag(f"{_M}.MatcherTree", kind), b"".join(parts))
    return _node(field(tag(_M, "matcher_tree"), tree), otherwise)


def listed(entries: Iterable[tuple[bytes, OnMatch]], otherwise: OnMatch | None) -> OnMatch:
    """Encoded predicates with what each leads to; the first that holds is taken."""
    matcher = f"{_M}.MatcherList.FieldMatcher"
    predicate, on_match = tag(matcher, "predicate"), tag(matcher, "on_match")
    one = tag(f"{_M}.MatcherList", "matchers")
    found = [field(one, field(predicate, test) + field(on_match, leads_to)) for test, leads_to in entries]
    return _node(field(tag(_M, "matcher_list"), b"".join(found)), otherwise)


def matcher_of(on_match: OnMatch) -> Message:
    """The Matcher inside of an OnMatch that holds one."""
    start = 1  # its tag
    while on_match[start] & 0x80:
        start += 1
    return decode(_M, on_match[start + 1 :])


def _node(body: bytes, otherwise: OnMatch | None) -> OnMatch:
    if otherwise is not None:
        body += field(tag(_M, "on_no_match"), otherwise)
    return field(tag(f"{_M}.OnMatch", "matcher"), body)
