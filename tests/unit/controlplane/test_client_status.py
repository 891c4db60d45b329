# pyright: reportUnknownArgumentType=false
# parameters are requests as dicts

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.access import Attributes, Caller
from controlplane.client_status import ClientStatus
from xds import schema
from xds.ledger import Ledger
from xds.serve import Peer
from xds.snapshot import CLUSTER, LISTENER, Resource, Snapshot

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HELD = Snapshot.of(
    [
        Resource.of("a", schema.new("envoy.config.cluster.v3.Cluster", name="a")),
        Resource.of("b", schema.new("envoy.config.listener.v3.Listener", name="b")),
    ]
)


async def allowed(_: Caller, __: Attributes) -> bool:
    return True


def nobody(_: Peer) -> Caller | None:
    return None


def ask(ledger: Ledger, **request: object) -> dict[str, list[Any]]:
    """Node → its resources."""
    body = schema.encode(schema.new("envoy.service.status.v3.ClientStatusRequest", **request))
    answer: Any = schema.decode(
        "envoy.service.status.v3.ClientStatusResponse", ClientStatus(ledger, nobody, allowed).response(body)
    )
    return {one.node.id: list(one.generic_xds_configs) for one in answer.config}


def states(found: list[Any]) -> dict[str, str]:
    field = found[0].DESCRIPTOR.fields_by_name["config_status"]
    return {one.name: field.enum_type.values_by_number[one.config_status].name for one in found}


@pytest.fixture
def ledger() -> Ledger:
    one = Ledger()
    for node in ("shop/a", "shop/b"):
        one.connected(node, "spiffe://example.org/x", None, NOW)
        one.offered(node, 1, HELD)
    return one


def test_what_was_sent_is_stale_until_the_proxy_holds_it(ledger: Ledger) -> None:
    assert states(ask(ledger)["shop/a"]) == {"a": "STALE", "b": "STALE"}
    ledger.settled("shop/a", {})
    found = ask(ledger)
    assert states(found["shop/a"]) == {"a": "SYNCED", "b": "SYNCED"}
    assert states(found["shop/b"]) == {"a": "STALE", "b": "STALE"}


def test_what_was_refused_is_an_error_in_the_proxys_words(ledger: Ledger) -> None:
    ledger.nacked("shop/a", LISTENER, "no such filter", NOW)
    found = ask(ledger)["shop/a"]
    assert states(found) == {"a": "SYNCED", "b": "ERROR"}
    assert [one.error_state.details for one in found] == ["", "no such filter"]


def test_of_a_proxy_that_went_nothing_is_claimed(ledger: Ledger) -> None:
    ledger.disconnected("shop/a", NOW)
    assert states(ask(ledger)["shop/a"]) == {"a": "UNKNOWN", "b": "UNKNOWN"}


def test_contents_are_what_the_proxy_was_sent_and_may_be_left_out(ledger: Ledger) -> None:
    cluster = ask(ledger)["shop/a"][0]
    sent = HELD.resources(CLUSTER)["a"]
    assert (cluster.xds_config.type_url, cluster.xds_config.value) == (CLUSTER, sent.body)
    assert cluster.version_info == sent.version
    without = ask(ledger, exclude_resource_contents=True)["shop/a"][0]
    assert not without.HasField("xds_config")


@pytest.mark.parametrize(
    "text",
    [
        {"exact": "shop/b"},
        {"prefix": "shop/b"},
        {"suffix": "/b"},
        {"contains": "p/b"},
        {"exact": "SHOP/B", "ignore_case": True},
    ],
)
def test_proxies_are_chosen_by_node_id(ledger: Ledger, text: dict[str, object]) -> None:
    assert list(ask(ledger, node_matchers=[{"node_id": text}])) == ["shop/b"]


@pytest.mark.parametrize(
    "matcher",
    [
        {},
        {"node_id": {"safe_regex": {"regex": "(a+)+$"}}},
        {"node_id": {"exact": "shop/a"}, "node_metadatas": [{}]},
    ],
)
def test_a_matcher_that_is_not_understood_is_refused_never_widened(
    ledger: Ledger, matcher: dict[str, object]
) -> None:
    with pytest.raises(Exception, match="match"):
        ask(ledger, node_matchers=[matcher])
