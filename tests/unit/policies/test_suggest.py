from policies.authorization_policy import AuthorizationPolicy, parse
from policies.document import Document
from policies.program import Protocol
from policies.request import Request
from policies.side import Policies, Target
from policies.suggest import suggest
from policies.workload import MeshSettings, Workload
from policies.write import write

TARGET = Target(Workload("shop", "b", "b", {"app": "b"}), 80, Protocol.HTTP)
ASKED = Request("td/ns/a/sa/x", method="PUT", path="/a/{id}?x=1")


def a_policy(**spec: object) -> AuthorizationPolicy:
    value = {"metadata": {"name": "b-allow-x", "namespace": "shop"}, "spec": spec}
    found, problems = parse(Document(value))  # pyright: ignore[reportArgumentType] - JSON written as Python
    assert found is not None, problems
    return found


def test_one_rule_for_this_caller_method_path_and_port() -> None:
    (policy,) = suggest(Policies(MeshSettings("td"), (a_policy(),)), TARGET, ASKED).changed
    assert write(policy) == {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "b-allow-x-2", "namespace": "shop"},  # the name is taken
        "spec": {
            "selector": {"matchLabels": {"app": "b"}},
            "rules": [
                {
                    "from": [{"source": {"principals": ["td/ns/a/sa/x"]}}],
                    # as Envoy normalises it
                    "to": [{"operation": {"ports": ["80"], "methods": ["PUT"], "paths": ["/a/%7Bid%7D"]}}],
                }
            ],
        },
    }


def test_what_no_policy_can_change_is_said() -> None:
    found = suggest(
        Policies(MeshSettings("td"), (a_policy(),)), TARGET, Request(None, method="GET", path="/")
    )
    assert (found.changed, found.reason) == ((), "mtls-strict")


def test_nothing_to_do() -> None:
    found = suggest(
        Policies(MeshSettings("td"), (a_policy(rules=[{}]),)),
        TARGET,
        Request("td/ns/a/sa/x", method="GET", path="/"),
    )
    assert (found.changed, found.reason) == ((), "it is allowed already")
