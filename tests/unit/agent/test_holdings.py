from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agent.holdings import AT_ONCE
from ca import keys
from ca.node_protocol import Authorized
from ca.rotation import Family, Lifetime


def test_a_registration_without_an_svid_is_due_at_once(mesh: Any) -> None:
    mesh.authorize(mesh.entry())
    assert mesh.holdings.schedule() == {"shop/orders": AT_ONCE}


def test_one_that_is_held_is_due_at_half_of_its_life(mesh: Any) -> None:
    entry = mesh.entry()
    mesh.authorize(entry)
    svid = mesh.hold(entry)
    half = svid.not_before + (svid.not_after - svid.not_before) / 2
    assert mesh.holdings.schedule() == {"shop/orders": half}


def test_what_is_no_longer_registered_is_dropped_at_once(mesh: Any) -> None:
    one, other = mesh.entry("shop/one"), mesh.entry("shop/other")
    mesh.authorize(one, other)
    mesh.hold(one)
    mesh.hold(other)
    mesh.authorize(other)
    assert list(mesh.holdings.held) == ["shop/other"]


def test_a_registration_that_names_another_identity_loses_the_old_one(mesh: Any) -> None:
    entry = mesh.entry()
    mesh.authorize(entry)
    mesh.hold(entry)
    mesh.authorize(mesh.entry(spiffe_id="spiffe://example.org/ns/shop/sa/other"))
    assert mesh.holdings.held == {}


def test_a_registration_with_another_lifetime_keeps_its_svid_and_asks_for_a_new_one(mesh: Any) -> None:
    entry = mesh.entry()
    mesh.authorize(entry)
    mesh.hold(entry)
    mesh.authorize(mesh.entry(ttl=60))
    assert "shop/orders" in mesh.holdings.held
    assert mesh.holdings.schedule() == {"shop/orders": AT_ONCE}


def test_selectors_that_changed_hold_for_the_svid_there_is(mesh: Any) -> None:
    mesh.authorize(mesh.entry("shop/orders", "unix:uid:0"))
    mesh.hold(mesh.entry("shop/orders", "unix:uid:0"))
    mesh.authorize(mesh.entry("shop/orders", "unix:uid:7"))
    assert mesh.holdings.of(frozenset({"unix:uid:0"})) == []
    assert len(mesh.holdings.of(frozenset({"unix:uid:7"}))) == 1


def test_an_svid_that_comes_too_late_is_not_taken(mesh: Any) -> None:
    gone, moved = mesh.entry("shop/gone"), mesh.entry("shop/moved")
    mesh.authorize(mesh.entry("shop/moved", spiffe_id="spiffe://example.org/ns/shop/sa/new"))
    mesh.hold(gone)
    mesh.hold(moved)
    assert mesh.holdings.held == {}


def test_a_caller_gets_what_asks_for_no_more_than_it_has(mesh: Any) -> None:
    entries = [
        mesh.entry("shop/a", "unix:uid:0"),
        mesh.entry("shop/b", "unix:uid:0", "unix:path:/x"),
        mesh.entry("shop/c", "unix:uid:1"),
    ]
    mesh.authorize(*entries)
    for entry in entries:
        mesh.hold(entry)
    found = mesh.holdings.of(frozenset({"unix:uid:0", "unix:gid:0"}))
    assert [held.entry.name for held in found] == ["shop/a"]


def test_nobody_gets_what_is_registered_without_selectors(mesh: Any) -> None:
    nothing = replace(mesh.entry("shop/a"), selectors=())
    mesh.authorize(nothing)
    mesh.hold(nothing)
    assert mesh.holdings.of(frozenset({"unix:uid:0"})) == []
    assert not mesh.holdings.knows(frozenset({"unix:uid:0"}))


def test_it_knows_of_an_identity_that_is_not_issued_yet(mesh: Any) -> None:
    mesh.authorize(mesh.entry())
    assert mesh.holdings.knows(frozenset({"unix:uid:0"}))
    assert mesh.holdings.of(frozenset({"unix:uid:0"})) == []


def test_every_waiter_is_woken_by_every_change(mesh: Any) -> None:
    wake, left = asyncio.Event(), asyncio.Event()
    mesh.holdings.wait(wake)
    mesh.holdings.wait(left)
    mesh.holdings.stop_waiting(left)
    mesh.authorize(mesh.entry())
    assert (wake.is_set(), left.is_set()) == (True, False)
    wake.clear()
    mesh.hold(mesh.entry())
    assert wake.is_set()


def test_a_key_is_never_part_of_what_is_printed(mesh: Any) -> None:
    entry, key = mesh.entry(), keys.new_key()
    mesh.authorize(entry)
    now = datetime.now(UTC)
    mesh.holdings.store(entry, key, mesh.svid(entry, key).chain, Lifetime(now, now), 0.5)
    assert "key" not in repr(mesh.holdings.held["shop/orders"])


def test_a_bundle_is_in_force_once_every_follower_believes_it(mesh: Any) -> None:
    assert mesh.holdings.in_force == 0
    mesh.authorize()
    sequence = mesh.ca.bundle.sequence
    assert mesh.holdings.in_force == sequence
    follower = mesh.holdings.follow()
    assert mesh.holdings.in_force == 0
    mesh.holdings.settled.clear()
    mesh.holdings.believes(follower, sequence)
    assert mesh.holdings.in_force == sequence
    assert mesh.holdings.settled.is_set()
    mesh.holdings.believes(follower, 0)
    mesh.holdings.forget(follower)
    assert mesh.holdings.in_force == sequence


def test_what_a_tainted_authority_signed_is_due_at_once_and_served_until_replaced(mesh: Any) -> None:
    entry = mesh.entry()
    mesh.authorize(entry)
    mesh.hold(entry)
    (held,) = mesh.holdings.held.values()
    root, issuing = held.signers
    tainted = next(key for key in (root, issuing) if key == mesh.ca.authorities.of(Family.X509)[0].id)
    mesh.holdings.authorize(Authorized((entry,), mesh.ca.bundle, (tainted,)))
    (held,) = mesh.holdings.held.values()
    assert held.renew_at == AT_ONCE
    assert mesh.holdings.in_force == 0
    mesh.holdings.authorize(Authorized((entry,), mesh.ca.bundle, ("ab" * 20,)))
    assert mesh.holdings.in_force == mesh.ca.bundle.sequence


def test_what_does_not_change_stays_the_same_object(mesh: Any) -> None:
    entry = mesh.entry()
    mesh.authorize(entry)
    mesh.hold(entry)
    (held,) = mesh.holdings.held.values()
    mesh.authorize(entry)
    assert mesh.holdings.held[entry.name] is held
