"""Who is served next, where many ask and some ask much more often: whoever was served longest ago. Pure.

Items wait by key. Of one key they are served in the order they came; between keys the one comes first that has not been
served, or not for the longest time. So a key that asks all the time waits behind itself and in front of nobody, and one
that asks now and then is next, however many items wait.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar

REMEMBERED: Final = 20_000  # keys that nothing waits for; who is forgotten counts as never served
_Item = TypeVar("_Item")


class FairQueue(Generic[_Item]):
    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._number = count(1)  # of what happens: who is served when, who came when
        self._served: OrderedDict[Hashable, int] = OrderedDict()  # longest ago first
        self._waiting: dict[Hashable, deque[_Item]] = {}
        self._keys: list[tuple[int, int, Hashable]] = []  # a heap: served when, came when

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, key: Hashable, item: _Item) -> None:
        if (waiting := self._waiting.get(key)) is not None:
            waiting.append(item)
        else:
            self._waiting[key] = deque((item,))
            self._line_up(key)

    def pop(self) -> _Item | None:
        """The next; None when nothing waits."""
        if not self._keys:
            return None
        _, _, key = heappop(self._keys)
        waiting = self._waiting[key]
        item = waiting.popleft()
        self.served(key)
        if waiting:
            self._line_up(key)
        else:
            del self._waiting[key]
        return item

    def served(self, key: Hashable) -> None:
        """Just now; for who had not to wait."""
        self._served.pop(key, None)
        self._served[key] = next(self._number)
        if len(self._served) > self._remembered:
            self._served.popitem(last=False)

    def _line_up(self, key: Hashable) -> None:
        heappush(self._keys, (self._served.get(key, 0), next(self._number), key))
