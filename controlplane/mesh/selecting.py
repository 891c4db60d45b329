"""Objects of one kind that select workloads by namespace and labels, found by the workload."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from controlplane.mesh.labels import Selectors


class Selecting(Protocol):
    @property
    def namespace(self) -> str: ...

    @property
    def selector(self) -> Mapping[str, str]: ...


_Object = TypeVar("_Object", bound=Selecting)


class Objects(Generic[_Object]):
    def __init__(self) -> None:
        self._all: dict[Hashable, tuple[int, _Object]] = {}
        self._selectors: Selectors[Hashable] = Selectors()

    def put(self, key: Hashable, created: int, value: _Object) -> None:
        self.remove(key)
        self._all[key] = (created, value)
        self._selectors.add(key, value.namespace, value.selector)

    def remove(self, key: Hashable) -> None:
        if self._all.pop(key, None) is not None:
            self._selectors.remove(key)

    def __iter__(self) -> Iterator[_Object]:
        return (value for _, value in self._all.values())

    def alike(self, key: Hashable) -> list[Hashable]:
        """Those of the same namespace with the same selector, itself among them."""
        return self._selectors.alike(key)

    def applying(self, namespace: str, labels: Mapping[str, str], root: str) -> list[_Object]:
        """Of the workload's namespace and of the root namespace, in no order."""
        return [value for _, value in self._applying(namespace, labels, root)]

    def by_age(self, namespace: str, labels: Mapping[str, str], root: str) -> list[_Object]:
        """The same, oldest first."""
        found = sorted(self._applying(namespace, labels, root), key=lambda one: one[0])
        return [value for _, value in found]

    def _applying(
        self, namespace: str, labels: Mapping[str, str], root: str
    ) -> Iterator[tuple[int, _Object]]:
        for name in dict.fromkeys((namespace, root)):
            for key in self._selectors.selecting(name, labels):
                yield self._all[key]
