from __future__ import annotations

import asyncio
import itertools

from xds.admission import Admission


async def come(admission: Admission, who: str, came: list[str]) -> None:
    await admission.enter(who)
    came.append(who)


async def test_one_newcomer_comes_in_a_turn_of_the_loop() -> None:
    admission, came = Admission(), list[str]()
    newcomers = [asyncio.create_task(come(admission, f"n{n}", came)) for n in range(50)]
    behind = list[int]()
    for _ in range(20):  # somebody who is in, and has something to do in each turn
        await asyncio.sleep(0)
        behind.append(len(came))
    steps = {after - before for before, after in itertools.pairwise(behind)}
    assert steps == {0, 1}
    await asyncio.gather(*newcomers)
    assert came == [f"n{n}" for n in range(50)]


async def test_who_comes_often_waits_for_itself() -> None:
    admission, came = Admission(), list[str]()
    greedy = [asyncio.create_task(come(admission, "greedy", came)) for _ in range(100)]
    await asyncio.sleep(0)
    others = [asyncio.create_task(come(admission, f"n{n}", came)) for n in range(5)]
    await asyncio.gather(*greedy, *others)
    assert came.index("n4") < 20
    assert came.count("greedy") == 100


async def test_who_goes_while_waiting_takes_nobodys_turn() -> None:
    admission, came = Admission(), list[str]()
    gone = asyncio.create_task(come(admission, "gone", came))
    others = [asyncio.create_task(come(admission, f"n{n}", came)) for n in range(3)]
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(*others)
    assert came == ["n0", "n1", "n2"]
    await asyncio.gather(gone, return_exceptions=True)


async def test_nobody_is_left_waiting_and_it_starts_anew() -> None:
    admission, came = Admission(), list[str]()
    for number in range(3):
        await asyncio.gather(*(come(admission, f"n{number}", came) for _ in range(4)))
        assert admission.waiting == 0
    assert len(came) == 12
