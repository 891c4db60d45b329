from __future__ import annotations

from ca.attest.unix import ProcessFacts, selectors


def test_every_fact_is_a_selector_in_spires_words() -> None:
    facts = ProcessFacts(1000, 100, (100, 4), "/usr/bin/x", "ann", "users")
    assert selectors(facts) == {
        "unix:uid:1000", "unix:gid:100", "unix:supplementary_gid:100", "unix:supplementary_gid:4",
        "unix:path:/usr/bin/x", "unix:user:ann", "unix:group:users",
    }  # fmt: skip


def test_what_is_not_known_gives_no_selector() -> None:
    assert selectors(ProcessFacts(0, 0)) == {"unix:uid:0", "unix:gid:0"}
