from typing import cast

import pytest

from policies import codes
from policies.attributes import Attribute, Key
from policies.authorization_policy import AuthorizationPolicy, parse, read, salvage
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


CUSTOM: dict[str, Json] = {"action": "CUSTOM", "provider": {"name": "x"}, "rules": [{}]}


@pytest.mark.parametrize(
    ("rule", "code", "path"),
    [
        ({"from": [{"source": {"trustDomains": ["td/x"]}}]}, codes.BAD_TRUST_DOMAIN, "from[0].source.trustDomains[0]"),
        ({"from": [{"source": {"notTrustDomains": ["a*b"]}}]}, codes.BAD_TRUST_DOMAIN, "from[0].source.notTrustDomains[0]"),
        ({"from": [{"source": {"remoteIpBlocks": ["x"]}}]}, codes.BAD_NETWORK, "from[0].source.remoteIpBlocks[0]"),
        ({"to": [{"operation": {"paths": ["/a/{id}"]}}]}, codes.BAD_TEMPLATE, "to[0].operation.paths[0]"),
        ({"to": [{"operation": {"notPaths": ["/{**}/{*}"]}}]}, codes.BAD_TEMPLATE, "to[0].operation.notPaths[0]"),
        ({"when": [{"key": "remote.ip", "values": ["x"]}]}, codes.BAD_NETWORK, "when[0].values[0]"),
    ],
)  # fmt: skip
def test_mistakes_in_the_wider_fields(rule: Json, code: str, path: str) -> None:
    assert refused(one_rule(rule)) == [(code, f"spec.rules[0].{path}")]


def test_custom_needs_a_provider_and_rules_that_look_at_no_identity() -> None:
    policy = accepted(CUSTOM)
    assert (policy.action, policy.provider) == (Action.CUSTOM, "x")
    assert refused({**CUSTOM, "provider": {}}) == [(codes.MISSING, "spec.provider.name")]
    assert refused({"action": "CUSTOM", "rules": [{}]}) == [(codes.MISSING, "spec.provider")]
    assert refused({**CUSTOM, "rules": []}) == [(codes.CUSTOM_WITHOUT_RULES, "spec.rules")]
    for field in ("principals", "namespaces", "serviceAccounts", "trustDomains", "requestPrincipals"):
        rule: Json = {"from": [{"source": {field: ["a"]}}]}
        assert refused({**CUSTOM, "rules": [rule]}) == [
            (codes.NOT_IN_CUSTOM, f"rules[0].from[0].source.{field}".replace("rules", "spec.rules"))
        ]
    for key in ("source.principal", "request.auth.claims[a]", "request.auth.audiences"):
        assert refused({**CUSTOM, "rules": [{"when": [{"key": key, "values": ["a"]}]}]}) == [
            (codes.NOT_IN_CUSTOM, "spec.rules[0].when[0].values")
        ]


@pytest.mark.parametrize(
    ("spec", "code", "path"),
    [
        ({"targetRefs": [{"kind": "Pod", "name": "x"}]}, codes.BAD_TARGET, "spec.targetRefs[0].kind"),
        ({"targetRefs": [{"kind": "Service"}]}, codes.MISSING, "spec.targetRefs[0].name"),
        ({"targetRef": {"kind": "Service", "name": "x", "namespace": "y"}}, codes.BAD_TARGET, "spec.targetRef.namespace"),
        (
            {"selector": {"matchLabels": {"a": "b"}}, "targetRef": {"kind": "Service", "name": "x"}},
            codes.EXCLUDE_EACH_OTHER, "spec.targetRef",
        ),
        ({"targetRefs": [{"kind": "Service", "name": "x"}] * 17}, codes.TOO_MANY, "spec.targetRefs"),
    ],
)  # fmt: skip
def test_mistakes_in_targets(spec: Json, code: str, path: str) -> None:
    assert refused(spec) == [(code, path)]


def test_targets_are_kept_and_warned_about() -> None:
    policy, problems = parse(a_document({"targetRefs": [{"kind": "Service", "name": "x"}]}))
    assert policy is not None
    assert [(t.kind, t.name) for t in policy.targets] == [("Service", "x")]
    assert [problem.code for problem in problems] == [codes.TARGETS_NO_SIDECAR]


@pytest.mark.parametrize("word", ["true", "1", "T"])
def test_dry_run_is_of_allow_and_deny_only(word: str) -> None:
    assert accepted({}, annotations={"istio.io/dry-run": word}).dry_run
    for spec in ({"action": "AUDIT", "rules": [{}]}, CUSTOM):
        found = refused(spec, annotations={"istio.io/dry-run": word})
        assert found == [(codes.DRY_RUN_MISUSE, "metadata.annotations.istio.io/dry-run")]


def test_dry_run_that_is_off_is_no_dry_run() -> None:
    assert not accepted({}, annotations={"istio.io/dry-run": "false"}).dry_run
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


def test_a_refused_policy_still_says_whom_it_is_for_and_which_rules_are_broken() -> None:
    bad: Json = {"to": [{"operation": {"paths": ["/{a}"], "methods": ["GET"]}}]}
    policy, problems = read(a_document({"selector": {"matchLabels": {"a": "b"}}, "rules": [{}, bad]}))
    assert problems
    assert (policy.namespace, policy.selector) == ("shop", {"a": "b"})
    assert [rule.broken for rule in policy.rules] == [False, True]
    assert [m.key.attribute for m in policy.rules[1].matches] == [Attribute.METHOD]


def test_lines_go_with_the_rules() -> None:
    document = a_document(one_rule({"to": [{"operation": {"paths": ["/a"]}}]}))
    lines = {"spec.rules[0]": 8, "spec.rules[0].to[0].operation.paths": 10}
    policy, _ = parse(Document(document.value, "orders.yaml", lines))
    rule = cast("AuthorizationPolicy", policy).rules[0]
    assert (rule.origin.line, rule.operations[0][0].origin.line) == (8, 10)


def salvaged(action: str, rules: Json, **spec: Json) -> AuthorizationPolicy:
    return salvage(a_document({"action": action, "rules": rules, **spec}))


def test_what_was_accepted_once_is_still_enforced_on_the_safe_side() -> None:
    good: Json = {"to": [{"operation": {"methods": ["GET"]}}]}
    bad: Json = {"to": [{"operation": {"paths": ["/{x}"], "methods": ["GET"]}}]}
    kept = salvaged("DENY", [good, bad])
    assert [(rule.broken, [m.key.attribute for m in rule.matches]) for rule in kept.rules] == [
        (False, [Attribute.METHOD]),
        (True, [Attribute.METHOD]),
    ]
    assert all(rule.broken for rule in salvaged("PERMIT", [good]).rules)
    assert [(rule.broken, rule.matches) for rule in salvaged("DENY", "x").rules] == [(True, ())]
    assert salvaged("ALLOW", "x").rules == ()
    assert salvaged("DENY", [good]) == accepted({"action": "DENY", "rules": [good]})
