from __future__ import annotations

from controlplane.mesh.selecting import Objects
from controlplane.resources.sidecar import Sidecar

ROOT, SHOP, WEB = Sidecar("root", "all"), Sidecar("shop", "all"), Sidecar("shop", "web", {"app": "web"})


def names(table: Objects[Sidecar], **labels: str) -> list[str]:
    return [f"{one.namespace}/{one.name}" for one in table.by_age("shop", labels, "root")]


def test_what_applies_comes_oldest_first_until_it_is_gone() -> None:
    table: Objects[Sidecar] = Objects()
    for created, one in ((3, ROOT), (2, WEB), (1, SHOP)):
        table.put(one.name + one.namespace, created, one)
    assert names(table, app="web") == ["shop/all", "shop/web", "root/all"]
    assert names(table, app="db") == ["shop/all", "root/all"]
    assert table.by_age("ops", {"app": "web"}, "root") == [ROOT]
    table.remove("allshop")
    table.remove("allshop")
    assert names(table, app="web") == ["shop/web", "root/all"]
    assert set(map(id, table)) == {id(ROOT), id(WEB)}


def test_an_object_that_is_put_again_selects_what_it_says_now() -> None:
    table: Objects[Sidecar] = Objects()
    table.put("web", 1, WEB)
    table.put("web", 1, Sidecar("shop", "web", {"app": "db"}))
    assert names(table, app="web") == []
    assert names(table, app="db") == ["shop/web"]
