"""What each policy attribute becomes in Envoy: an input, and values in the form that input has.

Identity is matched on filter state that `set_filter_state` wrote once per connection, never on `UriSanInput`:
that input ends the evaluation on plaintext. The path is the normalised one without its query.
Source: docs/adr/0005-authorization-by-matcher.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network
from typing import assert_never

from policies.attributes import Attribute
from policies.predicate import Condition, Exact, Network, Prefix, Present, Suffix, Value


class Source(IntEnum):
    """Where the matcher reads; the order in which a tree looks at them."""

    PRINCIPAL = 0
    PATH = 1
    METHOD = 2
    HEADER = 3
    HOST = 4
    SOURCE_IP = 5
    SERIAL = 6  # of the peer's certificate: no policy can name it, a Quarantine can


@dataclass(frozen=True, slots=True, order=True)
class Input:
    source: Source
    header: str = ""


@dataclass(frozen=True, slots=True)
class Regex:
    """An RE2 over the whole value."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Range:
    network: IPv4Network | IPv6Network


Form = Exact | Prefix | Suffix | Regex | Range


@dataclass(frozen=True, slots=True)
class Test:
    """A Condition in Envoy's words: the input, the forms it is compared with, whether none may match."""

    input: Input
    forms: tuple[Form, ...]
    negated: bool

    @property
    def is_mappable(self) -> bool:
        """Can a map be keyed on it? Hosts cannot: maps are case-sensitive."""
        if self.negated or self.input.source in (Source.HOST, Source.SOURCE_IP):
            return False
        return all(isinstance(form, Exact | Prefix) for form in self.forms)


def translate(condition: Condition, trust_domains: Sequence[str]) -> Test:
    """`trust_domains`: the mesh's own and its aliases; namespaces and service accounts hold in each of them."""
    source = _source(condition.key.attribute)
    forms = tuple(form for value in condition.values for form in _forms(condition, value, trust_domains))
    return Test(
        Input(source, condition.key.name if source is Source.HEADER else ""), forms, condition.negated
    )


def _source(attribute: Attribute) -> Source:
    match attribute:
        case Attribute.PRINCIPAL | Attribute.NAMESPACE | Attribute.SERVICE_ACCOUNT:
            return Source.PRINCIPAL
        case Attribute.SOURCE_IP:
            return Source.SOURCE_IP
        case Attribute.HOST:
            return Source.HOST
        case Attribute.METHOD:
            return Source.METHOD
        case Attribute.PATH:
            return Source.PATH
        case Attribute.HEADER:
            return Source.HEADER
        case Attribute.DESTINATION_PORT:
            raise ValueError("a destination port is folded away when a program is made")
        case _:
            assert_never(attribute)


def _forms(condition: Condition, value: Value, trust_domains: Sequence[str]) -> Iterator[Form]:
    match condition.key.attribute:
        case Attribute.PRINCIPAL:
            yield _principal(value)
        case Attribute.NAMESPACE:
            for domain in trust_domains:
                yield _namespace(value, domain)
        case Attribute.SERVICE_ACCOUNT:
            if not isinstance(value, Exact):
                raise ValueError("a service account is always written out")  # noqa: TRY004 - a broken program, not a type
            namespace, _, account = value.text.partition("/")
            for domain in trust_domains:
                yield Exact(f"spiffe://{domain}/ns/{namespace}/sa/{account}")
        case _:
            yield _plain(condition.key.attribute, value)


def _principal(value: Value) -> Form:
    match value:
        case Exact(text):
            return Exact(f"spiffe://{text}")
        case Prefix(text):
            return Prefix(f"spiffe://{text}")
        case Suffix(text):
            return Regex(f"spiffe://.*{re.escape(text)}")
        case Present():
            return Prefix("spiffe://")
        case Network():
            raise ValueError("a principal is no network")
        case _:
            assert_never(value)


def _namespace(value: Value, domain: str) -> Form:
    head = f"spiffe://{domain}/ns/"
    match value:
        case Exact(text):
            return Prefix(f"{head}{text}/sa/")
        case Prefix(text):
            return Regex(f"{re.escape(head + text)}[^/]*/sa/[^/]+")
        case Suffix(text):
            return Regex(f"{re.escape(head)}[^/]*{re.escape(text)}/sa/[^/]+")
        case Present():
            return Regex(f"{re.escape(head)}[^/]+/sa/[^/]+")
        case Network():
            raise ValueError("a namespace is no network")
        case _:
            assert_never(value)


def _plain(attribute: Attribute, value: Value) -> Form:
    match value:
        case Exact() | Prefix() | Suffix():
            return value
        case Present():
            # a header counts as present even when it is empty; anything else has to have a value
            return Regex(".*" if attribute is Attribute.HEADER else ".+")
        case Network(network):
            return Range(network)
        case _:
            assert_never(value)
