"""What was compiled, remembered: by the object it was made from, or by an equal key among the most recent.

Compiling is pure, so what is remembered is never wrong; it is only forgotten, when its object is gone or others
were asked for since.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Object = TypeVar("_Object")
_Value = TypeVar("_Value")


class ByIdentity(Generic[_Object, _Value]):
    """For large objects: nothing of them is hashed or compared. They need a weak reference slot."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[_Object], _Value]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, of: _Object, make: Callable[[_Object], _Value]) -> _Value:
        entry = self._known.get(id(of))
        if entry is not None and entry[0]() is of:
            return entry[1]
        value, key = make(of), id(of)
        self._known[key] = (weakref.ref(of, lambda _: self._known.pop(key, None)), value)
        return value


class Recent(Generic[_Value]):
    """The `limit` values asked for last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[Hashable, _Value] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        if key not in self._known:
            return self.put(key, make())
        value = self._known.pop(key)  # to the end: the first is the one not asked for longest
        self._known[key] = value
        return value

    def put(self, key: Hashable, value: _Value) -> _Value:
        self._known.pop(key, None)
        if len(self._known) >= self._limit:
            del self._known[next(iter(self._known))]
        self._known[key] = value
        return value
