"""Lists: the same records are encoded once, other records never get their bytes."""

from __future__ import annotations

import json
from typing import Any

from aiohttp.test_utils import make_mocked_request

from controlplane.api.answers import LISTS_KEPT, Lists
from controlplane.resources.kinds import Kind, by_word
from controlplane.store.port import Key, Record

REQUEST = make_mocked_request("GET", "/", headers={"Accept": "application/json"})


def the_kind(word: str = "cm") -> Kind:
    kind = by_word(word)
    assert kind is not None
    return kind


def some(count: int, data: str = "x", namespace: str = "shop") -> list[Record]:
    keys = (Key("configmaps", namespace, f"m{n}") for n in range(count))
    return [Record.of(k, {"metadata": {"name": k.name}, "data": {"v": data}}, 1, 2) for k in keys]


def told(lists: Lists, records: list[Record], revision: str = "7", word: str = "cm") -> Any:
    response = lists.many(REQUEST, the_kind(word), records, {"resourceVersion": revision})
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def test_each_list_is_told_as_it_is() -> None:
    lists, records = Lists(), some(3)
    first = told(lists, records)
    assert [item["metadata"]["name"] for item in first["items"]] == ["m0", "m1", "m2"]
    assert told(lists, records, "8") == {**first, "metadata": {"resourceVersion": "8"}}
    changed = [records[0], some(3, "other")[1], records[2]]
    assert [item["data"]["v"] for item in told(lists, changed)["items"]] == ["x", "other", "x"]
    assert len(told(lists, changed[:2])["items"]) == 2
    assert told(lists, [])["items"] == []
    assert told(lists, records) == first


def test_only_so_many_are_kept() -> None:
    lists = Lists()
    for n in range(3 * LISTS_KEPT):
        told(lists, some(2, namespace=f"n{n}"))
    assert len(lists._kept) == LISTS_KEPT
