"""Who may do what, as a table: role × verb × kind × namespace, every cell asserted. And what nobody can give away."""

from __future__ import annotations

import pytest

from controlplane.access import AccessPolicy, Attributes, Caller, covers
from controlplane.builtin_roles import ADMINS, bootstrap_objects
from controlplane.resources.kinds import KINDS, Kind
from controlplane.resources.rbac import (
    GROUP,
    Binding,
    Role,
    Rule,
    Subject,
    parse_cluster_binding,
    parse_cluster_role,
)
from policies.document import Document

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
ROLES = ("viewer", "editor", "admin", "auditor")
WHERE = ("shop", "other", "")  # where the role is bound, another namespace, everywhere
SECURITY = ("WorkloadRegistration", "Quarantine", "FederatedTrustDomain", "GitSource")
OPERATIONS = {  # (verb, resource) of /pylis/v1 → the roles that may, bound everywhere
    ("get", "proxies"): {"viewer", "editor", "admin", "auditor"},
    ("get", "history"): {"viewer", "editor", "admin", "auditor"},
    ("get", "audit"): {"admin", "auditor"},
    ("create", "tokens"): {"admin"},
    ("create", "svids"): {"admin"},
    ("create", "apitokens"): {"admin"},
    ("get", "apitokens"): {"admin"},
    ("create", "authorities"): {"admin"},
}
PATHS = {  # GET → the roles that may, bound everywhere
    "/metrics": {"viewer", "editor", "admin", "auditor"},
    "/debug": {"admin"},
    "/debug/": {"admin"},
    "/debug/queue": {"admin"},
    "/debug/snapshot/shop/orders": {"admin"},
}


def the_policy(scope: str) -> AccessPolicy:
    """The built-in objects, and each role bound to the user of its name: in `scope`, "" everywhere."""
    objects: list[object] = [
        Binding(scope, f"{role}s", (Subject("User", role),), role, cluster_role=True) for role in ROLES
    ]
    for resource, value in bootstrap_objects():
        parse = parse_cluster_role if resource == f"clusterroles.{GROUP}" else parse_cluster_binding
        parsed, problems = parse(Document({"apiVersion": f"{GROUP}/v1", "kind": "x", **value}))
        assert not problems
        objects.append(parsed)
    return AccessPolicy.of(objects)


def expected(role: str, verb: str, kind: Kind) -> bool:
    """The table of `builtin_roles`, said a second time."""
    if role == "admin":
        return True
    if kind.kind == "Secret":
        return False
    if kind.group == GROUP:
        return role == "auditor" and verb in READ
    if verb in READ:
        return True
    if role != "editor" or kind.read_only or kind.kind in SECURITY:
        return False
    return bool(kind.group) or kind.kind == "ConfigMap"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
@pytest.mark.parametrize("scope", ["shop", ""])
def test_every_cell(role: str, kind: Kind, scope: str) -> None:
    policy, caller = the_policy(scope), Caller(role)
    for verb in (*READ, *WRITE):
        for namespace in WHERE:
            wanted = Attributes(verb, kind.group, kind.plural, "", namespace, "")
            reaches = scope in ("", namespace)
            verdict = policy.decide(caller, wanted)
            assert verdict.allowed is (reaches and expected(role, verb, kind)), str(wanted)
            if not verdict.allowed:
                assert str(wanted) in verdict.reason, "the missing permission is named"


@pytest.mark.parametrize(("verb", "resource"), OPERATIONS)
@pytest.mark.parametrize("role", ROLES)
def test_operations(role: str, verb: str, resource: str) -> None:
    wanted = Attributes(verb, "pylis.io", resource)
    assert the_policy("").decide(Caller(role), wanted).allowed is (role in OPERATIONS[verb, resource])
    assert not the_policy("shop").decide(Caller(role), wanted).allowed, "a namespace's role is no operator's"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("role", ROLES)
def test_paths(role: str, path: str) -> None:
    wanted = Attributes("get", url=path)
    assert the_policy("").decide(Caller(role), wanted).allowed is (role in PATHS[path])
    assert not the_policy("shop").decide(Caller(role), wanted).allowed, "paths are in no namespace"


