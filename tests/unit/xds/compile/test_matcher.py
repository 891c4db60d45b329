"""The shape of a compiled tree: bounded in depth, named in every leaf, narrow before it is costly."""

from __future__ import annotations

from typing import Any

from policies.attributes import Attribute, Key
from policies.predicate import Condition, Exact, Prefix, Present, RequestPrincipal, Suffix, Value
from policies.program import Clause, DecisionProgram, Protocol
from xds import schema
from xds.compile.matcher import authorization, verdict

DOMAINS = ("td",)
WHO, METHOD, PATH = Key(Attribute.PRINCIPAL), Key(Attribute.METHOD), Key(Attribute.PATH)


def condition(key: Key, *values: Value, negated: bool = False) -> Condition:
    return Condition(key, values, negated)


def allowing(*clauses: Clause) -> DecisionProgram:
    return DecisionProgram(Protocol.HTTP, 80, (), clauses, allow_applies=True)


def depth(message: Any) -> int:
    """Levels of messages, without what is packed in an Any."""
    inner = 0
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                inner = max(inner, 1 + max((depth(v) for v in value.values()), default=0))
        else:
            listed = value if hasattr(value, "__len__") and not hasattr(value, "ListFields") else [value]
            inner = max(inner, max((depth(one) for one in listed), default=0))
    return 1 + inner


def names(message: Any) -> set[str]:
    """Every leaf's name."""
    found: set[str] = set()
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        if message.type_url.endswith("rbac.v3.Action"):
            action: Any = schema.decode("envoy.config.rbac.v3.Action", message.value)
            found.add(action.name)
        return found
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            found |= {name for one in value.values() for name in names(one)}
        elif hasattr(value, "ListFields"):
            found |= names(value)
        else:
            found |= {name for one in value for name in names(one)}
    return found


def test_no_program_is_too_deep_for_protobuf() -> None:
    keys = [
        WHO, METHOD, PATH, Key(Attribute.HOST), Key(Attribute.SNI), Key(Attribute.REQUEST_PRINCIPAL),
        *(Key(Attribute.HEADER, f"x-{n}") for n in range(12)),
    ]  # fmt: skip
    principal = RequestPrincipal(Exact("i"), Exact("s"))

    def forms(key: Key, text: str) -> tuple[Value, ...]:
        both = (RequestPrincipal(Prefix("i"), Prefix("s")), principal)
        return both if key.attribute is Attribute.REQUEST_PRINCIPAL else (Exact(text), Prefix(text))

    whole = [
        Clause(f"n/p[{n}]", tuple(condition(key, *forms(key, f"v{n}")) for key in keys[n:] + keys[:n]))
        for n in range(len(keys))
    ]
    single = [Clause(f"n/q[{n}]", (condition(key, *forms(key, f"w{n}")),)) for n, key in enumerate(keys)]
    clauses = (*whole, *single)
    program = DecisionProgram(Protocol.HTTP, 80, clauses, clauses, allow_applies=True)
    # protobuf stops at 100; an RBAC filter, its extension and a response stand around it
    assert depth(authorization(program, DOMAINS)) <= 94


def test_a_miss_is_named_by_the_level_that_failed_where_nothing_can_follow() -> None:
    one = Clause("n/p[0]", (condition(WHO, Exact("td/ns/a/sa/b")), condition(METHOD, Exact("GET"))))
    found = names(authorization(allowing(one), DOMAINS))
    assert found == {
        "malformed-identity", "n/p[0]", "default-deny:n/p[0]:principal", "default-deny:n/p[0]:method",
    }  # fmt: skip


def test_where_another_rule_may_follow_a_miss_has_the_plain_name() -> None:
    one = Clause("n/p[0]", (condition(WHO, Exact("td/ns/a/sa/b")), condition(METHOD, Exact("GET"))))
    other = Clause("n/p[1]", (condition(PATH, Suffix("/x")),))
    found = names(authorization(allowing(one, other), DOMAINS))
    assert found == {"malformed-identity", "n/p[0]", "n/p[1]", "default-deny"}


def test_no_clause_is_copied_into_branches_it_does_not_constrain() -> None:
    def size(callers: int) -> int:
        anyone = Clause("n/any[0]", (condition(PATH, Prefix("/p" * 100)),))
        rules = [Clause(f"n/p[{n}]", (condition(WHO, Exact(f"td/ns/a/sa/{n:04}")),)) for n in range(callers)]
        return len(schema.encode(authorization(allowing(anyone, *rules), DOMAINS)))

    assert size(400) - size(200) <= 1.05 * (size(200) - size(0))


def test_costly_conditions_stand_under_keys_that_narrow() -> None:
    clause = Clause(
        "n/p[0]",
        (
            condition(PATH, Suffix(".css")),
            condition(WHO, Exact("td/ns/a/sa/b")),
            condition(METHOD, Present()),
        ),
    )
    matcher: Any = authorization(allowing(clause), DOMAINS)
    tree = matcher.on_no_match.matcher.matcher_tree
    assert list(tree.exact_match_map.map) == ["spiffe://td/ns/a/sa/b"]
    inner = tree.exact_match_map.map["spiffe://td/ns/a/sa/b"].matcher.matcher_tree
    assert list(inner.prefix_match_map.map) == [""]
    assert inner.prefix_match_map.map[""].matcher.HasField("matcher_list")


def test_a_set_of_clauses_on_its_own_answers_with_the_words_given() -> None:
    found = names(verdict([Clause("n/p[0]", ())], DOMAINS, matched="LOG", otherwise=("nothing", "ALLOW")))
    assert found == {"malformed-identity", "n/p[0]"}
    assert "nothing" in names(verdict([], DOMAINS, matched="LOG", otherwise=("nothing", "ALLOW")))
