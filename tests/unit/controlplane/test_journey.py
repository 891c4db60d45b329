from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.journey import (
    MOST_BATCHES,
    MOST_EDITS,
    MOST_PUSHES,
    PATIENCE_SECONDS,
    Batch,
    Edit,
    Journeys,
    Request,
)

A_REQUEST = Request("PUT", "/apis/x", "id")


@dataclass
class Watched:
    now: float = 100.0
    over: list[tuple[Edit, Batch | None, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journeys = Journeys(lambda: self.now, lambda *what: self.over.append(what))

    def edit(self, revision: int = 0, *, answer: bool = True) -> Edit:
        edit = self.journeys.begin(A_REQUEST)
        assert edit is not None
        self.now += 1
        edit.begins_to_commit()
        if revision:
            self.now += 1
            edit.is_committed(revision)
        if answer:
            self.journeys.answered(edit, 200)
        return edit


def test_an_edit_is_over_when_the_last_proxy_that_it_concerns_has_answered() -> None:
    watched = Watched()
    watched.edit(7)
    watched.journeys.in_force(7, 3, ["a", "b"])
    watched.now = 110
    watched.journeys.compiled("a")
    watched.now = 111
    watched.journeys.settled("a", {})
    watched.journeys.settled("z", {})
    assert watched.over == []
    watched.now = 112
    watched.journeys.settled("b", {"t": ("x",)})
    [(edit, batch, complete)] = watched.over
    assert complete and batch is not None
    assert (edit.began, edit.committing, edit.committed, edit.revision) == (100, 101, 102, 7)
    assert (batch.affected, batch.connected, batch.refused, batch.last) == (3, 2, 1, 112)
    a, b = batch.pushes["a"], batch.pushes["b"]
    assert (a.compiled, a.ended, a.refused) == (110, 111, ())
    assert (b.compiled, b.ended, b.refused) == (0, 112, ("t",))


def test_the_mesh_may_have_it_before_the_request_knows_its_revision() -> None:
    watched = Watched()
    edit = watched.edit(answer=False)
    watched.journeys.in_force(7, 1, ["a"])
    watched.journeys.settled("a", {})
    edit.is_committed(7)
    watched.journeys.answered(edit, 200)
    [(_, batch, complete)] = watched.over
    assert complete and batch is not None and batch.upto == 7


def test_an_edit_that_changed_nothing_or_concerns_nobody_is_over_at_once() -> None:
    watched = Watched()
    watched.edit()
    watched.edit(8)
    watched.journeys.in_force(8, 0, [])
    assert [(batch is None, complete) for _, batch, complete in watched.over] == [(True, True), (False, True)]


def test_edits_that_come_into_force_together_share_what_is_told() -> None:
    watched = Watched()
    for revision in (3, 4, 6):
        watched.edit(revision)
    watched.journeys.in_force(4, 1, ["a"])
    watched.journeys.in_force(6, 1, ["a"])
    watched.journeys.settled("a", {})  # the newest wins: one answer to both
    assert [edit.revision for edit, _, _ in watched.over] == [3, 4, 6]
    assert [batch.upto for _, batch, _ in watched.over if batch] == [4, 4, 6]


def test_a_proxy_that_goes_is_waited_for_no_more() -> None:
    watched = Watched()
    watched.edit(1)
    watched.journeys.in_force(1, 1, ["a"])
    watched.journeys.gone("a")
    [(_, batch, complete)] = watched.over
    assert complete and batch is not None and (batch.gone, batch.pushes["a"].gone) == (1, True)


def test_who_is_silent_is_given_up_after_a_minute_and_counted() -> None:
    watched = Watched()
    watched.edit(1)
    watched.journeys.in_force(1, 1, ["a"])
    watched.now += PATIENCE_SECONDS - 3
    watched.journeys.give_up()
    assert watched.over == []
    watched.now += 3
    watched.journeys.give_up()
    [(edit, batch, complete)] = watched.over
    assert (edit.revision, complete) == (1, False)
    assert batch is not None and batch.pending == {"a"}
    watched.journeys.settled("a", {})
    assert len(watched.over) == 1, "told once"


def test_what_is_kept_is_bounded() -> None:
    watched = Watched()
    open_edits = [edit for _ in range(MOST_EDITS) if (edit := watched.journeys.begin(A_REQUEST))]
    assert watched.journeys.begin(A_REQUEST) is None
    assert watched.journeys.untraced == 1
    for revision in range(1, 3 * MOST_BATCHES):
        watched.journeys.in_force(
            revision, 100, [f"n{n:03}" for n in range(100)] if revision == 1 else ["silent"]
        )
    assert len(watched.journeys._batches) == MOST_BATCHES
    assert len(watched.journeys._pending["silent"]) == MOST_BATCHES
    assert not any(watched.journeys._pending[f"n{n:03}"] for n in range(100))
    for edit in open_edits:
        watched.journeys.answered(edit, 200)
    assert not watched.journeys._batches and not watched.journeys._pending


def test_proxies_are_told_one_by_one_up_to_a_number() -> None:
    watched = Watched()
    watched.edit(1)
    nodes = [f"n{n:03}" for n in range(MOST_PUSHES + 10)]
    watched.journeys.in_force(1, len(nodes), nodes)
    for node in nodes:
        watched.journeys.settled(node, {})
    [(_, batch, _)] = watched.over
    assert batch is not None
    assert (len(batch.pushes), batch.connected) == (MOST_PUSHES, MOST_PUSHES + 10)


def test_the_end_finishes_what_is_open() -> None:
    watched = Watched()
    watched.edit(1)
    watched.journeys.stop()
    assert [complete for _, _, complete in watched.over] == [False]
