"""A DecisionProgram as one matcher tree whose cost does not grow with the number of rules.

    a clause without tests left              -> its action: it answers everything
    the input most clauses can be mapped on  -> exact map, else prefix map, else the other clauses
    no clause can be mapped                  -> a list of predicates

A nested matcher that finds nothing falls through to the next shorter prefix and to the else branch, so no
clause is ever copied into a branch it does not constrain; only the end of the else chain answers by default.
Where nothing can follow, a miss is named by the level that failed. Before all of them stand the revoked; the
DENY tree's last else is the ALLOW tree: one resource, one atomic edit, every decision named.
Source: docs/adr/0005-authorization-by-matcher.md; xds.type.matcher.v3.Matcher
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final, assert_never

from google.protobuf.message import Message

from policies.predicate import Exact, Prefix, Present, Suffix
from policies.program import (
    DEFAULT_ALLOW,
    DEFAULT_DENY,
    MALFORMED_IDENTITY,
    QUARANTINE,
    Clause,
    DecisionProgram,
    Revoked,
)
from xds.compile.encoded import OnMatch, listed, mapped, matcher_of
from xds.compile.keys import (
    Check,
    Input,
    MetadataTest,
    PrincipalTest,
    Range,
    Regex,
    Source,
    Test,
    sources,
    translate,
)
from xds.compile.predicates import answer, everything, input_of
from xds.schema import decode, encode, new

_M: Final = "xds.type.matcher.v3.Matcher"

# A clause with k1 callers, k2 paths and k3 methods makes k1*k2*k3 leaves; past this many its
# remaining tests stay predicates at the leaf.
_LEAVES: Final = 512
# Protobuf stops at 100 levels of messages. How many a tree may take, and what its steps cost at most.
_ROOM: Final = 56
_LEAF: Final = 18  # a list of predicates
_BRANCH: Final = 6  # from a map to what stands in it
_ELSE: Final = 4  # past an exact map and a prefix map


@dataclass(frozen=True, slots=True)
class _Rule:
    """A clause on its way down the tree: the tests still to be made, the leaves made of it so far."""

    name: str
    action: OnMatch
    tests: tuple[Check, ...]
    leaves: int = 1


@dataclass(frozen=True, slots=True)
class _Miss:
    """What a branch answers when it holds the only rules left: names for a miss by the level that failed."""

    def at(self, rules: Sequence[_Rule], level: str) -> OnMatch:
        rule_names = {rule.name for rule in rules}
        known = f":{rule_names.pop()}" if len(rule_names) == 1 else ""
        return answer(f"{DEFAULT_DENY}{known}:{level}", "DENY")


def authorization(program: DecisionProgram, trust_domains: Sequence[str]) -> Message:
    """The complete matcher: malformed identities, the revoked, DENY, ALLOW, default, in this order."""
    if program.allow_applies:
        end = answer(DEFAULT_DENY, "DENY")
        allow = _tree(_rules(program.allow, "ALLOW", trust_domains), end, _Miss())
    else:
        allow = answer(DEFAULT_ALLOW, "ALLOW")
    deny = _tree(_rules(program.deny, "DENY", trust_domains), allow, None)
    behind = _tree(_revoked(program.revoked), deny, None)
    malformed = (_two_identities(), answer(MALFORMED_IDENTITY, "DENY"))
    return matcher_of(listed([malformed], behind))


def verdict(
    clauses: Sequence[Clause], trust_domains: Sequence[str], *, matched: str, otherwise: tuple[str, str]
) -> Message:
    """A matcher of some clauses on their own. `matched`: their action; `otherwise`: name and action of a miss."""
    branch = _tree(_rules(clauses, matched, trust_domains), answer(*otherwise), None)
    # a matcher needs a list or a tree on top
    malformed = (_two_identities(), answer(MALFORMED_IDENTITY, otherwise[1]))
    return matcher_of(listed([malformed], branch))


def inputs(clauses: Sequence[Clause]) -> set[Source]:
    """Every place the tree of these clauses looks at that a filter has to fill before."""
    keys = {condition.key.attribute for clause in clauses for condition in clause.conditions}
    return {source for attribute in keys for source in sources(attribute)}


@cache
def _two_identities() -> bytes:
    """Several URI SANs are joined by a comma, which no SPIFFE ID can hold."""
    comma = new("xds.type.matcher.v3.StringMatcher", contains=",")
    single = {
        "input": decode("xds.core.v3.TypedExtensionConfig", input_of(Input(Source.PRINCIPAL))),
        "value_match": comma,
    }
    return encode(new(f"{_M}.MatcherList.Predicate", single_predicate=single))


def _rules(clauses: Sequence[Clause], action: str, trust_domains: Sequence[str]) -> list[_Rule]:
    return [
        _Rule(clause.name, leaf, tests)
        for clause in clauses
        for leaf in (answer(clause.name, action),)
        for tests in _alternatives(tuple(translate(c, trust_domains) for c in clause.conditions))
    ]


def _revoked(revoked: Revoked) -> list[_Rule]:
    action = answer(QUARANTINE, "DENY")
    identities = tuple(Exact(f"spiffe://{principal}") for principal in sorted(revoked.principals))
    serials = tuple(Exact(serial) for serial in sorted(revoked.serials))
    found = ((Source.PRINCIPAL, identities), (Source.SERIAL, serials))
    return [_Rule(QUARANTINE, action, (Test(Input(source), forms),)) for source, forms in found if forms]


def _alternatives(tests: tuple[Check, ...]) -> Iterator[tuple[Check, ...]]:
    """A rule for each (issuer, subject) pair, so that both can be keys of maps; unless they are too many."""
    split = [check for check in tests if isinstance(check, PrincipalTest) and not check.negated]
    count = 1
    for check in split:
        count *= len(check.pairs)
    if not split or count > _LEAVES:
        yield tests
        return
    kept = tuple(check for check in tests if check not in split)
    for chosen in product(*(check.pairs for check in split)):
        yield (*kept, *(test for pair in chosen for test in pair))


def _tree(
    rules: Sequence[_Rule], otherwise: OnMatch | None, miss: _Miss | None, room: int = _ROOM
) -> OnMatch:
    """An OnMatch for `rules`, then `otherwise`. Needs one of the two.

    `miss` is given where nothing behind this node can match any more; `room`: levels of messages left.
    """
    done = next((rule for rule in rules if not rule.tests), None)
    if done is not None:
        return done.action
    if not rules:
        if otherwise is None:
            raise ValueError("a branch without rules and without an end")
        return otherwise
    key = _best_input(rules) if room >= _ELSE + _BRANCH + _LEAF else None
    if key is None:
        if otherwise is None and miss is not None:
            otherwise = miss.at(rules, _words(rules))
        return _list(rules, otherwise)
    mapped = [(rule, test) for rule in rules if (test := _test_on(rule, key)) is not None]
    taken = {id(rule) for rule, _ in mapped}
    rest = [rule for rule in rules if id(rule) not in taken]
    exact, prefix = _branches(mapped)
    last = None if rest or (exact and prefix) or len(prefix) > 1 else miss
    if last is not None:
        otherwise = last.at(rules, key.word)
    behind = None
    if rest or otherwise is not None:
        behind = _tree(rest, otherwise, miss, room - _ELSE)
    following = _map(key, "prefix_match_map", prefix, behind, last, room - _BRANCH) if prefix else behind
    return (
        _map(key, "exact_match_map", exact, following, last, room - _BRANCH) if exact else _present(following)
    )


def _words(rules: Sequence[_Rule]) -> str:
    """The level of a list of predicates: what the rules look at there."""
    found = dict.fromkeys(_word(check) for rule in rules for check in rule.tests)
    return " or ".join(found) if len(found) <= 3 else "conditions"


def _word(check: Check) -> str:
    match check:
        case Test():
            return check.input.word
        case PrincipalTest():
            return "request principal"
        case MetadataTest():
            return ".".join(check.path)
        case _:
            assert_never(check)


def _present(branch: OnMatch | None) -> OnMatch:
    if branch is None:
        raise ValueError("a mapped rule that made no branch")
    return branch


def _best_input(rules: Sequence[_Rule]) -> Input | None:
    """The input most rules can be mapped on; the order of `Source` decides between equals."""
    if len(rules) == 1:
        rule = rules[0]
        found = [t.input for t in rule.tests if isinstance(t, Test) and _may_map(rule, t)]
        return min(found, default=None)
    votes: dict[Input, int] = {}
    for rule in rules:
        for key in {test.input for test in rule.tests if isinstance(test, Test) and _may_map(rule, test)}:
            votes[key] = votes.get(key, 0) + 1
    return min(votes, key=lambda key: (-votes[key], key.source, key.header), default=None)


def _may_map(rule: _Rule, test: Test) -> bool:
    return test.is_mappable and rule.leaves * len(test.forms) <= max(_LEAVES, len(test.forms))


def _test_on(rule: _Rule, key: Input) -> Test | None:
    found = (test for test in rule.tests if isinstance(test, Test) and test.input == key)
    return next((test for test in found if _may_map(rule, test)), None)


def _branches(mapped: Sequence[tuple[_Rule, Test]]) -> tuple[dict[str, list[_Rule]], dict[str, list[_Rule]]]:
    exact: dict[str, list[_Rule]] = {}
    prefix: dict[str, list[_Rule]] = {}
    for rule, test in mapped:
        left = tuple(other for other in rule.tests if other is not test)
        branch = _Rule(rule.name, rule.action, left, rule.leaves * len(test.forms))
        alone = [branch]
        for form in test.forms:
            match form:
                case Exact(text):
                    table = exact
                case Prefix(text):
                    table = prefix
                case Present():
                    table, text = prefix, ""
                case Suffix() | Regex() | Range():
                    raise ValueError("only exact values and prefixes are mapped")
                case _:
                    assert_never(form)
            before = table.get(text)
            table[text] = alone if before is None else [*before, branch]
    return exact, prefix


def _map(
    key: Input,
    kind: str,
    branches: dict[str, list[_Rule]],
    otherwise: OnMatch | None,
    miss: _Miss | None,
    room: int,
) -> OnMatch:
    # values of one rule share their branch: build it once
    built: dict[int | tuple[int, ...], OnMatch] = {}
    table: dict[str, OnMatch] = {}
    for text, rules in branches.items():
        same = id(rules[0]) if len(rules) == 1 else tuple(map(id, rules))
        if same not in built:
            built[same] = _tree(rules, None, miss, room)
        table[text] = built[same]
    return mapped(input_of(key), kind, table, otherwise)


def _list(rules: Sequence[_Rule], otherwise: OnMatch | None) -> OnMatch:
    return listed([(encode(everything(rule.tests)), rule.action) for rule in rules], otherwise)
