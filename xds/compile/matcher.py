"""A DecisionProgram as one matcher tree whose cost does not grow with the number of rules.

    a clause without tests left            -> its action: it answers everything
    the first input some clause can map on -> exact map, else prefix map, else the other clauses
    no clause can be mapped                -> a list of predicates

A nested matcher that finds nothing falls through to the next shorter prefix and to the else branch, so no
clause is ever copied into a branch it does not constrain; only the end of the else chain answers by default.
Before all of them stand the revoked. The DENY tree's last else is the ALLOW tree: one resource, one atomic edit,
every decision named.
Source: docs/adr/0005-authorization-by-matcher.md; xds.type.matcher.v3.Matcher
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from google.protobuf.message import Message

from policies.predicate import Exact, Prefix, Suffix
from policies.program import (
    DEFAULT_ALLOW,
    DEFAULT_DENY,
    MALFORMED_IDENTITY,
    QUARANTINE,
    Action,
    Clause,
    DecisionProgram,
    Revoked,
)
from xds import names
from xds.compile.keys import Form, Input, Range, Regex, Source, Test, translate
from xds.schema import new, pack

_M: Final = "xds.type.matcher.v3.Matcher"
_PREDICATE: Final = f"{_M}.MatcherList.Predicate"
_STRING: Final = "xds.type.matcher.v3.StringMatcher"
_INPUTS: Final = "envoy.extensions.matching.common_inputs.network.v3"

# A clause with k1 callers, k2 paths and k3 methods makes k1*k2*k3 leaves; past this many its
# remaining tests stay predicates at the leaf.
_LEAVES: Final = 512
# every mapped input deepens the message, and protobuf stops at 100 levels
_MAPPED_HEADERS: Final = 4


@dataclass(frozen=True, slots=True)
class _Rule:
    """A clause on its way down the tree: the tests still to be made, the leaves made of it so far."""

    action: Message
    tests: tuple[Test, ...]
    leaves: int = 1


def authorization(program: DecisionProgram, trust_domains: Sequence[str]) -> Message:
    """The complete matcher: malformed identities, the revoked, DENY, ALLOW, default, in this order."""
    default = DEFAULT_DENY if program.allow_applies else DEFAULT_ALLOW
    end = _answer(default, Action.DENY if program.allow_applies else Action.ALLOW)
    allow = _tree(_rules(program.allow, Action.ALLOW, trust_domains), end) if program.allow_applies else end
    deny = _tree(_rules(program.deny, Action.DENY, trust_domains), allow)
    return new(
        _M,
        matcher_list={"matchers": [{"predicate": _two_identities(), "on_match": _malformed()}]},
        on_no_match=_tree(_revoked(program.revoked), deny),
    )


def _malformed() -> Message:
    return _answer(MALFORMED_IDENTITY, Action.DENY)


def _two_identities() -> Message:
    """Several URI SANs are joined by a comma, which no SPIFFE ID can hold."""
    comma = new(_STRING, contains=",")
    single = {"input": _input(Input(Source.PRINCIPAL)), "value_match": comma}
    return new(_PREDICATE, single_predicate=single)


def _rules(clauses: Sequence[Clause], action: Action, trust_domains: Sequence[str]) -> list[_Rule]:
    return [
        _Rule(
            _answer(c.name, action), tuple(translate(condition, trust_domains) for condition in c.conditions)
        )
        for c in clauses
    ]


def _revoked(revoked: Revoked) -> list[_Rule]:
    action = _answer(QUARANTINE, Action.DENY)
    identities = tuple(Exact(f"spiffe://{principal}") for principal in sorted(revoked.principals))
    serials = tuple(Exact(serial) for serial in sorted(revoked.serials))
    found = ((Source.PRINCIPAL, identities), (Source.SERIAL, serials))
    return [_Rule(action, (Test(Input(source), forms, negated=False),)) for source, forms in found if forms]


def _answer(name: str, action: Action) -> Message:
    """An OnMatch that ends the evaluation; RBAC reports `name`."""
    body = new("envoy.config.rbac.v3.Action", name=name, action=action.value)
    return new(f"{_M}.OnMatch", action={"name": "rbac", "typed_config": pack(body)})


def _tree(rules: Sequence[_Rule], otherwise: Message | None) -> Message:
    """An OnMatch for `rules`, then `otherwise`. Needs one of the two."""
    done = next((rule for rule in rules if not rule.tests), None)
    if done is not None:
        return done.action
    if not rules:
        if otherwise is None:
            raise ValueError("a branch without rules and without an end")
        return otherwise
    key = _best_input(rules)
    if key is None:
        return _list(rules, otherwise)
    mapped = [(rule, test) for rule in rules if (test := _test_on(rule, key)) is not None]
    taken = {id(rule) for rule, _ in mapped}
    rest = [rule for rule in rules if id(rule) not in taken]
    behind = _tree(rest, otherwise) if rest or otherwise is not None else None
    exact, prefix = _branches(mapped)
    chain = _map(key, "prefix_match_map", prefix, behind) if prefix else behind
    return _map(key, "exact_match_map", exact, chain) if exact else _present(chain)


def _present(branch: Message | None) -> Message:
    if branch is None:
        raise ValueError("a mapped rule that made no branch")
    return branch


def _best_input(rules: Sequence[_Rule]) -> Input | None:
    """The input most rules can be mapped on; the table's order decides between equals."""
    votes: dict[Input, int] = {}
    for rule in rules:
        for key in {test.input for test in rule.tests if _may_map(rule, test)}:
            votes[key] = votes.get(key, 0) + 1
    headers = sorted(key for key in votes if key.source is Source.HEADER)
    for header in headers[_MAPPED_HEADERS:]:
        del votes[header]
    return min(votes, key=lambda key: (key.source, -votes[key], key.header), default=None)


