"""What lint calls without effect has none: policies without those rules decide the same, proven by `diff`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from policies.authorization_policy import AuthorizationPolicy, parse
from policies.diff import Relation, all_targets, diff
from policies.document import Document
from policies.lint.effect import check
from policies.lint.world import World
from policies.program import Protocol
from policies.side import Policies
from policies.workload import MeshSettings

LISTS = {
    "principals": ["td/ns/a/sa/x", "td/*", "*"],
    "namespaces": ["a", "b"],
    "methods": ["GET", "P*"],
    "paths": ["/a", "/a*", "*/b", "/{*}"],
    "ports": ["80", "81"],
}


def fields(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    lists = {n: st.lists(st.sampled_from(LISTS[n]), min_size=1, max_size=2, unique=True) for n in names}
    lists |= {f"not{n[0].upper()}{n[1:]}": lists[n] for n in names}
    keys = st.lists(st.sampled_from(sorted(lists)), min_size=1, max_size=2, unique=True)
    return keys.flatmap(lambda chosen: st.fixed_dictionaries({n: lists[n] for n in chosen}))


RULES = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(
            fields("principals", "namespaces").map(lambda s: {"source": s}), min_size=1, max_size=1
        ),
        "to": st.lists(
            fields("methods", "paths", "ports").map(lambda o: {"operation": o}), min_size=1, max_size=2
        ),
    },
)
SPECS = st.lists(
    st.fixed_dictionaries(
        {"action": st.sampled_from(["ALLOW", "DENY"]), "rules": st.lists(RULES, min_size=1, max_size=3)}
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(SPECS)
def test_what_has_no_effect_can_be_removed(specs: list[dict[str, Any]]) -> None:
    found: list[AuthorizationPolicy] = []
    for index, spec in enumerate(specs):
        policy, problems = parse(Document({"metadata": {"name": f"p{index}"}, "spec": spec}))
        assert policy is not None, problems
        found.append(policy)
    before = Policies(MeshSettings("td"), tuple(found))
    flagged = {problem.path for problem in check(World(before))}
    kept = [
        replace(p, rules=tuple(r for i, r in enumerate(p.rules) if f"{p.full_name}[{i}]" not in flagged))
        for p in found
    ]
    after = Policies(MeshSettings("td"), tuple(kept))
    targets = [t for t in all_targets(before) if t.protocol is Protocol.HTTP]
    assert diff(before, after, targets).relation is Relation.EQUIVALENT, flagged
