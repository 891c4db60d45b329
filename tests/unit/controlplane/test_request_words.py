from ipaddress import ip_address

from controlplane.request_words import request_json, request_words
from policies.program import Protocol
from policies.request import Request

REQUEST = Request(
    "td/ns/a/sa/x", ip_address("192.0.2.1"), "PUT", "/a", "a.shop", {"x": "1"}, ip_address("10.0.0.1"), claims={"iss": "i"}
)  # fmt: skip


def test_words_say_what_is_out_of_the_ordinary() -> None:
    words = request_words(REQUEST, Protocol.HTTP)
    assert words == "PUT /a from …/ns/a/sa/x, host a.shop, header x: 1, claim iss i, remote ip 10.0.0.1"
    assert request_words(Request(None), Protocol.TCP) == "TCP from plaintext"


def test_json_is_that_of_a_policy_test() -> None:
    assert request_json(REQUEST, Protocol.HTTP) == {
        "from": {"principal": "td/ns/a/sa/x", "ip": "192.0.2.1", "remoteIp": "10.0.0.1"},
        "protocol": "http",
        "method": "PUT",
        "path": "/a",
        "host": "a.shop",
        "headers": {"x": "1"},
        "claims": {"iss": "i"},
    }
    assert request_json(Request(None, sni="s"), Protocol.TCP) == {
        "from": {"principal": None},
        "protocol": "tcp",
        "to": {"sni": "s"},
    }
