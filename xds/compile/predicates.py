"""Checks as predicates, inputs and answers: the leaves of a matcher tree in Envoy's messages.

Envoy refuses an and/or of one, an empty prefix in a predicate, a regex without an engine, and names without
text; nothing here makes them. Dynamic metadata is only ever matched by the metadata matcher: any other way
loads and never matches. Source: xds.type.matcher.v3.Matcher; docs/adr/0005-authorization-by-matcher.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, assert_never

from google.protobuf.message import Message

from policies.predicate import Exact, Listed, Prefix, Present, Suffix, Text
from xds import names
from xds.compile.keys import Check, Form, Input, MetadataTest, PrincipalTest, Range, Regex, Source, Test
from xds.schema import encode, new, pack

_M: Final = "xds.type.matcher.v3.Matcher"
_PREDICATE: Final = f"{_M}.MatcherList.Predicate"
_STRING: Final = "xds.type.matcher.v3.StringMatcher"
_ENVOY_STRING: Final = "envoy.type.matcher.v3.StringMatcher"
_VALUE: Final = "envoy.type.matcher.v3.ValueMatcher"
_INPUTS: Final = "envoy.extensions.matching.common_inputs.network.v3"


def answer(name: str, action: str) -> bytes:
    """An encoded OnMatch that ends the evaluation; RBAC reports `name`. `action`: ALLOW, DENY or LOG."""
    body = new("envoy.config.rbac.v3.Action", name=name, action=action)
    return encode(new(f"{_M}.OnMatch", action={"name": "rbac", "typed_config": pack(body)}))


def everything(checks: Sequence[Check]) -> Message:
    """All of them. There is at least one."""
    return combine("and_matcher", [one(check) for check in checks])


def one(check: Check) -> Message:
    match check:
        case Test():
            any_of = _any_form(check)
        case MetadataTest():
            any_of = _metadata(check)
        case PrincipalTest():
            any_of = combine("or_matcher", [everything(pair) for pair in check.pairs])
        case _:
            assert_never(check)
    return new(_PREDICATE, not_matcher=any_of) if check.negated else any_of


def combine(kind: str, predicates: Sequence[Message]) -> Message:
    """Envoy refuses an and/or of one."""
    if len(predicates) == 1:
        return predicates[0]
    return new(_PREDICATE, **{kind: {"predicate": list(predicates)}})


@lru_cache(maxsize=1024)
def input_of(key: Input) -> bytes:
    """An encoded TypedExtensionConfig."""
    return encode(_input(key))


@lru_cache(maxsize=1024)
def _input(key: Input) -> Message:
    return new("xds.core.v3.TypedExtensionConfig", name="in", typed_config=pack(_INPUT[key.source](key)))


def _any_form(test: Test) -> Message:
    ranges = [form for form in test.forms if isinstance(form, Range)]
    singles = [_single(test.input, form) for form in test.forms if not isinstance(form, Range)]
    if ranges:
        singles.append(_in_networks(test.input, ranges))
    return combine("or_matcher", singles)


def _single(key: Input, form: Form) -> Message:
    value = new(_STRING, **_string(form, may_be_empty=key.source is Source.HEADER))
    return new(_PREDICATE, single_predicate={"input": _input(key), "value_match": value})


def _string(form: Form, *, may_be_empty: bool = False) -> dict[str, object]:
    match form:
        case Exact(text):
            return {"exact": text}
        case Prefix(text):
            return {"prefix": text}
        case Suffix(text):
            return {"suffix": text}
        case Present():
            # a header counts as present even when it is empty; anything else has to have a value
            return {"safe_regex": {"google_re2": {}, "regex": ".*" if may_be_empty else ".+"}}
        case Regex(pattern):
            return {"safe_regex": {"google_re2": {}, "regex": pattern}}
        case Range():
            raise ValueError("a network is no string")
        case _:
            assert_never(form)


def _in_networks(key: Input, ranges: Sequence[Range]) -> Message:
    cidrs = [
        {"address_prefix": str(r.network.network_address), "prefix_len": {"value": r.network.prefixlen}}
        for r in ranges
    ]
    ip = new("envoy.extensions.matching.input_matchers.ip.v3.Ip", cidr_ranges=cidrs, stat_prefix="ip")
    single = {"input": _input(key), "custom_match": {"name": "ip", "typed_config": pack(ip)}}
    return new(_PREDICATE, single_predicate=single)


def _metadata(test: MetadataTest) -> Message:
    where = new(
        f"{_INPUTS}.DynamicMetadataInput", filter=test.filter, path=[{"key": step} for step in test.path]
    )
    matchers = [matcher for value in test.values for matcher in _values(value, test.in_lists)]
    value = matchers[0] if len(matchers) == 1 else new(_VALUE, or_match={"value_matchers": matchers})
    body = new("envoy.extensions.matching.input_matchers.metadata.v3.Metadata", value=value)
    data_input = new("xds.core.v3.TypedExtensionConfig", name="in", typed_config=pack(where))
    single = {"input": data_input, "custom_match": {"name": "metadata", "typed_config": pack(body)}}
    return new(_PREDICATE, single_predicate=single)


def _values(value: Text | Listed, in_lists: bool) -> list[Message]:
    inner = value.text if isinstance(value, Listed) else value
    text = new(_VALUE, string_match=new(_ENVOY_STRING, **_string(inner)))
    listed = new(_VALUE, list_match={"one_of": text})
    if isinstance(value, Listed):
        return [listed]
    return [text, listed] if in_lists else [text]


def _filter_state(state_key: str) -> Callable[[Input], Message]:
    return lambda _: new(f"{_INPUTS}.FilterStateInput", key=state_key)


def _header(name: str) -> Message:
    return new("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)


_INPUT: Final[dict[Source, Callable[[Input], Message]]] = {
    Source.PRINCIPAL: _filter_state(names.PRINCIPAL_KEY),
    Source.ISSUER: _filter_state(names.ISSUER_KEY),
    Source.SUBJECT: _filter_state(names.SUBJECT_KEY),
    Source.PATH: _filter_state(names.PATH_KEY),
    Source.HOST: _filter_state(names.HOST_KEY),
    Source.METHOD: lambda _: _header(":method"),
    # HTTP/1's Host is :authority inside of Envoy
    Source.HEADER: lambda key: _header(":authority" if key.header == "host" else key.header),
    Source.SNI: lambda _: new(f"{_INPUTS}.ServerNameInput"),
    Source.SERIAL: _filter_state(names.SERIAL_KEY),
    Source.SOURCE_IP: lambda _: new(f"{_INPUTS}.DirectSourceIPInput"),
    Source.REMOTE_IP: lambda _: new(f"{_INPUTS}.SourceIPInput"),
    Source.DESTINATION_IP: lambda _: new(f"{_INPUTS}.DestinationIPInput"),
}
