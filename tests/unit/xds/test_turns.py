from __future__ import annotations

import asyncio
import itertools

from xds.turns import Turns


async def come(turns: Turns, who: str, came: list[str]) -> None:
    await turns.enter(who)
    came.append(who)


async def test_one_comes_in_a_turn_of_the_loop() -> None:
    turns, came = Turns(), list[str]()
    newcomers = [asyncio.create_task(come(turns, f"n{n}", came)) for n in range(50)]
    behind = list[int]()
    for _ in range(20):  # somebody who is in, and has something to do in each turn
        await asyncio.sleep(0)
        behind.append(len(came))
    steps = {after - before for before, after in itertools.pairwise(behind)}
    assert steps == {0, 1}
    await asyncio.gather(*newcomers)
    assert came == [f"n{n}" for n in range(50)]


async def test_who_comes_often_waits_for_itself() -> None:
    turns, came = Turns(), list[str]()
    greedy = [asyncio.create_task(come(turns, "greedy", came)) for _ in range(100)]
    await asyncio.sleep(0)
    others = [asyncio.create_task(come(turns, f"n{n}", came)) for n in range(5)]
    await asyncio.gather(*greedy, *others)
    assert came.index("n4") < 20
    assert came.count("greedy") == 100


async def test_who_goes_while_waiting_takes_nobodys_turn() -> None:
    turns, came = Turns(), list[str]()
    first = asyncio.create_task(come(turns, "first", came))
    gone = asyncio.create_task(come(turns, "gone", came))
    others = [asyncio.create_task(come(turns, f"n{n}", came)) for n in range(3)]
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(first, *others)
    assert came == ["first", "n0", "n1", "n2"]
    await asyncio.gather(gone, return_exceptions=True)


async def test_nobody_is_left_waiting_and_it_starts_anew() -> None:
    turns, came = Turns(), list[str]()
    for number in range(3):
        await asyncio.gather(*(come(turns, f"n{number}", came) for _ in range(4)))
        assert turns.waiting == 0
    assert len(came) == 12


async def test_some_may_come_in_the_same_turn_and_who_is_not_crowded_does_not_wait() -> None:
    turns, came = Turns(4), list[str]()
    crowd = [asyncio.create_task(come(turns, f"n{n}", came)) for n in range(9)]
    seen = list[int]()
    while len(came) < len(crowd):
        await asyncio.sleep(0)
        seen.append(len(came))
    assert max(after - before for before, after in itertools.pairwise([0, *seen])) <= 4
    await asyncio.gather(*crowd)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    before = asyncio.create_task(asyncio.sleep(0))
    await come(turns, "alone", came)
    assert not before.done(), "the loop has not turned"
    await before


async def test_who_has_not_been_in_for_the_longest_time_is_next() -> None:
    turns, came = Turns(), list[str]()
    for who in ("seldom", "often", "often"):
        await turns.enter(who)
    waiting = [asyncio.create_task(come(turns, who, came)) for who in ("often", "often", "seldom")]
    await asyncio.gather(*waiting)
    assert came.index("seldom") < 2
