from __future__ import annotations

from datetime import timedelta

from ca.registrations import held_by
from ca.spiffe_id import TrustDomain
from controlplane.mesh.registered import Registrations
from controlplane.resources.workload_registration import WorkloadRegistration

DOMAIN = TrustDomain("example.org")


def a_registration(name: str, *agents: str) -> WorkloadRegistration:
    path, hour = f"/ns/shop/sa/{name}", timedelta(hours=1)
    selectors, named = frozenset({"unix:uid:1"}), frozenset(a for a in agents if ":" not in a)
    return WorkloadRegistration(
        "shop", name, path, selectors, named, frozenset(agents) - named, hour, hour, (), "", frozenset()
    )


def test_an_agent_holds_its_own_and_those_for_every_agent_by_name() -> None:
    table = Registrations(DOMAIN)
    declared = [a_registration("c", "*"), a_registration("a", "one", "two"), a_registration("b", "two")]
    for one in declared:
        table.add(one.name, one)
    for agent in ("one", "two", "three"):
        assert table.held_by(agent) == held_by([d.registration(DOMAIN) for d in declared], agent)
    assert [r.name for r in table.held_by("one")] == ["shop/a", "shop/c"]


def test_it_says_whom_a_change_concerns() -> None:
    table = Registrations(DOMAIN)
    assert table.add("a", a_registration("a", "one", "two")) == {"one", "two"}
    assert table.add("b", a_registration("b", "*")) == {"*"}
    assert table.remove("a") == {"one", "two"}
    assert [r.name for r in table.held_by("one")] == ["shop/b"]


def test_agents_are_found_by_what_their_attestation_says_too() -> None:
    table = Registrations(DOMAIN)
    both, one = "x509pop:subject:cn:web", "x509pop:ca:fingerprint:ab"
    concerned = table.add("a", a_registration("a", both, one))
    table.add("b", a_registration("b", "named"))
    assert concerned == {"*"}
    assert table.held_by("x", frozenset({both})) == ()
    assert [r.name for r in table.held_by("x", frozenset({both, one, "other:y"}))] == ["shop/a"]
    assert table.remove("a") == {"*"}
    assert table.held_by("x", frozenset({both, one})) == ()
