from policies.authorization_policy import AuthorizationPolicy
from policies.select import select
from policies.workload import MeshSettings, Workload

MESH = MeshSettings("td", root_namespace="root")
ORDERS = Workload("shop", "orders", "orders", {"app": "orders", "tier": "back"})


def names(*policies: AuthorizationPolicy) -> list[str]:
    return [policy.full_name for policy in select(policies, ORDERS, MESH)]


def a_policy(namespace: str, name: str, **labels: str) -> AuthorizationPolicy:
    return AuthorizationPolicy(namespace, name, selector=labels)


def test_own_and_root_namespace_with_fitting_labels() -> None:
    assert names(
        a_policy("shop", "all"),
        a_policy("shop", "mine", app="orders"),
        a_policy("shop", "other", app="catalog"),
        a_policy("bank", "all"),
        a_policy("root", "mesh"),
        a_policy("root", "some", tier="back"),
        a_policy("root", "none", tier="front"),
    ) == ["root/mesh", "root/some", "shop/all", "shop/mine"]


def test_the_order_given_does_not_matter() -> None:
    policies = [a_policy("shop", "b"), a_policy("root", "z"), a_policy("shop", "a")]
    assert names(*policies) == names(*reversed(policies)) == ["root/z", "shop/a", "shop/b"]
