"""Texts for every way a set of patterns can match: one for each combination that some text meets.

A pattern is a sequence of characters and wildcards. All patterns are run side by side over a growing text, as
automata; a set of positions that was met before is not gone into again, so the walk ends and misses nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

MAX_STATES: Final = 200_000


class Wild(Enum):
    """`ONE` is a character, `MANY` any number of them; of a segment: without a slash."""

    ONE = "any character"
    MANY = "any text"
    ONE_IN_SEGMENT = "any character but /"
    MANY_IN_SEGMENT = "any text without /"


Pattern = tuple["str | Wild", ...]  # a str is one character
SOME: Final[Pattern] = (Wild.ONE, Wild.MANY)
SEGMENT: Final[Pattern] = (Wild.ONE_IN_SEGMENT, Wild.MANY_IN_SEGMENT)

_FRESH: Final = "xzqwyjkvuhgfdsptnmlrbcaoie0123456789XZQ-_~"


class TooManyError(Exception):
    """The patterns can be met in more ways than can be looked at."""


@dataclass(frozen=True, slots=True)
class Alphabet:
    """What a text may be: `state` after each character, None where it may not stand; `ends` where it may end.

    Characters are compared as `fold` gives them.
    """

    start: Hashable = ""
    step: Callable[[Hashable, str], Hashable | None] = lambda state, character: state
    ends: Callable[[Hashable], bool] = lambda state: True
    fold: Callable[[str], str] = str


ANY_TEXT: Final = Alphabet()


def representatives(patterns: Sequence[Pattern], alphabet: Alphabet = ANY_TEXT) -> list[str]:
    """A text for each set of patterns that one text matches, all of them and nothing else; shortest first.

    Raises: TooManyError.
    """
    return list(_walk(dict.fromkeys(patterns), alphabet))


def literal(text: str) -> Pattern:
    return tuple(text)


def split_literal(text: str, wildcards: dict[str, Pattern]) -> Pattern:
    """`text` with each word of `wildcards` replaced by what it stands for; longer words first."""
    if not text:
        return ()
    for word in sorted(wildcards, key=len, reverse=True):
        before, found, after = text.partition(word)
        if found:
            return (*split_literal(before, wildcards), *wildcards[word], *split_literal(after, wildcards))
    return literal(text)


def fresh_character(patterns: Iterable[Pattern], fold: Callable[[str], str]) -> str:
    """A character that stands in no pattern."""
    used = {fold(part) for pattern in patterns for part in pattern if isinstance(part, str)}
    found = next((c for c in _FRESH if fold(c) not in used), None)
    return found or next(
        c for c in map(chr, range(0x100, 0x10000)) if c.isprintable() and fold(c) not in used
    )


_Position = tuple[int, int]  # which pattern, how far


def _walk(wanted: dict[Pattern, None], alphabet: Alphabet) -> Iterator[str]:
    patterns = list(wanted)
    other = fresh_character(patterns, alphabet.fold)
    start = _closed(patterns, ((index, 0) for index in range(len(patterns))))
    queue = deque([("", start, alphabet.start)])
    seen = {(start, alphabet.start)}
    met = set[frozenset[int]]()
    while queue:
        text, positions, state = queue.popleft()
        matched = frozenset(p for p, at in positions if at == len(patterns[p]))
        if matched not in met and alphabet.ends(state):
            met.add(matched)
            yield text
        for character in _characters(patterns, positions, other):
            after = alphabet.step(state, character)
            if after is None:
                continue
            reached = _closed(patterns, _moved(patterns, positions, character, alphabet.fold))
            if (reached, after) not in seen:
                seen.add((reached, after))
                queue.append((text + character, reached, after))
        if len(seen) > MAX_STATES:
            raise TooManyError(f"more than {MAX_STATES} states")


def _characters(patterns: list[Pattern], positions: frozenset[_Position], other: str) -> list[str]:
    """One for each way to go on: what patterns wait for, a slash, and one that none waits for."""
    waiting = {
        part for p, at in positions if at < len(patterns[p]) and isinstance(part := patterns[p][at], str)
    }
    return [other, *sorted(waiting - {"/"}), "/"]


def _moved(
    patterns: list[Pattern], positions: frozenset[_Position], character: str, fold: Callable[[str], str]
) -> Iterator[_Position]:
    folded = fold(character)
    for pattern, at in positions:
        if at == len(patterns[pattern]):
            continue
        match patterns[pattern][at]:
            case Wild.ONE:
                yield pattern, at + 1
            case Wild.MANY:
                yield pattern, at
            case Wild.ONE_IN_SEGMENT:
                if character != "/":
                    yield pattern, at + 1
            case Wild.MANY_IN_SEGMENT:
                if character != "/":
                    yield pattern, at
            case str() as wanted:
                if fold(wanted) == folded:
                    yield pattern, at + 1


def _closed(patterns: list[Pattern], positions: Iterable[_Position]) -> frozenset[_Position]:
    """With the positions behind wildcards that may stand for nothing."""
    found = set[_Position]()
    for pattern, at in positions:
        found.add((pattern, at))
        parts = patterns[pattern]
        while at < len(parts) and parts[at] in (Wild.MANY, Wild.MANY_IN_SEGMENT):
            at += 1
            found.add((pattern, at))
    return frozenset(found)


_Of = TypeVar("_Of")


def unions(sets: Iterable[frozenset[_Of]], limit: int = 4096) -> list[tuple[frozenset[_Of], tuple[int, ...]]]:
    """Every union of some of `sets`, each with the indexes of sets that give it; the empty one first.

    Raises: TooManyError.
    """
    found: dict[frozenset[_Of], tuple[int, ...]] = {frozenset(): ()}
    for index, one in enumerate(sets):
        for union, of in list(found.items()):
            found.setdefault(union | one, (*of, index))
        if len(found) > limit:
            raise TooManyError(f"more than {limit} combinations")
    return list(found.items())
