"""What each policy attribute becomes in Envoy: an input, and values in the form that input has.

Identity is matched on filter state that `set_filter_state` wrote once per connection, never on `UriSanInput`:
that input ends the evaluation on plaintext. The path is the normalised one without its query, the host is
lower case. Claims are matched as metadata, except issuer and subject, which are texts for sure and so may be
keys of a map. Source: docs/adr/0005-authorization-by-matcher.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network
from typing import assert_never

from policies.attributes import Attribute
from policies.predicate import (
    Condition,
    Exact,
    Glob,
    Listed,
    Network,
    Prefix,
    Present,
    RequestPrincipal,
    Suffix,
    Template,
    Text,
    Value,
    pattern,
)


class Source(IntEnum):
    """Where the matcher reads; between equals, the order in which a tree looks at them."""

    PRINCIPAL = 0
    ISSUER = 1
    SUBJECT = 2
    PATH = 3
    METHOD = 4
    HOST = 5
    HEADER = 6
    SNI = 7
    SOURCE_IP = 8
    REMOTE_IP = 9
    DESTINATION_IP = 10
    SERIAL = 11  # of the peer's certificate: no policy can name it, a Quarantine can


@dataclass(frozen=True, slots=True, order=True)
class Input:
    source: Source
    header: str = ""

    @property
    def word(self) -> str:
        """What a person calls it."""
        return f"header {self.header}" if self.header else self.source.name.lower().replace("_", " ")


_PRINCIPAL = Input(Source.PRINCIPAL)


@dataclass(frozen=True, slots=True)
class Regex:
    """An RE2 over the whole value."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Range:
    network: IPv4Network | IPv6Network


Form = Exact | Prefix | Suffix | Present | Regex | Range


@dataclass(frozen=True, slots=True)
class Test:
    """A Condition in Envoy's words: the input, the forms it is compared with, whether none may match."""

    input: Input
    forms: tuple[Form, ...]
    negated: bool = False

    @property
    def is_mappable(self) -> bool:
        """Can a map be keyed on it?"""
        return not self.negated and all(isinstance(form, Exact | Prefix | Present) for form in self.forms)


@dataclass(frozen=True, slots=True)
class MetadataTest:
    """A text, or a list that holds one, in what a filter left about the request."""

    filter: str
    path: tuple[str, ...]
    values: tuple[Text | Listed, ...]
    negated: bool = False
    in_lists: bool = False  # a plain value also matches a list that holds it


@dataclass(frozen=True, slots=True)
class PrincipalTest:
    """Issuer and subject, pair by pair."""

    pairs: tuple[tuple[Test, Test | MetadataTest], ...]
    negated: bool = False


Check = Test | MetadataTest | PrincipalTest

TOKEN_FILTER = "envoy.filters.http.jwt_authn"  # noqa: S105 - a filter's name
TOKEN_PAYLOAD = "payload"  # noqa: S105


def translate(condition: Condition, trust_domains: Sequence[str]) -> Check:
    """`trust_domains`: those that mutual TLS admits; namespaces and service accounts hold in each of them."""
    key = condition.key
    match key.attribute:
        case Attribute.REQUEST_PRINCIPAL:
            pairs = tuple(_pair(value) for value in condition.values)
            return PrincipalTest(pairs, condition.negated)
        case Attribute.AUDIENCES | Attribute.PRESENTER | Attribute.CLAIM:
            path = (TOKEN_PAYLOAD, *key.claim)
            return MetadataTest(TOKEN_FILTER, path, _texts(condition), condition.negated, in_lists=True)
        case Attribute.METADATA:
            return MetadataTest(key.name, key.path, _texts(condition), condition.negated)
        case Attribute.PRINCIPAL:
            return Test(_PRINCIPAL, tuple(_principal(value) for value in condition.values), condition.negated)
        case attribute:
            forms = (form for value in condition.values for form in _forms(attribute, value, trust_domains))
            where = Input(_source(attribute), key.name)
            return Test(where, tuple(forms), condition.negated)


