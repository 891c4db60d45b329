"""Lines as Envoy 1.40 writes them, added up."""

from __future__ import annotations

import json
import shlex
from typing import Any

from controlplane.docker.observed import Refusal, advice, refusals

LINE: dict[str, Any] = {
    "event": "request", "time": "2026-11-01T10:00:00.000Z", "method": "GET", "path": "/items?id=1", "status": 200,
    "peer": "spiffe://example.org/ns/shop/sa/web", "remote": "172.18.0.5:40000", "port": "8080",
    "observed": "denied", "observedRule": "default-deny:shop/catalog[0]:principal", "direction": "inbound",
}  # fmt: skip
PLAIN = {**LINE, "peer": None, "observedRule": "mtls-strict"}


def text(**changed: Any) -> str:
    return json.dumps({**LINE, **changed})


def test_what_is_alike_is_one_line_with_the_latest_time() -> None:
    lines = [text(), text(time="2026-11-01T11:00:00.000Z", path="/items?id=2"), text(path="/other")]
    first, second = refusals([("catalog.shop", lines)])
    assert first == Refusal(
        "example.org/ns/shop/sa/web", "catalog.shop", 8080, "GET /items", LINE["observedRule"], 2,
        "2026-11-01T11:00:00.000Z",
    )  # fmt: skip
    assert (second.what, second.count) == ("GET /other", 1)


def test_what_would_have_been_allowed_and_what_is_no_line_is_passed_over() -> None:
    lines = [text(observed="allowed"), '"denied" {', "denied", '{"observed": ["denied"]}', '["denied"]', "{"]
    assert refusals([("catalog.shop", lines)]) == []


def test_replicas_are_one_service() -> None:
    [one] = refusals([("catalog.shop", [text()]), ("catalog.shop", [text()])])
    assert one.count == 2


def test_plain_text_is_named_by_the_container_it_came_from() -> None:
    lines = [json.dumps(PLAIN), json.dumps({**PLAIN, "remote": "[fd00::9]:1"})]
    found = refusals([("catalog.shop", lines)], {"172.18.0.5": "old-cron"})
    assert {one.caller for one in found} == {"plain text from old-cron", "plain text from fd00::9"}
    assert all(one.is_plaintext and "PERMISSIVE" in advice(one) for one in found)


def test_raw_tcp_has_a_port_and_no_request() -> None:
    [one] = refusals([("db.shop", [text(event="connection", method=None, path=None, port=5432)])])
    assert (one.port, one.what) == (5432, "")
    assert advice(one) == "pylis policy suggest spiffe://example.org/ns/shop/sa/web db.shop --port 5432"


def test_the_advice_names_the_rule_that_says_no_or_asks_for_one_that_says_yes() -> None:
    denied, default = refusals([("catalog.shop", [text(observedRule="shop/no[0]"), text(), text()])])[::-1]
    assert "shop/no[0]" in advice(denied)
    assert "--method GET --path /items" in advice(default)


def test_a_path_that_a_caller_chose_stays_one_word_of_the_command() -> None:
    [one] = refusals([("catalog.shop", [text(path="/a'; rm -rf ~ #")])])
    assert shlex.split(advice(one))[-2:] == ["--path", "/a'; rm -rf ~ #"]