def test_who_is_bound_to_nothing_asks_about_themselves_only() -> None:
    policy, nobody = the_policy(""), Caller("nobody")
    assert policy.decide(
        nobody, Attributes("create", "authorization.k8s.io", "selfsubjectaccessreviews")
    ).allowed
    assert policy.decide(nobody, Attributes("get", url="/openapi/v3")).allowed
    assert not policy.decide(nobody, Attributes("get", url="/metrics")).allowed
    assert not policy.decide(nobody, Attributes("get", "", "namespaces", "", "shop", "shop")).allowed


def test_groups_accounts_and_everybody() -> None:
    assert the_policy("shop").decide(Caller("x", (ADMINS,)), Attributes("delete", "", "secrets")).allowed
    role = Role("shop", "r", (Rule(("get",), ("",), ("configmaps",)),))
    for subject, caller, meant in [
        (Subject("Group", "team"), Caller("a", ("team",)), True),
        (Subject("Group", "team"), Caller("team"), False),
        (Subject("User", "a"), Caller("a"), True),
        (Subject("User", "team"), Caller("a", ("team",)), False),
        (
            Subject("ServiceAccount", "web", "shop"),
            Caller("spiffe://x/ns/shop/sa/web", (), ("shop", "web")),
            True,
        ),
        (
            Subject("ServiceAccount", "web", "shop"),
            Caller("spiffe://x/ns/other/sa/web", (), ("other", "web")),
            False,
        ),
        (Subject("Group", "system:authenticated"), Caller("a"), True),
    ]:
        policy = AccessPolicy.of([role, Binding("shop", "b", (subject,), "r", cluster_role=False)])
        wanted = Attributes("get", "", "configmaps", "", "shop", "x")
        assert policy.decide(caller, wanted).allowed is meant, subject


def test_a_binding_to_a_role_that_is_not_there_grants_nothing() -> None:
    policy = AccessPolicy.of([Binding("", "b", (Subject("User", "a"),), "gone", cluster_role=True)])
    assert not policy.decide(Caller("a"), Attributes("get", "", "configmaps")).allowed


@pytest.mark.parametrize(
    ("rule", "wanted", "covered"),
    [
        (Rule(("get",), ("g",), ("things",)), Attributes("get", "g", "things"), True),
        (Rule(("get",), ("g",), ("things",)), Attributes("get", "g", "things", "status"), False),
        (Rule(("get",), ("g",), ("things/status",)), Attributes("get", "g", "things", "status"), True),
        (Rule(("get",), ("g",), ("*/status",)), Attributes("get", "g", "things", "status"), True),
        (Rule(("get",), ("g",), ("*",)), Attributes("get", "g", "things", "status"), True),
        (Rule(("get",), ("g",), ("things",), ("a",)), Attributes("get", "g", "things", name="a"), True),
        (Rule(("get",), ("g",), ("things",), ("a",)), Attributes("get", "g", "things", name="b"), False),
        (Rule(("get",), ("g",), ("things",), ("a",)), Attributes("get", "g", "things"), False),
        (Rule(("get",), ("",), ("things",)), Attributes("get", "g", "things"), False),
        (Rule(("get",), urls=("/a/*",)), Attributes("get", url="/a/b"), True),
        (Rule(("get",), urls=("/a",)), Attributes("get", url="/a/b"), False),
        (Rule(("*",), ("*",), ("*",)), Attributes("get", url="/a"), False),
    ],
)
def test_what_a_rule_covers(rule: Rule, wanted: Attributes, covered: bool) -> None:
    assert covers(rule, wanted) is covered


def test_nobody_gives_what_they_do_not_hold() -> None:
    policy, editor = the_policy("shop"), Caller("editor")
    own = Rule(("get",), ("security.istio.io",), ("authorizationpolicies",))
    assert policy.missing(editor, [own], "shop") == []
    for more in [
        Rule(("get",), ("security.istio.io",), ("*",)),
        Rule(("*",), ("security.istio.io",), ("authorizationpolicies",)),
        Rule(("get",), ("",), ("secrets",)),
    ]:
        assert policy.missing(editor, [own, more], "shop"), more
    assert policy.missing(editor, [own], "other"), "what is held in one namespace is not held in another"
    metrics = Rule(("get",), urls=("/metrics",))
    assert policy.missing(editor, [metrics], ""), "paths are held everywhere or nowhere"
    assert policy.missing(editor, [metrics], "shop") == [], "and a namespace's binding gives none"
