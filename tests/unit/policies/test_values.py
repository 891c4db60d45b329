import pytest

from policies import codes
from policies.attributes import Attribute, Key
from policies.values import check_value, fold_case, read_address, read_network, read_port


def code(attribute: Attribute, value: str) -> str:
    bad = check_value(Key(attribute), value)
    return bad.code if bad else ""


@pytest.mark.parametrize("value", ["1.2.3.4", "10.0.0.0/8", "10.1.2.3/8", "::1", "2001:db8::/32"])
def test_networks(value: str) -> None:
    assert code(Attribute.SOURCE_IP, value) == ""


@pytest.mark.parametrize(
    "value", ["1.2.3", "1.2.3.4/33", "1.2.3.4/255.0.0.0", "fe80::1%eth0", "x", "1.2.3.4/", "*"]
)
def test_no_networks(value: str) -> None:
    assert code(Attribute.SOURCE_IP, value) == codes.BAD_NETWORK


def test_host_bits_are_cut() -> None:
    assert str(read_network("10.1.2.3/8")) == "10.0.0.0/8"
    assert str(read_network("10.1.2.3")) == "10.1.2.3/32"


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("080", 80), ("65535", 65535)])
def test_ports(text: str, port: int) -> None:
    assert read_port(text) == port


@pytest.mark.parametrize("text", ["65536", "-1", "+1", "1_0", "", "http", "８０", "000080"])
def test_no_ports(text: str) -> None:
    assert read_port(text) is None


@pytest.mark.parametrize("value", ["a", "n/a"])
def test_service_accounts(value: str) -> None:
    assert code(Attribute.SERVICE_ACCOUNT, value) == ""


@pytest.mark.parametrize("value", ["a*", "n/*", "n/a/b", "/a", "n/"])
def test_no_service_accounts(value: str) -> None:
    assert code(Attribute.SERVICE_ACCOUNT, value) == codes.BAD_SERVICE_ACCOUNT


def test_a_service_account_has_a_length() -> None:
    assert code(Attribute.SERVICE_ACCOUNT, "a" * 321) == codes.TOO_LONG


@pytest.mark.parametrize(
    "value", ["/a/{*}", "/{**}", "/a/{*}/b/{**}", "{*}", "/{**}/c", "/a*", "*/b", "/{*}/{*}/"]
)
def test_path_templates(value: str) -> None:
    assert code(Attribute.PATH, value) == ""


@pytest.mark.parametrize(
    "value",
    [
        "/a}",
        "/{id}",
        "/{*}.txt",
        "/{buzz=*}",
        "/{**}/{*}",
        "/{**}/{**}",
        "/{*}/a*",
        "/{*}//a",
        "/a{",
        "/{*}/{a}",
    ],
)
def test_other_braces_are_no_templates(value: str) -> None:
    assert code(Attribute.PATH, value) == codes.BAD_TEMPLATE


@pytest.mark.parametrize("value", ["a*b", "**", "*a*"])
def test_every_star_of_a_namespace_is_a_wildcard(value: str) -> None:
    assert code(Attribute.NAMESPACE, value) == ""


@pytest.mark.parametrize(("value", "wanted"), [
    ("td", ""), ("td*", ""), ("*td", ""), ("*", ""),
    ("a*b", codes.BAD_TRUST_DOMAIN), ("*a*", codes.BAD_TRUST_DOMAIN), ("td/ns", codes.BAD_TRUST_DOMAIN),
])  # fmt: skip
def test_trust_domains(value: str, wanted: str) -> None:
    assert code(Attribute.TRUST_DOMAIN, value) == wanted


@pytest.mark.parametrize("value", ["*", "a*", "*a", "a"])
def test_namespaces(value: str) -> None:
    assert code(Attribute.NAMESPACE, value) == ""


def test_an_inner_star_of_a_principal_is_itself() -> None:
    assert code(Attribute.PRINCIPAL, "td/ns/*/sa/x") == ""


def test_only_ascii_letters_lose_their_case() -> None:
    assert fold_case("A.Example:80") == "a.example:80"
    assert fold_case("Ä.B") == "Ä.b"


def test_addresses() -> None:
    assert str(read_address("::1")) == "::1"
    assert read_address("10.0.0.0/8") is None
