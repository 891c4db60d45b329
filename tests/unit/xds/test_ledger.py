from __future__ import annotations

from datetime import UTC, datetime, timedelta

from xds.ledger import Ledger, ProxyStatus, State
from xds.snapshot import CLUSTER, LISTENER, Resource, Snapshot

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(seconds=9)
NODE, SVID = "shop/web", "spiffe://example.org/ns/shop/sa/web"
SNAPSHOT = Snapshot.of([Resource(CLUSTER, "a", b"12345", "v")])


def a_ledger(revision: int = 7) -> Ledger:
    """One connected node that was offered a revision."""
    ledger = Ledger()
    ledger.connected(NODE, SVID, NOW + timedelta(hours=1), NOW)
    ledger.offered(NODE, revision, SNAPSHOT)
    return ledger


def the_status(ledger: Ledger) -> ProxyStatus:
    (status,) = ledger.status()
    return status


def test_nothing_is_known_at_first() -> None:
    assert Ledger().status() == []


def test_an_offer_is_pending_until_the_stream_settles() -> None:
    ledger = a_ledger()
    status = the_status(ledger)
    assert (status.state, status.revision, status.synced_revision) == (State.PENDING, 7, 0)
    assert (status.identity, status.since, status.config_bytes) == (SVID, NOW, 5)
    assert status.svid_expires == NOW + timedelta(hours=1)
    ledger.settled(NODE, {})
    status = the_status(ledger)
    assert (status.state, status.synced_revision, status.note) == (State.SYNCED, 7, "")


def test_a_new_offer_is_pending_again_and_keeps_what_is_synced() -> None:
    ledger = a_ledger()
    ledger.settled(NODE, {})
    ledger.offered(NODE, 8, SNAPSHOT)
    status = the_status(ledger)
    assert (status.state, status.revision, status.synced_revision) == (State.PENDING, 8, 7)


def test_a_nack_keeps_the_proxys_words_and_since_when() -> None:
    ledger = a_ledger()
    ledger.settled(NODE, {})
    ledger.offered(NODE, 8, SNAPSHOT)
    ledger.nacked(NODE, LISTENER, "no such filter", LATER)
    ledger.settled(NODE, {LISTENER: ("bad",)})
    status = the_status(ledger)
    assert (status.state, status.note, status.since) == (State.NACKED, "Listener: no such filter", LATER)
    assert status.synced_revision == 7


def test_nacks_of_several_types_are_all_told() -> None:
    ledger = a_ledger()
    ledger.nacked(NODE, LISTENER, "two", LATER)
    ledger.nacked(NODE, CLUSTER, "one", LATER)
    assert the_status(ledger).note == "Cluster: one; Listener: two"


def test_an_ack_of_the_type_takes_its_nack_back() -> None:
    ledger = a_ledger()
    ledger.nacked(NODE, LISTENER, "no", LATER)
    ledger.acked(NODE, LISTENER)
    ledger.settled(NODE, {})
    assert the_status(ledger).state is State.SYNCED


def test_a_nack_goes_when_what_was_refused_is_no_longer_offered() -> None:
    ledger = a_ledger()
    ledger.nacked(NODE, LISTENER, "no", LATER)
    ledger.offered(NODE, 8, SNAPSHOT)
    ledger.settled(NODE, {})
    status = the_status(ledger)
    assert (status.state, status.synced_revision) == (State.SYNCED, 8)


def test_a_lost_proxy_is_remembered_with_since_when_and_what_it_serves() -> None:
    ledger = a_ledger()
    ledger.settled(NODE, {})
    ledger.disconnected(NODE, LATER)
    status = the_status(ledger)
    assert (status.state, status.since, status.note) == (State.LOST, LATER, "keeps serving 7")


def test_a_reconnect_that_overlaps_is_one_proxy_and_not_lost() -> None:
    ledger = a_ledger()
    ledger.connected(NODE, SVID, None, LATER)
    ledger.disconnected(NODE, LATER)
    assert the_status(ledger).state is not State.LOST
    ledger.disconnected(NODE, LATER)
    assert the_status(ledger).state is State.LOST


def test_records_are_sorted_by_node() -> None:
    ledger = Ledger()
    for node in ("z/z", "a/a", "m/m"):
        ledger.connected(node, SVID, None, NOW)
    assert [status.node_id for status in ledger.status()] == ["a/a", "m/m", "z/z"]


def test_only_a_lost_proxy_can_be_forgotten() -> None:
    ledger = a_ledger()
    ledger.forget(NODE)
    assert len(ledger.status()) == 1
    ledger.disconnected(NODE, LATER)
    ledger.forget(NODE)
    ledger.forget("never/seen")
    assert ledger.status() == []


def test_an_edit_that_concerns_others_leaves_a_proxy_in_sync_with_the_newest_revision() -> None:
    ledger = a_ledger()
    ledger.settled(NODE, {})
    ledger.advance(9, ["shop/other"])
    status = the_status(ledger)
    assert (status.state, status.revision, status.synced_revision) == (State.SYNCED, 9, 9)
    assert ledger.synced_revision(NODE) == 9


def test_an_edit_that_concerns_it_leaves_it_behind_before_it_is_offered() -> None:
    ledger = a_ledger()
    ledger.settled(NODE, {})
    ledger.advance(8, [NODE])
    ledger.advance(9, ["shop/other"])
    status = the_status(ledger)
    assert (status.state, status.revision, status.synced_revision) == (State.PENDING, 9, 7)
    assert ledger.synced_revision("never/seen") is None


def test_who_is_behind_is_known_without_a_look_at_everybody() -> None:
    ledger = Ledger()
    for node in ("a", "b", "c", "d"):
        ledger.connected(node, SVID, None, NOW)
        ledger.offered(node, 7, SNAPSHOT)
        ledger.settled(node, {})
    assert (ledger.connected_count, ledger.behind(7)) == (4, [])
    ledger.advance(8, ["a", "b", "c"])
    ledger.nacked("b", LISTENER, "no", LATER)
    ledger.settled("b", {LISTENER: ("bad",)})
    ledger.disconnected("c", LATER)
    assert (ledger.connected_count, ledger.behind(8)) == (3, [("a", False), ("b", True)])
    assert ledger.behind(7) == []
    ledger.settled("a", {})
    ledger.acked("b", LISTENER)
    ledger.settled("b", {})
    assert ledger.behind(8) == []