def sources(attribute: Attribute) -> tuple[Source, ...]:
    """Where the checks of an attribute read; metadata is nobody's to fill."""
    match attribute:
        case Attribute.REQUEST_PRINCIPAL:
            return (Source.ISSUER, Source.SUBJECT)
        case Attribute.AUDIENCES | Attribute.PRESENTER | Attribute.CLAIM | Attribute.METADATA:
            return ()
        case _:
            return (_source(attribute),)


def _source(attribute: Attribute) -> Source:
    match attribute:
        case Attribute.PRINCIPAL | Attribute.NAMESPACE | Attribute.SERVICE_ACCOUNT | Attribute.TRUST_DOMAIN:
            return Source.PRINCIPAL
        case Attribute.SOURCE_IP:
            return Source.SOURCE_IP
        case Attribute.REMOTE_IP:
            return Source.REMOTE_IP
        case Attribute.DESTINATION_IP:
            return Source.DESTINATION_IP
        case Attribute.SNI:
            return Source.SNI
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
        case (
            Attribute.REQUEST_PRINCIPAL
            | Attribute.AUDIENCES
            | Attribute.PRESENTER
            | Attribute.CLAIM
            | Attribute.METADATA
        ):
            raise ValueError(f"{attribute} is no single text")
        case _:
            assert_never(attribute)


def _pair(value: Value) -> tuple[Test, Test | MetadataTest]:
    if not isinstance(value, RequestPrincipal):
        raise ValueError("a request principal is an issuer and a subject")  # noqa: TRY004 - a broken program, not a type
    issuer = Test(Input(Source.ISSUER), (value.issuer,))
    if value.subject == Exact(""):
        # filter state has no empty texts
        return issuer, MetadataTest(TOKEN_FILTER, (TOKEN_PAYLOAD, "sub"), (value.subject,))
    return issuer, Test(Input(Source.SUBJECT), (value.subject,))


def _texts(condition: Condition) -> tuple[Text | Listed, ...]:
    found: list[Text | Listed] = []
    for value in condition.values:
        match value:
            case Exact() | Prefix() | Suffix() | Present() | Listed():
                found.append(value)
            case Glob() | Template() | Network() | RequestPrincipal():
                raise ValueError(f"{condition.key} is compared as text")
            case _:
                assert_never(value)
    return tuple(found)


def _forms(attribute: Attribute, value: Value, trust_domains: Sequence[str]) -> Iterator[Form]:
    match attribute:
        case Attribute.TRUST_DOMAIN:
            yield _trust_domain(value)
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
            yield _plain(value)


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
        case Glob() | Template() | Network() | RequestPrincipal() | Listed():
            raise ValueError("a principal is a text")
        case _:
            assert_never(value)


def _trust_domain(value: Value) -> Form:
    match value:
        case Exact(text):
            return Prefix(f"spiffe://{text}/")
        case Prefix(text):
            return Regex(f"spiffe://{re.escape(text)}[^/]*/.*")
        case Suffix(text):
            return Regex(f"spiffe://[^/]*{re.escape(text)}/.*")
        case Present():
            return Prefix("spiffe://")
        case Glob() | Template() | Network() | RequestPrincipal() | Listed():
            raise ValueError("a trust domain is a text")
        case _:
            assert_never(value)


def _namespace(value: Value, domain: str) -> Form:
    head = f"spiffe://{domain}/ns/"
    match value:
        case Exact(text):
            return Prefix(f"{head}{text}/")
        case Prefix(text):
            return Regex(f"{re.escape(head + text)}[^/]*/.*")
        case Suffix(text):
            return Regex(f"{re.escape(head)}[^/]*{re.escape(text)}/.*")
        case Present():
            return Regex(f"{re.escape(head)}[^/]+/.*")
        case Glob():
            return Regex(f"{re.escape(head)}{pattern(value)}/.*")
        case Template() | Network() | RequestPrincipal() | Listed():
            raise ValueError("a namespace is a text")
        case _:
            assert_never(value)


def _plain(value: Value) -> Form:
    match value:
        case Exact() | Prefix() | Suffix() | Present():
            return value
        case Template() | Glob():
            return Regex(pattern(value))
        case Network(network):
            return Range(network)
        case RequestPrincipal() | Listed():
            raise ValueError("is no single text")
        case _:
            assert_never(value)
