"""Which filters a decision takes, in which order, and what an HTTP port gets by ECDS."""

from __future__ import annotations

from typing import Any

from policies.attributes import Attribute, Key
from policies.authentication import Authentication, JwtRule
from policies.authorizer import Authorizer, Speaks
from policies.observe import observed
from policies.predicate import Condition, Exact, RequestPrincipal
from policies.program import Clause, DecisionProgram, Delegation, DryRun, Protocol
from policies.workload import MtlsMode
from xds import schema
from xds.compile import rbac
from xds.compile.surroundings import Surroundings

GUARD = Authorizer("guard", Speaks.GRPC, "guard.shop", 8000)
ON_PATH = Clause("n/p[0]", (Condition(Key(Attribute.PATH), (Exact("/a"),)),))
ON_TOKEN = Clause(
    "n/t[0]", (Condition(Key(Attribute.REQUEST_PRINCIPAL), (RequestPrincipal(Exact("i"), Exact("s")),)),)
)
RULE = JwtRule("n/r jwtRules[0]", "i", jwks="{}", claim_headers=(("x-team", "team"),), required=True)
NEAR, FAR = Surroundings(("td",), (("guard.shop", 8000),)), Surroundings(("td",))


def whole(protocol: Protocol) -> DecisionProgram:
    return DecisionProgram(
        protocol, 80, deny=(ON_TOKEN,), audit=(ON_PATH,), delegations=(Delegation("guard", GUARD, (ON_PATH,)),),
        dry_run=DryRun(deny=(ON_PATH,), allow=(ON_PATH,)), authentication=Authentication((RULE,)),
    )  # fmt: skip


def names(program: DecisionProgram, around: Surroundings) -> list[str]:
    return [name for name, _ in rbac.http_filters(program, around)]


def body(program: DecisionProgram, around: Surroundings) -> Any:
    extension: Any = rbac.extension("http", program, around)
    assert extension.name == "rbac:http"
    return extension.typed_config


def test_most_ports_need_one_filter() -> None:
    assert body(DecisionProgram(Protocol.HTTP, 80), FAR).type_url.endswith("http.rbac.v3.RBAC")
    assert body(DecisionProgram(Protocol.TCP, 80), FAR).type_url.endswith("network.rbac.v3.RBAC")


def test_the_order_of_everything() -> None:
    assert names(whole(Protocol.HTTP), NEAR) == [
        "request-texts", "custom-guard", "ask-guard", "token-headers", "token-required-0", "token-1", "token-0",
        "token-claims", "token-texts", "audit", "istio_dry_run_deny_", "istio_dry_run_allow_", "authorization",
    ]  # fmt: skip
    chain = body(whole(Protocol.HTTP), NEAR)
    assert chain.type_url.endswith("filter_chain.v3.FilterChainConfig")
    config: Any = schema.decode(rbac.FILTER_CHAIN, chain.value)
    assert [f.name for f in config.default_filter_chain.filters] == names(whole(Protocol.HTTP), NEAR)


def test_an_authorizer_that_cannot_be_reached_is_not_asked_but_denies() -> None:
    assert names(whole(Protocol.HTTP), FAR)[:2] == ["request-texts", "custom-guard"]
    refusing: Any = dict(rbac.http_filters(whole(Protocol.HTTP), FAR))["custom-guard"]
    assert refusing.HasField("matcher")
    marking: Any = dict(rbac.http_filters(whole(Protocol.HTTP), NEAR))["custom-guard"]
    assert not marking.HasField("matcher")
    assert marking.shadow_rules_stat_prefix == "custom_guard_"


def test_texts_are_written_before_what_looks_at_them_and_only_if_something_does() -> None:
    both = DecisionProgram(Protocol.HTTP, 80, deny=(ON_PATH, ON_TOKEN))
    assert names(both, FAR) == ["request-texts", "token-texts", "authorization"]
    assert names(DecisionProgram(Protocol.HTTP, 80, deny=(ON_PATH,)), FAR) == [
        "request-texts",
        "authorization",
    ]


def test_on_tcp_the_rest_stands_before() -> None:
    before = [name for name, _ in rbac.network_filters(whole(Protocol.TCP), NEAR)]
    assert before == ["custom-guard", "ask-guard", "audit", "istio_dry_run_deny_", "istio_dry_run_allow_"]


def test_what_is_only_observed_stands_in_the_shadow_of_what_is_enforced() -> None:
    for protocol, kind in ((Protocol.HTTP, rbac.HTTP_RBAC), (Protocol.TCP, rbac.NETWORK_RBAC)):
        closed = DecisionProgram(protocol, 80, allow_applies=True)
        seen: Any = schema.decode(kind, body(observed(closed, MtlsMode.PERMISSIVE), FAR).value)
        kept: Any = schema.decode(kind, body(closed, FAR).value)
        assert seen.shadow_matcher == kept.matcher
        assert seen.shadow_rules_stat_prefix == "observed_"
        assert seen.matcher != kept.matcher
