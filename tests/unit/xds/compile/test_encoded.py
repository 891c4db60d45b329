"""Nodes written as bytes are what the messages would be."""

from __future__ import annotations

from google.protobuf.message import Message

from xds import schema
from xds.compile.encoded import listed, mapped, matcher_of
from xds.compile.keys import Input, Source
from xds.compile.predicates import answer, input_of

M = "xds.type.matcher.v3.Matcher"


def as_message(on_match: bytes) -> Message:
    return schema.decode(f"{M}.OnMatch", on_match)


def test_a_map_is_the_message_it_stands_for() -> None:
    leaf, other, end = answer("n/p[0]", "ALLOW"), answer("n/p[1]", "ALLOW"), answer("default-deny", "DENY")
    table = {"b" * 200: leaf, "a": other, "ü": leaf, "": leaf}
    key = input_of(Input(Source.METHOD))
    for kind in ("exact_match_map", "prefix_match_map"):
        tree = schema.new(
            f"{M}.MatcherTree",
            input=schema.decode("xds.core.v3.TypedExtensionConfig", key),
            **{kind: {"map": {name: as_message(value) for name, value in table.items()}}},
        )
        whole = schema.new(M, matcher_tree=tree, on_no_match=as_message(end))
        found = mapped(key, kind, table, end)
        assert as_message(found) == schema.new(f"{M}.OnMatch", matcher=whole)
        assert schema.encode(matcher_of(found)) == schema.encode(whole)


def test_a_list_is_the_message_it_stands_for() -> None:
    predicate = schema.new(
        f"{M}.MatcherList.Predicate",
        single_predicate={
            "input": schema.decode("xds.core.v3.TypedExtensionConfig", input_of(Input(Source.HOST))),
            "value_match": {"suffix": ".shop"},
        },
    )
    leaf = answer("n/p[0]", "DENY")
    entry = {"predicate": predicate, "on_match": as_message(leaf)}
    whole = schema.new(M, matcher_list={"matchers": [entry, entry]})
    encoded = (schema.encode(predicate), leaf)
    assert matcher_of(listed([encoded, encoded], None)) == whole
