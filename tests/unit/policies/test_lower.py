from ipaddress import ip_network

from policies.attributes import Attribute, Key
from policies.authorization_policy import AuthorizationPolicy, parse
from policies.document import Document, Json
from policies.lower import Dropped, lower, lower_rule, lower_text
from policies.predicate import Condition, Exact, Network, Prefix, Present, Suffix, Value
from policies.program import DecisionProgram, Protocol
from policies.workload import MeshSettings

MESH = MeshSettings("td")


def a_policy(*rules: Json, action: str = "ALLOW", name: str = "p") -> AuthorizationPolicy:
    spec: Json = {"action": action, "rules": list(rules)} if rules else {"action": action}
    policy, problems = parse(Document({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}))
    assert policy is not None, problems
    return policy


def a_program(*policies: AuthorizationPolicy, port: int = 80, tcp: bool = False) -> DecisionProgram:
    return lower(policies, MESH, port=port, protocol=Protocol.TCP if tcp else Protocol.HTTP)


def conditions(rule: Json, mesh: MeshSettings = MESH) -> list[Condition]:
    program = lower([a_policy(rule)], mesh, port=80, protocol=Protocol.HTTP)
    assert len(program.allow) == 1
    return list(program.allow[0].conditions)


def source(**fields: Json) -> dict[str, Json]:
    return {"from": [{"source": fields}]}


def operation(**fields: Json) -> dict[str, Json]:
    return {"to": [{"operation": fields}]}


def values(rule: Json, mesh: MeshSettings = MESH) -> tuple[Value, ...]:
    return conditions(rule, mesh)[0].values


def test_the_four_forms_of_text() -> None:
    assert [lower_text(text) for text in ("a", "a*", "*a", "*", "*a*", "a*b")] == [
        Exact("a"), Prefix("a"), Suffix("a"), Present(), Suffix("a*"), Exact("a*b"),
    ]  # fmt: skip


def test_no_policy_is_no_decision() -> None:
    assert a_program() == DecisionProgram(Protocol.HTTP, 80)


def test_allow_nothing_and_allow_all() -> None:
    nothing = a_program(a_policy())
    assert (nothing.allow, nothing.allow_applies, nothing.policies) == ((), True, ("shop/p",))
    everything = a_program(a_policy({}))
    assert [clause.conditions for clause in everything.allow] == [()]


def test_actions_go_where_they_belong_and_rules_keep_their_numbers() -> None:
    deny = a_policy(operation(methods=["A"]), operation(methods=["B"]), action="DENY", name="d")
    program = a_program(deny, a_policy({}))
    assert [clause.name for clause in program.deny] == ["shop/d[0]", "shop/d[1]"]
    assert [clause.name for clause in program.allow] == ["shop/p[0]"]
    assert not a_program(deny).allow_applies


def test_every_pair_of_from_and_to_is_a_clause() -> None:
    rule: Json = {
        "from": [{"source": {"principals": ["a"]}}, {"source": {"principals": ["b"]}}],
        "to": [{"operation": {"methods": ["GET"]}}, {"operation": {"methods": ["PUT"]}}],
        "when": [{"key": "source.ip", "values": ["::1"]}],
    }
    clauses = a_program(a_policy(rule)).allow
    assert len(clauses) == 4
    assert {clause.name for clause in clauses} == {"shop/p[0]"}
    assert all(len(clause.conditions) == 3 for clause in clauses)


def test_identities() -> None:
    assert values(source(serviceAccounts=["a", "bank/b"])) == (Exact("shop/a"), Exact("bank/b"))
    assert values(source(namespaces=["a", "b*", "*c", "*"])) == (
        Exact("a"),
        Prefix("b"),
        Suffix("c"),
        Present(),
    )
    aliased = MeshSettings("td", ("old",))
    assert values(source(principals=["old/ns/a/sa/b", "td/ns/a/sa/b"]), aliased) == (
        Exact("td/ns/a/sa/b"),
        Exact("old/ns/a/sa/b"),
    )


def test_hosts_lose_their_case_and_nothing_else_does() -> None:
    assert values(operation(hosts=["A.Example", "*.B"])) == (Exact("a.example"), Suffix(".b"))
    assert values(operation(paths=["/A"])) == (Exact("/A"),)
    assert values(operation(methods=["get"])) == (Exact("get"),)


def test_networks() -> None:
    assert values(source(ipBlocks=["10.1.2.3/8"])) == (Network(ip_network("10.0.0.0/8")),)


def test_conditions_know_where_they_stand() -> None:
    [condition] = conditions(operation(notPaths=["/a", "/a"]))
    assert condition == Condition(
        Key(Attribute.PATH), (Exact("/a"),), True, "spec.rules[0].to[0].operation.notPaths"
    )


def test_ports_are_folded_away() -> None:
    policy = a_policy(operation(ports=["80", "90"]))
    assert [clause.conditions for clause in a_program(policy, port=90).allow] == [()]
    assert a_program(policy, port=81).allow == ()
    assert a_program(policy, port=81).allow_applies
    negated = a_policy(operation(notPorts=["80"]))
    assert a_program(negated, port=80).allow == ()
    assert len(a_program(negated, port=81).allow) == 1


def test_values_and_not_values_are_both_wanted() -> None:
    policy = a_policy({"when": [{"key": "destination.port", "values": ["80", "81"], "notValues": ["81"]}]})
    assert len(a_program(policy, port=80).allow) == 1
    assert a_program(policy, port=81).allow == ()


def test_on_tcp_an_allow_rule_with_an_http_field_goes_whole() -> None:
    rule: Json = {"to": [{"operation": {"ports": ["80"]}}, {"operation": {"notMethods": ["PUT"]}}]}
    program = a_program(a_policy(rule), tcp=True)
    assert (program.allow, program.allow_applies) == ((), True)
    headers: Json = {"when": [{"key": "request.headers[a]", "values": ["b"]}]}
    assert a_program(a_policy(headers), tcp=True).allow == ()


def test_on_tcp_a_deny_rule_loses_the_field_and_widens() -> None:
    rule: Json = {**source(namespaces=["a"]), **operation(paths=["/x"])}
    [clause] = a_program(a_policy(rule, action="DENY"), tcp=True).deny
    assert [condition.key.attribute for condition in clause.conditions] == [Attribute.NAMESPACE]
    [everything] = a_program(a_policy(operation(paths=["/x"]), action="DENY"), tcp=True).deny
    assert everything.conditions == ()


def test_why_a_rule_has_no_clause() -> None:
    policy = a_policy(operation(paths=["/x"], ports=["90"]))
    assert lower_rule(policy, 0, MESH, port=80, protocol=Protocol.HTTP) is Dropped.OTHER_PORT
    assert lower_rule(policy, 0, MESH, port=90, protocol=Protocol.TCP) is Dropped.NEEDS_HTTP
