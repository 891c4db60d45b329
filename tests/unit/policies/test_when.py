import pytest

from policies import codes
from policies.attributes import Attribute, Key
from policies.when import BadKey, read_key


@pytest.mark.parametrize(
    ("text", "attribute"),
    [
        ("source.ip", Attribute.SOURCE_IP),
        ("source.namespace", Attribute.NAMESPACE),
        ("source.principal", Attribute.PRINCIPAL),
        ("source.serviceAccount", Attribute.SERVICE_ACCOUNT),
        ("source.trustDomain", Attribute.TRUST_DOMAIN),
        ("remote.ip", Attribute.REMOTE_IP),
        ("destination.ip", Attribute.DESTINATION_IP),
        ("destination.port", Attribute.DESTINATION_PORT),
        ("connection.sni", Attribute.SNI),
        ("request.auth.principal", Attribute.REQUEST_PRINCIPAL),
        ("request.auth.audiences", Attribute.AUDIENCES),
        ("request.auth.presenter", Attribute.PRESENTER),
    ],
)
def test_attributes_of_this_version(text: str, attribute: Attribute) -> None:
    assert read_key(text) == Key(attribute)


def test_claims_are_nested_and_metadata_is_a_filters() -> None:
    assert read_key("request.auth.claims[a][b.c]") == Key(Attribute.CLAIM, path=("a", "b.c"))
    assert read_key("experimental.envoy.filters.a.b[c]") == Key(Attribute.METADATA, "a.b", ("c",))
    for text in ("request.auth.claims[a][b.c]", "experimental.envoy.filters.a.b[c]", "request.headers[x-a]"):
        assert str(read_key(text)) == text


def test_header_names_have_no_case() -> None:
    assert read_key("request.headers[X-Team]") == Key(Attribute.HEADER, "x-team")
    assert read_key("request.headers[:path]") == Key(Attribute.HEADER, ":path")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("request.headers[:scheme]", codes.PSEUDO_HEADER),
        ("request.auth.claims", codes.UNKNOWN_ATTRIBUTE),
        ("request.auth.claims[]", codes.UNKNOWN_ATTRIBUTE),
        ("request.auth.claims[a]b", codes.UNKNOWN_ATTRIBUTE),
        ("experimental.envoy.filters.a.b", codes.UNKNOWN_ATTRIBUTE),
        ("experimental.envoy.filters.a.b[]", codes.UNKNOWN_ATTRIBUTE),
        ("request.headers", codes.UNKNOWN_ATTRIBUTE),
        ("request.headers[]", codes.UNKNOWN_ATTRIBUTE),
        ("request.host", codes.UNKNOWN_ATTRIBUTE),
        ("destination.labels[app]", codes.UNKNOWN_ATTRIBUTE),
        ("", codes.UNKNOWN_ATTRIBUTE),
    ],
)
def test_what_is_no_attribute_here(text: str, code: str) -> None:
    key = read_key(text)
    assert isinstance(key, BadKey)
    assert key.code == code


def test_a_near_miss_is_named() -> None:
    key = read_key("source.namespce")
    assert isinstance(key, BadKey)
    assert key.hint == 'did you mean "source.namespace"?'
