"""Which selectors fit which labels, found without asking every selector or every workload.

Two tables for the two directions. Each is keyed by one label (a selector needs all of its labels, so any one of
them is enough to find it); what is found is checked in full. Keys are whatever the caller knows its things by.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

from policies.selector import selects

_Key = TypeVar("_Key", bound=Hashable)
_Label = tuple[str, str]
_Labels = Mapping[str, str]


class Selectors(Generic[_Key]):
    """Selectors by namespace: which of them select a workload with these labels?"""

    def __init__(self) -> None:
        self._all: dict[_Key, tuple[str, _Labels]] = {}
        self._by_label: dict[tuple[str, _Label | None], dict[_Key, None]] = {}

    def add(self, key: _Key, namespace: str, selector: _Labels) -> None:
        self._all[key] = (namespace, selector)
        self._by_label.setdefault((namespace, _one_of(selector)), {})[key] = None

    def remove(self, key: _Key) -> None:
        namespace, selector = self._all.pop(key)
        _drop(self._by_label, (namespace, _one_of(selector)), key)

    def alike(self, key: _Key) -> list[_Key]:
        """Those of its namespace with the same selector, itself among them."""
        namespace, selector = self._all[key]
        found = self._by_label[namespace, _one_of(selector)]
        return [other for other in found if self._all[other][1] == selector]

    def selecting(self, namespace: str, labels: _Labels) -> Iterator[_Key]:
        for label in (None, *labels.items()):
            for key in self._by_label.get((namespace, label), ()):
                if selects(self._all[key][1], labels):
                    yield key


class Labelled(Generic[_Key]):
    """Workloads by namespace and label: which of them does a selector select?"""

    def __init__(self) -> None:
        self._all: dict[_Key, tuple[str, _Labels]] = {}
        self._by_label: dict[tuple[str | None, _Label | None], dict[_Key, None]] = {}

    def add(self, key: _Key, namespace: str, labels: _Labels) -> None:
        self._all[key] = (namespace, labels)
        for bucket in _buckets(namespace, labels):
            self._by_label.setdefault(bucket, {})[key] = None

    def remove(self, key: _Key) -> None:
        namespace, labels = self._all.pop(key)
        for bucket in _buckets(namespace, labels):
            _drop(self._by_label, bucket, key)

    def selected(self, namespace: str | None, selector: _Labels) -> list[_Key]:
        """`namespace` None: of all namespaces."""
        wanted: list[_Label | None] = [*selector.items()] or [None]
        found = min((self._by_label.get((namespace, label), {}) for label in wanted), key=len)
        return [key for key in found if selects(selector, self._all[key][1])]


def _one_of(selector: _Labels) -> _Label | None:
    return min(selector.items(), default=None)


def _buckets(namespace: str, labels: _Labels) -> Iterator[tuple[str | None, _Label | None]]:
    for label in (None, *labels.items()):
        yield namespace, label
        yield None, label


_Bucket = TypeVar("_Bucket", bound=Hashable)


def _drop(table: dict[_Bucket, dict[_Key, None]], bucket: _Bucket, key: _Key) -> None:
    del table[bucket][key]
    if not table[bucket]:
        del table[bucket]
