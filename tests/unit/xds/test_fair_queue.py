from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from xds.fair_queue import FairQueue


def drained(queue: FairQueue[str]) -> Iterator[str]:
    while (item := queue.pop()) is not None:
        yield item


def test_between_keys_it_goes_round_and_of_one_key_in_order() -> None:
    queue = FairQueue[str]()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.put(item[0], item)
    assert len(queue) == 6
    assert list(drained(queue)) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert (len(queue), queue.pop()) == (0, None)


def test_who_was_served_longest_ago_is_next() -> None:
    queue = FairQueue[str]()
    for key in ("old", "new", "newest"):
        queue.served(key)
    for key in ("newest", "new", "old", "never"):
        queue.put(key, key)
    assert list(drained(queue)) == ["never", "old", "new", "newest"]


def test_one_that_comes_again_and_again_is_served_once_between_two_of_another() -> None:
    queue, served = FairQueue[str](), list[str]()
    for _ in range(20):
        queue.put("flood", "flood")
    for number in range(10):
        queue.put("now and then", f"{number}")
        served += [queue.pop() or "", queue.pop() or ""]
    assert Counter(served)["flood"] == 10
    assert [one for one in served if one != "flood"] == [f"{n}" for n in range(10)]


def test_who_was_served_long_ago_is_forgotten() -> None:
    queue = FairQueue[str](remembered=2)
    for key in ("a", "b", "c"):
        queue.served(key)
    for key in ("c", "b", "a"):
        queue.put(key, key)
    assert list(drained(queue)) == ["a", "b", "c"]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=60))
def test_nothing_is_lost_nothing_doubled_and_nobody_passes_twice_while_another_waits(
    steps: list[tuple[bool, str]],
) -> None:
    queue, waiting, passed = FairQueue[tuple[str, int]](), dict[str, list[int]](), dict[str, Counter[str]]()
    for number, (puts, key) in enumerate(steps):
        if puts:
            queue.put(key, (key, number))
            waiting.setdefault(key, []).append(number)
            passed.setdefault(key, Counter())
            continue
        found = queue.pop()
        if found is None:
            assert not waiting
            continue
        who, which = found
        assert waiting[who].pop(0) == which
        del passed[who]
        if waiting[who]:
            passed[who] = Counter()
        else:
            del waiting[who]
        for others in passed.values():
            others[who] += 1
            assert others[who] <= 1 or others is passed.get(who)
    assert len(queue) == sum(map(len, waiting.values()))
