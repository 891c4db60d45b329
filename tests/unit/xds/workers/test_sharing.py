"""Snapshots over a channel: what the worker ends up with is what was offered, and each resource travels once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xds.errors import FrameError
from xds.snapshot import CLUSTER, LISTENER, Resource, Snapshot
from xds.workers.frames import Drop, Offer, Shelve
from xds.workers.sharing import Copies, Shelf


def a_resource(name: str, content: str = "1", type_url: str = CLUSTER) -> Resource:
    return Resource(type_url, name, content.encode(), content)


class Both:
    """A shelf, the copies it is told of, and all that went over."""

    def __init__(self) -> None:
        self.shelf, self.copies = Shelf(), Copies()
        self.frames: list[Shelve | Offer | Drop] = []

    def offer(self, stream: int, *resources: Resource) -> list[Shelve | Offer | Drop]:
        return self.tell(self.shelf.offer(stream, Snapshot.of(resources)))

    def close(self, stream: int) -> None:
        self.copies.close(stream)
        self.tell([*self.shelf.close(stream)])

    def tell(self, frames: list[Shelve | Offer | Drop]) -> list[Shelve | Offer | Drop]:
        for frame in frames:
            match frame:
                case Shelve():
                    self.copies.shelve(frame)
                case Offer():
                    self.copies.offer(frame)
                case Drop():
                    self.copies.drop(frame)
        return frames


def test_a_resource_of_many_streams_travels_once() -> None:
    both = Both()
    first = both.offer(1, a_resource("a"), a_resource("b"))
    second = both.offer(2, a_resource("a"), a_resource("b"))
    assert [type(frame) for frame in first] == [Shelve, Shelve, Offer]
    assert [type(frame) for frame in second] == [Offer]
    assert both.copies.snapshot(1).resources(CLUSTER) is both.copies.snapshot(2).resources(CLUSTER)
    assert (
        both.copies.snapshot(1) == both.copies.snapshot(2) == Snapshot.of([a_resource("a"), a_resource("b")])
    )


def test_only_types_that_changed_are_said_and_others_stay_the_same_object() -> None:
    both = Both()
    both.offer(1, a_resource("a"), a_resource("l", type_url=LISTENER))
    clusters = both.copies.snapshot(1).resources(CLUSTER)
    told = both.offer(1, a_resource("a"), a_resource("l", "2", LISTENER))
    assert [f.changed.keys() for f in told if isinstance(f, Offer)] == [{LISTENER}]
    assert both.copies.snapshot(1).resources(CLUSTER) is clusters


def test_a_name_with_another_content_is_another_resource() -> None:
    both = Both()
    both.offer(1, a_resource("a", "1"))
    both.offer(2, a_resource("a", "2"))
    assert both.copies.snapshot(1).resources(CLUSTER)["a"].body == b"1"
    assert both.copies.snapshot(2).resources(CLUSTER)["a"].body == b"2"


def test_a_table_that_replicas_share_is_looked_at_once_and_stays_while_one_holds_it() -> None:
    both = Both()
    shared = Snapshot.of([a_resource("a")])
    for stream in (1, 2):
        both.tell(both.shelf.offer(stream, shared))
    both.close(1)
    assert len(both.copies) == 1
    assert both.copies.snapshot(2) == shared
    both.close(2)
    assert len(both.shelf) == len(both.copies) == 0


def test_offers_are_counted_for_each_stream() -> None:
    both = Both()
    told = [frame for _ in range(2) for frame in both.offer(1, a_resource("a")) if isinstance(frame, Offer)]
    assert [frame.count for frame in told] == [1, 2]
    assert (both.shelf.count(1), both.shelf.count(2)) == (2, 0)


def test_an_offer_of_what_was_never_shelved_is_an_error() -> None:
    with pytest.raises(FrameError, match="never shelved"):
        Copies().offer(Offer(1, 1, {CLUSTER: (5,)}, ()))


_RESOURCES = st.lists(
    st.builds(
        a_resource, st.sampled_from("abcd"), st.sampled_from("12"), st.sampled_from((CLUSTER, LISTENER))
    ),
    max_size=6,
    unique_by=lambda r: (r.type_url, r.name),
)
_STEP = st.tuples(st.integers(1, 3), st.none() | _RESOURCES)


@settings(max_examples=100, deadline=None)
@given(st.lists(_STEP, max_size=15))
def test_any_offers_and_closes_end_with_equal_snapshots_and_nothing_too_much(
    steps: list[tuple[int, list[Resource] | None]],
) -> None:
    both, expected = Both(), dict[int, Snapshot]()
    known = dict[tuple[Resource, ...], Snapshot]()  # equal ones are the same, as those of replicas are
    for stream, resources in steps:
        if resources is None:
            both.close(stream)
            expected.pop(stream, None)
        else:
            expected[stream] = known.setdefault(tuple(resources), Snapshot.of(resources))
            both.tell(both.shelf.offer(stream, expected[stream]))
    for stream in range(1, 4):
        assert both.copies.snapshot(stream).version == expected.get(stream, Snapshot()).version
    held = {r for one in expected.values() for names in one.by_type.values() for r in names.values()}
    assert len(both.shelf) == len(both.copies) == len(held)
