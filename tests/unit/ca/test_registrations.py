from __future__ import annotations

from ca.registrations import Registration, held_by, matching
from ca.spiffe_id import TrustDomain, workload_id

TD = TrustDomain.parse("example.org")


def a_registration(name: str, *selectors: str, agents: tuple[str, ...] = ("one",)) -> Registration:
    return Registration(name, workload_id(TD, "ns", "sa"), frozenset(selectors), frozenset(agents))


def test_an_agent_holds_what_names_it_or_any_agent() -> None:
    mine = a_registration("ns/b", "unix:uid:1")
    everyones = a_registration("ns/a", "unix:uid:1", agents=("*",))
    theirs = a_registration("ns/c", "unix:uid:1", agents=("two",))
    nobodys = a_registration("ns/d", "unix:uid:1", agents=())
    assert held_by([mine, everyones, theirs, nobodys], "one") == (everyones, mine)


def test_a_registration_asks_for_no_more_than_the_process_has() -> None:
    by_user = a_registration("ns/a", "unix:uid:1")
    by_both = a_registration("ns/b", "unix:uid:1", "unix:gid:2")
    assert matching([by_user, by_both], frozenset({"unix:uid:1", "unix:path:/x"})) == (by_user,)
    assert matching([by_user, by_both], frozenset({"unix:uid:1", "unix:gid:2"})) == (by_user, by_both)


def test_a_registration_without_selectors_matches_nobody() -> None:
    assert matching([a_registration("ns/a")], frozenset({"unix:uid:1"})) == ()
