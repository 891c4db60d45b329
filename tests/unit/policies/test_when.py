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
        ("destination.port", Attribute.DESTINATION_PORT),
    ],
)
def test_attributes_of_this_version(text: str, attribute: Attribute) -> None:
    assert read_key(text) == Key(attribute)


def test_header_names_have_no_case() -> None:
    assert read_key("request.headers[X-Team]") == Key(Attribute.HEADER, "x-team")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("remote.ip", codes.REMOTE_IP),
        ("source.trustDomain", codes.TRUST_DOMAINS),
        ("request.auth.principal", codes.REQUEST_PRINCIPALS),
        ("request.auth.audiences", codes.JWT_CLAIMS),
        ("request.auth.presenter", codes.JWT_CLAIMS),
        ("request.auth.claims[a][b]", codes.JWT_CLAIMS),
        ("destination.ip", codes.DESTINATION_IP),
        ("connection.sni", codes.SNI),
        ("experimental.envoy.filters.a.b[c]", codes.ENVOY_METADATA),
        ("request.headers[:path]", codes.PSEUDO_HEADER),
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
