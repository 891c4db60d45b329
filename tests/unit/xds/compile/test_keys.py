"""What attributes become: inputs and forms, only such forms in maps as maps can hold."""

from __future__ import annotations

import re

import pytest

from policies.attributes import Attribute, Key
from policies.predicate import (
    Condition,
    Exact,
    Glob,
    Listed,
    Prefix,
    Present,
    RequestPrincipal,
    Suffix,
    Template,
    Value,
)
from xds.compile import keys
from xds.compile.keys import Input, MetadataTest, PrincipalTest, Regex, Source, sources, translate

DOMAINS = ("td", "old")


def a_check(attribute: Attribute, *values: Value) -> keys.Test:
    found = translate(Condition(Key(attribute), values), DOMAINS)
    assert isinstance(found, keys.Test)
    return found


def test_identities_hold_in_every_trust_domain() -> None:
    assert a_check(Attribute.NAMESPACE, Exact("a")).forms == (
        Prefix("spiffe://td/ns/a/"), Prefix("spiffe://old/ns/a/"),
    )  # fmt: skip
    assert a_check(Attribute.SERVICE_ACCOUNT, Exact("a/x")).forms == (
        Exact("spiffe://td/ns/a/sa/x"), Exact("spiffe://old/ns/a/sa/x"),
    )  # fmt: skip
    assert a_check(Attribute.TRUST_DOMAIN, Exact("td")).forms == (Prefix("spiffe://td/"),)
    assert a_check(Attribute.PRINCIPAL, Present()).forms == (Prefix("spiffe://"),)


@pytest.mark.parametrize(
    ("attribute", "value", "fits", "unfit"),
    [
        (Attribute.PRINCIPAL, Suffix("/sa/x"), "spiffe://td/ns/a/sa/x", "td/ns/a/sa/x"),
        (Attribute.NAMESPACE, Prefix("a"), "spiffe://td/ns/ab/sa/x", "spiffe://td/ns/b/a/x"),
        (Attribute.NAMESPACE, Suffix("b"), "spiffe://td/ns/ab/sa/x", "spiffe://td/ns/a/b/x"),
        (Attribute.NAMESPACE, Glob("a*c"), "spiffe://td/ns/abc/sa/x", "spiffe://td/ns/a/c/x"),
        (Attribute.TRUST_DOMAIN, Suffix("d"), "spiffe://td/ns/a/sa/x", "spiffe://t/d/x"),
        (Attribute.PATH, Template("/a/{*}"), "/a/b.c", "/a/b/c"),
        (Attribute.PATH, Template("/a/{**}/c"), "/a//c", "/a/c"),
    ],
)
def test_what_is_no_key_of_a_map_is_a_regular_expression(
    attribute: Attribute, value: Value, fits: str, unfit: str
) -> None:
    found = a_check(attribute, value)
    assert not found.is_mappable
    form = found.forms[0]
    assert isinstance(form, Regex)
    assert re.fullmatch(form.pattern, fits)
    assert not re.fullmatch(form.pattern, unfit)


def test_texts_are_mapped_and_suffixes_and_negations_are_not() -> None:
    assert a_check(Attribute.METHOD, Exact("GET"), Prefix("P"), Present()).is_mappable
    assert not a_check(Attribute.METHOD, Exact("GET"), Suffix("T")).is_mappable
    negated = translate(Condition(Key(Attribute.METHOD), (Exact("GET"),), negated=True), DOMAINS)
    assert isinstance(negated, keys.Test)
    assert not negated.is_mappable


def test_tokens_are_metadata_but_for_issuer_and_subject() -> None:
    claim = translate(Condition(Key(Attribute.CLAIM, path=("a", "b")), (Exact("x"),)), DOMAINS)
    assert claim == MetadataTest(
        "envoy.filters.http.jwt_authn", ("payload", "a", "b"), (Exact("x"),), in_lists=True
    )
    values = (RequestPrincipal(Exact("i"), Exact("s")), RequestPrincipal(Present(), Exact("")))
    found = translate(Condition(Key(Attribute.REQUEST_PRINCIPAL), values), DOMAINS)
    assert isinstance(found, PrincipalTest)
    assert found.pairs[0] == (
        keys.Test(Input(Source.ISSUER), (Exact("i"),)),
        keys.Test(Input(Source.SUBJECT), (Exact("s"),)),
    )
    # filter state holds no empty texts
    assert isinstance(found.pairs[1][1], MetadataTest)
    listed = translate(Condition(Key(Attribute.METADATA, "f", ("k",)), (Listed(Exact("x")),)), DOMAINS)
    assert listed == MetadataTest("f", ("k",), (Listed(Exact("x")),))


@pytest.mark.parametrize("attribute", [a for a in Attribute if a is not Attribute.DESTINATION_PORT])
def test_every_attribute_has_its_sources(attribute: Attribute) -> None:
    is_metadata = Key(attribute).row.needs_token or attribute is Attribute.METADATA
    assert bool(sources(attribute)) is (not is_metadata or attribute is Attribute.REQUEST_PRINCIPAL)
