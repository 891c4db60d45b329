from typing import cast

import pytest

from policies import codes
from policies.attributes import Attribute, Key
from policies.authorization_policy import AuthorizationPolicy, parse, read
from policies.document import Document, Json
from policies.program import Action


def a_document(spec: Json = None, **metadata: Json) -> Document:
    value: dict[str, Json] = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "orders", "namespace": "shop", **metadata},
    }
    return Document(value if spec is None else {**value, "spec": spec}, "orders.yaml")


def accepted(spec: Json = None, **metadata: Json) -> AuthorizationPolicy:
    policy, problems = parse(a_document(spec, **metadata))
    assert policy is not None, problems
    return policy


def refused(spec: Json, **metadata: Json) -> list[tuple[str, str]]:
    policy, problems = parse(a_document(spec, **metadata))
    assert policy is None
    return [(problem.code, problem.path) for problem in problems if problem.is_error]


def one_rule(rule: Json, action: str = "ALLOW") -> dict[str, Json]:
    return {"action": action, "rules": [rule]}


def test_nothing_is_an_allow_without_rules() -> None:
    policy = accepted({})
    assert (policy.action, policy.rules, policy.selector) == (Action.ALLOW, (), {})
    assert accepted() == policy
    assert policy.full_name == "shop/orders"


def test_a_whole_rule() -> None:
    policy = accepted(
        {
            "selector": {"matchLabels": {"app": "orders"}},
            "action": "DENY",
            "rules": [
                {
                    "from": [
                        {"source": {"principals": ["a"], "notNamespaces": ["b"]}},
                        {"source": {"ipBlocks": ["::1"]}},
                    ],
                    "to": [
                        {"operation": {"hosts": ["h"], "notPaths": ["/"], "ports": ["80"], "methods": ["A"]}},
                    ],
                    "when": [{"key": "request.headers[X-A]", "values": ["v"], "notValues": ["w"]}],
                }
            ],
        }
    )  # fmt: skip
    rule = policy.rules[0]
    assert [[(m.key.attribute, m.values, m.negated) for m in source] for source in rule.sources] == [
        [(Attribute.PRINCIPAL, ("a",), False), (Attribute.NAMESPACE, ("b",), True)],
        [(Attribute.SOURCE_IP, ("::1",), False)],
    ]
    assert len(rule.operations[0]) == 4
    assert [(m.key, m.negated) for m in rule.when] == [
        (Key(Attribute.HEADER, "x-a"), False),
        (Key(Attribute.HEADER, "x-a"), True),
    ]
    assert rule.sources[0][0].path == "spec.rules[0].from[0].source.principals"


def test_ten_mistakes_are_ten_problems() -> None:
    found = refused(
        {
            "action": "PERMIT",
            "selectr": {},
            "rules": [
                {
                    "from": [{"source": {"principal": ["a"]}}, {"source": {"ipBlocks": ["10.0.0.0/99"]}}],
                    "to": [
                        {"operation": {"method": "GET"}},
                        {"operation": {"ports": [8080]}},
                        {"operation": {}},
                    ],
                    "when": [
                        {"key": "source.namespce", "values": ["x"]},
                        {"values": ["x"]},
                        {"key": "source.ip"},
                    ],
                }
            ],
        }
    )
    assert found == [
        (codes.UNKNOWN_FIELD, "spec.selectr"),
        (codes.NOT_A_CHOICE, "spec.action"),
        (codes.UNKNOWN_FIELD, "spec.rules[0].from[0].source.principal"),
        (codes.BAD_NETWORK, "spec.rules[0].from[1].source.ipBlocks[0]"),
        (codes.UNKNOWN_FIELD, "spec.rules[0].to[0].operation.method"),
        (codes.WRONG_TYPE, "spec.rules[0].to[1].operation.ports[0]"),
        (codes.EMPTY_LIST, "spec.rules[0].to[2].operation"),
        (codes.UNKNOWN_ATTRIBUTE, "spec.rules[0].when[0].key"),
        (codes.MISSING, "spec.rules[0].when[1].key"),
        (codes.NO_VALUES, "spec.rules[0].when[2]"),
    ]


@pytest.mark.parametrize(
    ("rule", "code", "path"),
    [
        ({"from": []}, codes.EMPTY_LIST, "from"),
        ({"to": []}, codes.EMPTY_LIST, "to"),
        ({"from": [None]}, codes.WRONG_TYPE, "from[0]"),
        ({"from": [{}]}, codes.MISSING, "from[0].source"),
        ({"from": [{"source": {}}]}, codes.EMPTY_LIST, "from[0].source"),
        ({"from": [{"source": {"principals": []}}]}, codes.EMPTY_LIST, "from[0].source"),
        ({"from": [{"source": {"principals": [""]}}]}, codes.EMPTY_TEXT, "from[0].source.principals[0]"),
        ({"from": [{"source": {"principals": None}}]}, codes.WRONG_TYPE, "from[0].source.principals"),
        ({"to": [{"operation": None}]}, codes.WRONG_TYPE, "to[0].operation"),
        ({"to": [{"operation": {"ports": ["65536"]}}]}, codes.BAD_PORT, "to[0].operation.ports[0]"),
        ({"when": [{"key": "destination.port", "values": ["x"]}]}, codes.BAD_PORT, "when[0].values[0]"),
        (
            {"from": [{"source": {"serviceAccounts": ["a"], "notNamespaces": ["b"]}}]},
            codes.EXCLUDE_EACH_OTHER, "from[0].source",
        ),
        (
            {"from": [{"source": {"serviceAccounts": [f"s{i}" for i in range(17)]}}]},
            codes.TOO_MANY, "from[0].source.serviceAccounts",
        ),
    ],
)  # fmt: skip
def test_mistakes_in_a_rule(rule: Json, code: str, path: str) -> None:
    assert refused(one_rule(rule)) == [(code, f"spec.rules[0].{path}")]


