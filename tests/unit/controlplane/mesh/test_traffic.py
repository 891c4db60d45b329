from __future__ import annotations

import pytest

from controlplane.mesh.traffic import as_seen, chosen, patterns, rules_by_host
from controlplane.resources.destination_rule import DestinationRule, LocalityPreference, PortPolicy
from xds.plan import AppProtocol, Destination, Endpoint, Locality, SocketAddress
from xds.traffic import Spread, TrafficPolicy

HOST = "a.b.shop"
RANDOM = TrafficPolicy(Spread.RANDOM)


def a_rule(namespace: str, host: str, *export_to: str) -> DestinationRule:
    return DestinationRule(namespace, f"{namespace}-{host}", host, export_to=export_to or ("*",))


def test_patterns_go_from_the_host_itself_to_everything() -> None:
    assert list(patterns(HOST)) == [HOST, "*.b.shop", "*.shop", "*"]


@pytest.mark.parametrize(
    ("rules", "caller", "winner"),
    [
        ([a_rule("root", HOST), a_rule("svc", "*"), a_rule("me", "*")], "me", "me-*"),
        ([a_rule("root", HOST), a_rule("svc", "*")], "me", "svc-*"),
        ([a_rule("root", "*"), a_rule("other", HOST)], "me", "root-*"),
        ([a_rule("svc", "*.shop"), a_rule("svc", "*.b.shop")], "me", "svc-*.b.shop"),
        ([a_rule("svc", HOST, ".")], "me", ""),
        ([a_rule("svc", HOST, "."), a_rule("svc", "*")], "me", "svc-*"),
        ([a_rule("svc", HOST, ".")], "svc", f"svc-{HOST}"),
        ([a_rule("svc", HOST, "me")], "me", f"svc-{HOST}"),
        ([a_rule("root", HOST), a_rule("svc", "*")], "root", "svc-*"),
        ([a_rule("svc", "b.shop")], "me", ""),
    ],
)
def test_the_callers_rule_before_the_services_before_the_roots(
    rules: list[DestinationRule], caller: str, winner: str
) -> None:
    found = chosen(rules_by_host(rules), caller, "svc", HOST, "root")
    assert (found.name if found else "") == winner


def test_of_the_same_host_the_oldest_holds() -> None:
    old, young = a_rule("svc", HOST), a_rule("svc", HOST)
    assert chosen(rules_by_host([old, young]), "me", "svc", HOST, "root") is old


PLACES = ("eu/a/1", "eu/a/2", "eu/b/1", "us/a/1", "asia/a/1")


def a_destination(*places: str) -> Destination:
    found = (
        Endpoint(SocketAddress(f"10.0.0.{n}", 80), Locality(*place.split("/")))
        for n, place in enumerate(places)
    )
    return Destination("a", 80, AppProtocol.HTTP, tuple(found), ())


def priorities(here: str, rule: DestinationRule | None, *places: str) -> list[int]:
    seen = as_seen(a_destination(*places), rule, Locality(*here.split("/")) if here else Locality())
    return [one.priority for one in seen.endpoints]


def preferring(preference: LocalityPreference) -> DestinationRule:
    return DestinationRule("shop", "r", "*", PortPolicy(locality=preference))


@pytest.mark.parametrize(
    ("here", "rule", "wanted"),
    [
        ("eu/a/1", None, [0, 1, 2, 3, 3]),
        ("eu/b/9", None, [1, 1, 0, 2, 2]),
        ("mars", None, [0, 0, 0, 0, 0]),
        ("", None, [0, 0, 0, 0, 0]),
        ("eu/a/1", preferring(LocalityPreference(failover=(("eu", "asia"),))), [0, 1, 2, 4, 3]),
        ("eu/a/1", preferring(LocalityPreference(failover=(("us", "asia"),))), [0, 1, 2, 3, 3]),
        ("eu/a/1", preferring(LocalityPreference(enabled=False)), [0, 0, 0, 0, 0]),
    ],
)
def test_the_nearer_are_called_first(here: str, rule: DestinationRule | None, wanted: list[int]) -> None:
    assert priorities(here, rule, *PLACES) == wanted


def test_priorities_have_no_gaps() -> None:
    """Envoy refuses an assignment that leaves one out."""
    assert priorities("eu/a/1", None, "asia/a/1", "eu/b/1") == [1, 0]


def test_a_destination_about_which_nothing_is_said_is_the_same_object() -> None:
    destination = a_destination("eu/a/1")
    assert as_seen(destination, None, Locality("eu")) is destination
    rule = DestinationRule("shop", "r", "*", ports={81: PortPolicy(RANDOM)})
    assert as_seen(destination, rule, Locality("eu")) is destination
