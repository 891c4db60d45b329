"""Every combination of matches that some text has is met: checked against all short texts."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.pattern import (
    SEGMENT,
    SOME,
    Alphabet,
    Pattern,
    TooManyError,
    Wild,
    literal,
    representatives,
    split_literal,
    unions,
)

PARTS = st.lists(st.sampled_from(["a", "b", "/", *Wild]), max_size=4).map(tuple)


def regex(pattern: Pattern) -> str:
    wild = {Wild.ONE: ".", Wild.MANY: ".*", Wild.ONE_IN_SEGMENT: "[^/]", Wild.MANY_IN_SEGMENT: "[^/]*"}
    return "".join(wild[part] if isinstance(part, Wild) else re.escape(part) for part in pattern)


def matched(patterns: list[Pattern], text: str) -> tuple[bool, ...]:
    return tuple(re.fullmatch(regex(pattern), text) is not None for pattern in patterns)


@settings(max_examples=150, deadline=None)
@given(st.lists(PARTS, max_size=3))
def test_nothing_that_a_short_text_does_is_missed(patterns: list[Pattern]) -> None:
    met = {matched(patterns, text) for text in representatives(patterns)}
    tried = {
        matched(patterns, "".join(letters)) for size in range(6) for letters in product("ab/x", repeat=size)
    }
    assert tried <= met


def test_prefix_suffix_and_exact() -> None:
    found = representatives([(*literal("ab"), Wild.MANY), (Wild.MANY, *literal("bc")), literal("abc"), SOME])
    assert {"", "x", "ab", "abc", "bc"} <= set(found)
    assert any(text.startswith("ab") and text.endswith("bc") and text != "abc" for text in found)
    assert len(found) == 6


def test_what_the_alphabet_forbids_is_not_given() -> None:
    def step(state: object, character: str) -> object | None:
        return None if state == character == "/" else character

    found = representatives([(*literal("/"), Wild.MANY, *literal("/c"))], Alphabet(step=step))
    assert all("//" not in text for text in found)
    assert any(re.fullmatch("/.*/c", text) for text in found)


def test_case_does_not_count_where_it_is_folded() -> None:
    assert set(representatives([literal("A"), literal("a")], Alphabet(fold=str.lower))) == {"", "A"}


def test_words_stand_for_patterns() -> None:
    wildcards = {"{*}": SEGMENT, "{**}": (Wild.MANY,)}
    assert split_literal("/a/{*}/{**}", wildcards) == ("/", "a", "/", *SEGMENT, "/", Wild.MANY)


def test_unions() -> None:
    found = dict(unions([frozenset("a"), frozenset("b"), frozenset("a")]))
    assert found == {frozenset(): (), frozenset("a"): (0,), frozenset("b"): (1,), frozenset("ab"): (0, 1)}
    with pytest.raises(TooManyError):
        unions((frozenset({i}) for i in range(20)), limit=100)
