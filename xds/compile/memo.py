"""What was compiled, remembered: by the object it was made from, while somebody holds it, or while it is recent.

Compiling is pure, so what is remembered is never wrong; it is only forgotten, when its object is gone, when nobody
holds it any more, or when others were asked for since.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Object = TypeVar("_Object")
_Part = TypeVar("_Part")
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


class WhileHeld(Generic[_Part]):
    """Parts by an equal key, as long as all of them are in use elsewhere: memory follows what is in force.

    Parts need a weak reference slot.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[tuple[weakref.ref[_Part], ...], object]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(
        self, key: Hashable, make: Callable[[], tuple[_Part, ...]], basis: object = None
    ) -> tuple[_Part, ...]:
        """`basis`: what they were made from, if that is to live as long as they do."""
        if (known := self._known.get(key)) is not None:
            found = tuple(part for ref in known[0] if (part := ref()) is not None)
            if len(found) == len(known[0]):
                return found
        parts = make()
        forget = self._forgetting(key)
        self._known[key] = (tuple(weakref.ref(part, forget) for part in parts), basis)
        return parts

    def _forgetting(self, key: Hashable) -> Callable[[weakref.ref[_Part]], None]:
        def forget(gone: weakref.ref[_Part]) -> None:
            # not if it was made again meanwhile
            if (known := self._known.get(key)) is not None and any(ref is gone for ref in known[0]):
                del self._known[key]

        return forget


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