def test_mistakes_of_the_whole() -> None:
    assert refused({"action": "DENY"}) == [(codes.DENY_WITHOUT_RULES, "spec.rules")]
    assert refused({"rules": [None]}) == [(codes.WRONG_TYPE, "spec.rules[0]")]
    assert refused({"rules": None}) == [(codes.WRONG_TYPE, "spec.rules")]
    assert refused({"rules": [{}] * 513}) == [(codes.TOO_MANY, "spec.rules")]
    assert refused({"provider": {"name": "x"}}) == [(codes.EXCLUDE_EACH_OTHER, "spec.provider")]
    assert refused({}, name="No") == [(codes.BAD_NAME, "metadata.name")]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"action": "AUDIT", "rules": [{}]}, codes.AUDIT),
        ({"action": "CUSTOM", "provider": {"name": "x"}, "rules": [{}]}, codes.CUSTOM),
        ({"targetRefs": [{"kind": "Service", "name": "x"}]}, codes.TARGET_REFS),
        ({"targetRef": {"kind": "Service", "name": "x"}}, codes.TARGET_REFS),
        (one_rule({"from": [{"source": {"requestPrincipals": ["*"]}}]}), codes.REQUEST_PRINCIPALS),
        (one_rule({"from": [{"source": {"notRequestPrincipals": ["*"]}}]}), codes.REQUEST_PRINCIPALS),
        (one_rule({"from": [{"source": {"remoteIpBlocks": ["1.2.3.4"]}}]}), codes.REMOTE_IP),
        (one_rule({"from": [{"source": {"notRemoteIpBlocks": ["1.2.3.4"]}}]}), codes.REMOTE_IP),
        (one_rule({"from": [{"source": {"trustDomains": ["td"]}}]}), codes.TRUST_DOMAINS),
        (one_rule({"from": [{"source": {"notTrustDomains": ["td"]}}]}), codes.TRUST_DOMAINS),
        (one_rule({"from": [{"source": {"namespaces": ["a*b"]}}]}), codes.INNER_WILDCARD),
        (one_rule({"to": [{"operation": {"paths": ["/a/{*}"]}}]}), codes.PATH_TEMPLATES),
        (one_rule({"to": [{"operation": {"notPaths": ["/{**}"]}}]}), codes.PATH_TEMPLATES),
        (one_rule({"when": [{"key": "connection.sni", "values": ["x"]}]}), codes.SNI),
    ],
)
def test_what_is_not_enforced_is_not_accepted(spec: dict[str, Json], code: str) -> None:
    assert {found for found, _ in refused(spec)} == {code}


@pytest.mark.parametrize("word", ["true", "1", "T"])
def test_dry_run_is_not_enforced_so_not_accepted(word: str) -> None:
    found = refused({}, annotations={"istio.io/dry-run": word})
    assert found == [(codes.DRY_RUN, "metadata.annotations.istio.io/dry-run")]


def test_dry_run_that_is_off_is_no_dry_run() -> None:
    assert accepted({}, annotations={"istio.io/dry-run": "false"})
    assert refused({}, annotations={"istio.io/dry-run": "yes"})[0][0] == codes.NOT_A_CHOICE


def warnings(spec: Json) -> list[str]:
    policy, problems = parse(a_document(spec))
    assert policy is not None
    return [problem.code for problem in problems]


def test_warnings_do_not_refuse() -> None:
    assert warnings({"selector": {}}) == [codes.SELECTS_EVERYTHING]
    assert warnings(one_rule({"to": [{"operation": {"paths": ["/a"]}}]}, "DENY")) == [codes.WIDE_ON_TCP]
    assert warnings(one_rule({"to": [{"operation": {"paths": ["/a"], "ports": ["80"]}}]}, "DENY")) == []
    assert warnings(one_rule({}, "DENY")) == []
    spiffe: Json = {"from": [{"source": {"principals": ["spiffe://td/ns/a/sa/b"]}}]}
    assert warnings(one_rule(spiffe)) == [codes.SPIFFE_SCHEME]


def test_a_refused_policy_still_says_whom_it_is_for() -> None:
    policy, problems = read(a_document({"action": "AUDIT", "selector": {"matchLabels": {"a": "b"}}}))
    assert problems
    assert (policy.namespace, policy.selector) == ("shop", {"a": "b"})


def test_lines_go_with_the_rules() -> None:
    document = a_document(one_rule({"to": [{"operation": {"paths": ["/a"]}}]}))
    lines = {"spec.rules[0]": 8, "spec.rules[0].to[0].operation.paths": 10}
    policy, _ = parse(Document(document.value, "orders.yaml", lines))
    rule = cast("AuthorizationPolicy", policy).rules[0]
    assert (rule.origin.line, rule.operations[0][0].origin.line) == (8, 10)
