"""Conditions: the words about an object, and that what says the same keeps its time."""

from __future__ import annotations

from controlplane.conditions import Observed, Tally, are_said, conditions
from controlplane.mesh.relations import Relations, Word

NOW, LATER = "2026-11-26T02:00:00Z", "2026-11-26T03:00:00Z"


def said(observed: Observed) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in conditions(observed, [], NOW)}


def test_each_word() -> None:
    assert said(Observed(1)) == {"Accepted": ("True", "Accepted")}
    assert said(Observed(1, "broken", Tally(2, 2)))["Programmed"] == ("False", "NotAccepted")
    for tally, word in [
        (Tally(), ("True", "NoProxies")),
        (Tally(2, 2), ("True", "Programmed")),
        (Tally(2, 1), ("False", "Pending")),
        (Tally(2, 1, ["shop/a"]), ("False", "Refused")),
    ]:
        assert said(Observed(1, "", tally))["Programmed"] == word


def test_times_change_with_the_status_only() -> None:
    first = conditions(Observed(1, "", Tally(2, 1)), [], NOW)
    same = conditions(Observed(1, "", Tally(3, 1)), first, LATER)
    assert [c["lastTransitionTime"] for c in same] == [NOW, NOW]
    done = conditions(Observed(2, "", Tally(3, 3)), same, LATER)
    assert [(c["lastTransitionTime"], c["observedGeneration"]) for c in done] == [(NOW, 2), (LATER, 2)]


def test_others_conditions_are_kept() -> None:
    mine = {"type": "Mine", "status": "True"}
    assert conditions(Observed(1), [mine], NOW)[-1] == mine


def test_a_message_names_three_who_refused() -> None:
    found = conditions(Observed(1, "", Tally(9, 4, [f"shop/{n}" for n in range(5)])), [], NOW)
    assert (
        found[1]["message"]
        == "4 of 9 sidecars hold this generation; refused by shop/0, shop/1, shop/2 and 2 more"
    )


def test_what_is_missing_or_in_the_way_is_said_as_long_as_it_is() -> None:
    relations = Relations(Word("NoWorkloads", "none"), Word("HostTaken", "taken"))
    found = conditions(Observed(1, "", Tally(1, 1), relations), [], NOW)
    assert [(c["type"], c["status"], c["reason"]) for c in found[2:]] == [
        ("ResolvedRefs", "False", "NoWorkloads"),
        ("Conflicted", "True", "HostTaken"),
    ]
    assert are_said(relations, found)
    assert not are_said(Relations(relations.dangling), found)
    assert not are_said(Relations(), found)
    later = conditions(Observed(1, "", Tally(1, 1)), found, LATER)
    assert [c["type"] for c in later] == ["Accepted", "Programmed"]
    assert are_said(Relations(), later)


def test_a_server_that_has_not_spoken_leaves_it_open() -> None:
    assert said(Observed(1, "", Tally(known=False)))["Programmed"] == ("False", "Pending")
    assert not Tally(2, 2, known=False).is_final
