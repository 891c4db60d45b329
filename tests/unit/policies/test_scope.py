from ipaddress import ip_network

from policies.attributes import Attribute, Key
from policies.predicate import Condition, Exact, Network, Value
from policies.program import Clause, DecisionProgram, Protocol, Revoked
from policies.scope import audience, differing, may_ever_allow

WEB = "td/ns/shop/sa/web"
PRINCIPAL, PATH = Key(Attribute.PRINCIPAL), Key(Attribute.PATH)
IS_WEB = Condition(PRINCIPAL, (Exact(WEB),))
IS_OTHER = Condition(PRINCIPAL, (Exact("td/ns/shop/sa/other"),))


def an_open(key: Key, *values: Value, negated: bool = False) -> Condition:
    return Condition(key, values, negated)


OPEN = an_open(PATH, Exact("/a"))


def may(*, deny: tuple[Condition, ...] | None = None, allow: tuple[Condition, ...] | None = None) -> bool:
    program = DecisionProgram(
        Protocol.HTTP,
        80,
        deny=() if deny is None else (Clause("d", deny),),
        allow=() if allow is None else (Clause("a", allow),),
        allow_applies=allow is not None,
    )
    return may_ever_allow(program, WEB)


def test_without_policies_anyone_may() -> None:
    assert may()


def test_an_allow_rule_that_names_others_hides() -> None:
    assert not may(allow=(IS_OTHER,))
    assert not may(allow=(IS_OTHER, OPEN))
    assert may(allow=(IS_WEB, OPEN))
    assert may(allow=(OPEN,))
    assert may(allow=())


def test_allow_nothing_hides() -> None:
    assert not may_ever_allow(DecisionProgram(Protocol.HTTP, 80, allow_applies=True), WEB)


def test_only_a_certain_deny_hides() -> None:
    assert not may(deny=(IS_WEB,))
    assert not may(deny=())
    assert may(deny=(IS_WEB, OPEN))
    assert may(deny=(IS_OTHER,))
    assert may(deny=(an_open(Key(Attribute.SOURCE_IP), Network(ip_network("0.0.0.0/0"))),))


def test_negations_of_the_identity_are_decided() -> None:
    assert not may(deny=(an_open(PRINCIPAL, Exact("x"), negated=True),))
    assert not may(allow=(an_open(PRINCIPAL, Exact(WEB), negated=True),))


def test_two_identities_reach_nothing() -> None:
    assert not may_ever_allow(DecisionProgram(Protocol.HTTP, 80), f"{WEB},x")


def test_the_revoked_may_never() -> None:
    program = DecisionProgram(Protocol.HTTP, 80, revoked=Revoked(frozenset({WEB})))
    assert not may_ever_allow(program, WEB)
    assert may_ever_allow(program, "td/ns/shop/sa/other")


def test_who_is_cut_off_concerns_only_who_was_or_is() -> None:
    def program(*cut_off: str, allow: Condition = IS_WEB) -> DecisionProgram:
        revoked = Revoked(frozenset(cut_off))
        return DecisionProgram(
            Protocol.HTTP, 80, revoked=revoked, allow=(Clause("a", (allow,)),), allow_applies=True
        )

    old, new = audience(program("x", "y")), audience(program("y", WEB))
    assert old != new
    assert differing(old, new) == {"x", WEB}
    assert differing(old, audience(program("x", "y", allow=IS_OTHER))) is None