def _may_map(rule: _Rule, test: Test) -> bool:
    return test.is_mappable and rule.leaves * len(test.forms) <= max(_LEAVES, len(test.forms))


def _test_on(rule: _Rule, key: Input) -> Test | None:
    return next((test for test in rule.tests if test.input == key and _may_map(rule, test)), None)


def _branches(mapped: Sequence[tuple[_Rule, Test]]) -> tuple[dict[str, list[_Rule]], dict[str, list[_Rule]]]:
    exact: dict[str, list[_Rule]] = {}
    prefix: dict[str, list[_Rule]] = {}
    for rule, test in mapped:
        left = tuple(other for other in rule.tests if other is not test)
        branch = _Rule(rule.action, left, rule.leaves * len(test.forms))
        for form in test.forms:
            match form:
                case Exact(text):
                    exact.setdefault(text, []).append(branch)
                case Prefix(text):
                    prefix.setdefault(text, []).append(branch)
                case Suffix() | Regex() | Range():
                    raise ValueError("only exact values and prefixes are mapped")
                case _:
                    assert_never(form)
    return exact, prefix


def _map(key: Input, kind: str, branches: dict[str, list[_Rule]], otherwise: Message | None) -> Message:
    # values of one rule share their branch: build it once
    built: dict[tuple[int, ...], Message] = {}
    table: dict[str, Message] = {}
    for text, rules in branches.items():
        same = tuple(map(id, rules))
        if same not in built:
            built[same] = _tree(rules, None)
        table[text] = built[same]
    tree = new(f"{_M}.MatcherTree", input=_input(key), **{kind: {"map": table}})
    return _on_match(new(_M, matcher_tree=tree), otherwise)


def _list(rules: Sequence[_Rule], otherwise: Message | None) -> Message:
    matchers = [{"predicate": _all(rule.tests), "on_match": rule.action} for rule in rules]
    return _on_match(new(_M, matcher_list={"matchers": matchers}), otherwise)


def _on_match(matcher: Message, otherwise: Message | None) -> Message:
    if otherwise is not None:
        matcher.on_no_match.CopyFrom(otherwise)  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType] - upb's fields have no static types
    return new(f"{_M}.OnMatch", matcher=matcher)


def _all(tests: Sequence[Test]) -> Message:
    return _combine("and_matcher", [_predicate(test) for test in tests])


def _predicate(test: Test) -> Message:
    ranges = [form for form in test.forms if isinstance(form, Range)]
    singles = [_single(test.input, form) for form in test.forms if not isinstance(form, Range)]
    if ranges:
        singles.append(_in_networks(test.input, ranges))
    any_of = _combine("or_matcher", singles)
    return new(_PREDICATE, not_matcher=any_of) if test.negated else any_of


def _combine(kind: str, predicates: Sequence[Message]) -> Message:
    """Envoy refuses an and/or of one."""
    if len(predicates) == 1:
        return predicates[0]
    return new(_PREDICATE, **{kind: {"predicate": list(predicates)}})


def _single(key: Input, form: Form) -> Message:
    value = _string(form, fold_case=key.source is Source.HOST)
    return new(_PREDICATE, single_predicate={"input": _input(key), "value_match": value})


def _string(form: Form, *, fold_case: bool) -> Message:
    case: dict[str, object] = {"ignore_case": True} if fold_case else {}
    match form:
        case Exact(text):
            fields: dict[str, object] = {"exact": text, **case}
        case Prefix(text):
            fields = {"prefix": text, **case}
        case Suffix(text):
            fields = {"suffix": text, **case}
        case Regex(pattern):
            fields = {"safe_regex": {"google_re2": {}, "regex": pattern}}
        case Range():
            raise ValueError("a network is no string")
        case _:
            assert_never(form)
    return new(_STRING, **fields)


def _in_networks(key: Input, ranges: Sequence[Range]) -> Message:
    cidrs = [
        {"address_prefix": str(r.network.network_address), "prefix_len": {"value": r.network.prefixlen}}
        for r in ranges
    ]
    ip = new("envoy.extensions.matching.input_matchers.ip.v3.Ip", cidr_ranges=cidrs, stat_prefix="ip")
    single = {"input": _input(key), "custom_match": {"name": "ip", "typed_config": pack(ip)}}
    return new(_PREDICATE, single_predicate=single)


def _input(key: Input) -> Message:
    return new("xds.core.v3.TypedExtensionConfig", name="in", typed_config=pack(_INPUT[key.source](key)))


def _filter_state(state_key: str) -> Callable[[Input], Message]:
    return lambda _: new(f"{_INPUTS}.FilterStateInput", key=state_key)


def _header(name: str) -> Message:
    return new("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)


_INPUT: Final[dict[Source, Callable[[Input], Message]]] = {
    Source.PRINCIPAL: _filter_state(names.PRINCIPAL_KEY),
    Source.PATH: _filter_state(names.PATH_KEY),
    Source.METHOD: lambda _: _header(":method"),
    Source.HEADER: lambda key: _header(key.header),
    Source.HOST: lambda _: _header(":authority"),
    Source.SERIAL: _filter_state(names.SERIAL_KEY),
    Source.SOURCE_IP: lambda _: new(f"{_INPUTS}.DirectSourceIPInput"),
}
