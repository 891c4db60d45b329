"""Quotas: how many objects a namespace holds, and how large one is, is bounded before anything is written."""

from __future__ import annotations

import pytest

from controlplane.access import Caller
from controlplane.api.authorization import Authorization
from controlplane.api.errors import ApiError
from controlplane.api.target import Options, Target
from controlplane.api.writes import Author, Quotas, Writes
from controlplane.first_start import put_objects
from controlplane.resources.kinds import by_word
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Store

AUTHOR = Author(Caller("test"), Options(False, "test", "Ignore", False), trusted=True)
TRIAL = Author(Caller("test"), Options(True, "test", "Ignore", False), trusted=True)


async def created(store: Store, quotas: Quotas, name: str, text: str = "", author: Author = AUTHOR) -> None:
    kind = by_word("configmaps")
    assert kind is not None
    writes = Writes(store, Authorization(store, "istio-system"), quotas)
    body = {"metadata": {"name": name, "namespace": "default"}, "data": {"v": text}}
    await writes.create(Target(kind, "default", name), body, author)


async def test_a_namespace_holds_so_many_of_a_kind_and_a_trial_says_so_too() -> None:
    store = MemoryStore()
    await put_objects(store, "istio-system")
    await created(store, Quotas(objects=1), "a")
    for author in (AUTHOR, TRIAL):
        with pytest.raises(ApiError, match="exceeded quota: default may hold 1 configmaps") as refused:
            await created(store, Quotas(objects=1), "b", author=author)
        assert refused.value.code == 403
    records, _ = await store.list("configmaps", "default")
    assert [record.key.name for record in records] == ["a"]


async def test_an_object_has_at_most_so_many_bytes() -> None:
    store = MemoryStore()
    await put_objects(store, "istio-system")
    with pytest.raises(ApiError, match="an object has at most 1000") as refused:
        await created(store, Quotas(bytes=1_000), "a", "x" * 1_000)
    assert refused.value.code == 413
    assert (await store.list("configmaps", "default"))[0] == []
