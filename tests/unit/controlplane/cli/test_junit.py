from xml.etree.ElementTree import fromstring

from controlplane.cli.junit import to_junit
from policies.judge import Result


def test_a_suite_a_test_and_a_case_a_request() -> None:
    root = fromstring(
        to_junit(
            [
                Result("orders", "get", "allow", "allow", 200, "shop/orders[0]", True),
                Result("orders", "put <x>", "allow", "deny", 403, "default-deny"),
                Result("pay", "jwt", "allow", "deny", 401, "token-invalid \x07"),
            ]
        )
    )
    assert (root.get("tests"), root.get("failures")) == ("3", "2")
    assert [(suite.get("name"), suite.get("failures")) for suite in root] == [("orders", "1"), ("pay", "1")]
    failures = {case.get("name"): case.find("failure") for case in root.iter("testcase")}
    assert failures["get"] is None
    put, jwt = failures["put <x>"], failures["jwt"]
    assert put is not None
    assert put.get("message") == "expected allow, was deny (403) because of default-deny"
    assert jwt is not None
    assert jwt.get("message") == "expected allow, was deny (401) because of token-invalid �"
