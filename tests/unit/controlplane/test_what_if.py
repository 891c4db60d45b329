"""What a write that is only tried would change: for whom, by which rule; and when nothing can be said."""

from __future__ import annotations

import asyncio
from typing import Any

from controlplane.mesh.live import Edit
from controlplane.resources.kinds import by_word
from controlplane.state import MeshState
from controlplane.store.port import Key
from controlplane.trials import Trials
from policies.document import Document
from policies.workload import MeshSettings
from xds.plan import AccessLog


def a_state(*objects: tuple[str, str, dict[str, Any]]) -> MeshState:
    state = MeshState(MeshSettings("example.org"), AccessLog.DENIED)
    state.apply(edits_of(*objects), 1)
    return state


def edits_of(*objects: tuple[str, str, dict[str, Any]]) -> list[Edit]:
    edits = list[Edit]()
    for age, (word, name, spec) in enumerate(objects):
        kind = by_word(word)
        assert kind is not None
        metadata = {"name": name, "namespace": "shop"}
        whole = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
        parsed, problems = kind.parse(Document(whole))
        assert parsed is not None, problems
        edits.append(Edit(Key(kind.resource, "shop", name), age, parsed))
    return edits


def entries(count: int) -> list[tuple[str, str, dict[str, Any]]]:
    spec = {
        "address": "10.0.0.1",
        "ports": {"http": 8080},
        "labels": {"app": "orders"},
        "serviceAccount": "orders",
    }
    return [("we", f"orders-{n}", spec) for n in range(count)]


SERVICE = {
    "hosts": ["orders.shop"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    "workloadSelector": {"labels": {"app": "orders"}},
}  # fmt: skip


def allow(method: str, account: str = "frontend") -> dict[str, Any]:
    source = {"principals": [f"example.org/ns/shop/sa/{account}"]}
    rules = [{"from": [{"source": source}], "to": [{"operation": {"methods": [method]}}]}]
    return {"selector": {"matchLabels": {"app": "orders"}}, "rules": rules}


def tried(
    state: MeshState, old: dict[str, Any] | None, new: dict[str, Any] | None, word: str = "ap"
) -> list[str]:
    kind = by_word(word)
    assert kind is not None
    metadata = {"name": "p", "namespace": "shop", "uid": "1", "resourceVersion": "7"}
    both = (None if spec is None else {"metadata": metadata, "spec": spec} for spec in (old, new))
    return asyncio.run(Trials(state, lambda: state.revision).lines(kind, *both))


def test_callers_operations_and_rules_are_named_once_for_all_replicas() -> None:
    state = a_state(*entries(30), ("se", "orders", SERVICE), ("ap", "p", allow("GET")))
    head, gained, lost = tried(state, allow("GET"), allow("POST"))
    assert head == "what if: incomparable (1 gained, 1 lost)"
    assert gained.startswith("+ ")
    assert "frontend -> shop/orders-" in gained
    assert "POST /" in gained
    assert "-> shop/p[0]" in gained
    assert lost.startswith("- ")
    assert "GET /" in lost


def test_a_first_policy_takes_and_a_deletion_gives_back() -> None:
    state = a_state(*entries(2), ("se", "orders", SERVICE))
    assert tried(state, None, allow("GET"))[0].startswith("what if: less permissive (0 gained, ")
    with_it = a_state(*entries(2), ("se", "orders", SERVICE), ("ap", "p", allow("GET")))
    assert tried(with_it, allow("GET"), None)[0].startswith("what if: more permissive (")
    assert tried(with_it, allow("GET"), allow("GET")) == ["what if: equivalent (0 gained, 0 lost)"]


def test_modes_count_too() -> None:
    state = a_state(*entries(1), ("se", "orders", SERVICE), ("ap", "q", {"rules": [{}]}))
    found = tried(state, None, {"mtls": {"mode": "PERMISSIVE"}}, "pa")
    assert found[0].startswith("what if: more permissive")
    assert "plaintext" in found[1]


def test_where_nobody_is_concerned_it_says_so() -> None:
    nobody = a_state(("se", "orders", SERVICE))
    assert tried(nobody, None, allow("GET")) == ["what if: no workload is selected; nothing changes yet"]
    no_service = a_state(*entries(1))
    assert "no service leads to" in tried(no_service, None, allow("GET"))[0]
    assert tried(nobody, None, SERVICE, "se") == [], "only policies are compared"


def test_many_changes_are_cut_off_and_counted() -> None:
    state = a_state(*entries(1), ("se", "orders", SERVICE), ("ap", "p", allow("GET")))
    rules = [rule for n in range(15) for rule in allow("POST", f"caller-{n}")["rules"]]
    found = tried(state, allow("GET"), {**allow("GET"), "rules": [*allow("GET")["rules"], *rules]})
    assert (found[0], len(found), found[-1]) == (
        "what if: more permissive (15 gained, 0 lost)",
        12,
        "… and 5 more",
    )


async def test_a_trial_is_of_the_mesh_with_everything_that_was_accepted_before() -> None:
    """A burst of edits comes into force a moment after it was accepted."""
    state, kind = a_state(*entries(1), ("se", "orders", SERVICE)), by_word("ap")
    assert kind is not None
    new = {"metadata": {"name": "p", "namespace": "shop"}, "spec": allow("GET")}
    early = await Trials(state, lambda: 1).lines(kind, None, new)
    trial = asyncio.create_task(Trials(state, lambda: 2).lines(kind, None, new))
    await asyncio.sleep(0)
    state.apply(edits_of(("ap", "before", allow("POST"))), 2)
    assert (await trial) != early
    assert (await trial)[0] == "what if: more permissive (1 gained, 0 lost)"
