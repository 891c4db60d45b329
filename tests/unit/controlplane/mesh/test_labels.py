from __future__ import annotations

from controlplane.mesh.labels import Labelled, Selectors


def test_a_selector_is_found_by_any_workload_that_carries_all_its_labels() -> None:
    table: Selectors[str] = Selectors()
    table.add("everything", "shop", {})
    table.add("web", "shop", {"app": "web"})
    table.add("web-v2", "shop", {"app": "web", "version": "2"})
    table.add("elsewhere", "ops", {})
    assert set(table.selecting("shop", {"app": "web"})) == {"everything", "web"}
    assert set(table.selecting("shop", {"app": "web", "version": "2"})) == {"everything", "web", "web-v2"}
    assert set(table.selecting("shop", {"version": "2"})) == {"everything"}


def test_a_removed_selector_selects_nothing() -> None:
    table: Selectors[str] = Selectors()
    table.add("web", "shop", {"app": "web"})
    table.remove("web")
    assert list(table.selecting("shop", {"app": "web"})) == []


def test_workloads_are_found_by_selector_within_a_namespace_or_in_all() -> None:
    table: Labelled[str] = Labelled()
    table.add("a", "shop", {"app": "web", "tier": "x"})
    table.add("b", "shop", {"app": "web"})
    table.add("c", "ops", {"app": "web"})
    assert table.selected("shop", {"app": "web"}) == ["a", "b"]
    assert table.selected("shop", {"app": "web", "tier": "x"}) == ["a"]
    assert table.selected(None, {"app": "web"}) == ["a", "b", "c"]
    assert table.selected("shop", {}) == ["a", "b"]
    assert table.selected("shop", {"app": "db"}) == []
    table.remove("a")
    assert table.selected(None, {"tier": "x"}) == []
