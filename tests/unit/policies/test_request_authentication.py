import json

import pytest

from policies import codes
from policies.authentication import DEFAULT_LOCATIONS, JwtRule, Location, Where
from policies.document import Document, Json
from policies.request_authentication import RequestAuthentication, authentication, parse
from policies.workload import MeshSettings, Workload

MESH = MeshSettings("td", root_namespace="root")
B = Workload("shop", "b", "b", {"app": "b"})
JWKS = json.dumps({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]})


def a_document(spec: Json, name: str = "t", namespace: str = "shop", **metadata: Json) -> Document:
    return Document({"metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec})


def a_rule(**fields: Json) -> Json:
    return {"jwtRules": [{"issuer": "me", **fields}]}


def accepted(spec: Json, name: str = "t", namespace: str = "shop") -> RequestAuthentication:
    found, problems = parse(a_document(spec, name, namespace))
    assert found is not None, problems
    return found


def rule_of(**fields: Json) -> JwtRule:
    return accepted(a_rule(**fields)).rules[0]


def refused(spec: Json, **metadata: Json) -> list[tuple[str, str]]:
    found, problems = parse(a_document(spec, **metadata))
    assert found is None
    return [(problem.code, problem.path) for problem in problems if problem.is_error]


def test_defaults() -> None:
    rule = rule_of()
    assert (rule.source, rule.issuer, rule.locations) == ("shop/t jwtRules[0]", "me", DEFAULT_LOCATIONS)
    assert (rule.forward, rule.required, rule.timeout_seconds) == (False, False, 5.0)
    assert rule.space_delimited == ("scope", "permission")


def test_everything_written_is_read() -> None:
    rule = rule_of(
        audiences=["a"], jwksUri="https://idp/keys", timeout="1m500ms", forwardOriginalToken=True,
        fromHeaders=[{"name": "X-T", "prefix": "T "}], fromParams=["tok"], fromCookies=["jar"],
        outputPayloadToHeader="X-Payload", outputClaimToHeaders=[{"header": "X-Team", "claim": "a.b"}],
        spaceDelimitedClaims=["words", "scope"], presence="REQUIRED",
    )  # fmt: skip
    assert rule.locations == (
        Location(Where.HEADER, "x-t", "T "), Location(Where.PARAM, "tok"), Location(Where.COOKIE, "jar"),
    )  # fmt: skip
    assert (rule.audiences, rule.key_source, rule.timeout_seconds) == (("a",), "https://idp/keys", 60.5)
    assert (rule.payload_header, rule.claim_headers) == ("x-payload", (("x-team", "a.b"),))
    assert (rule.forward, rule.required) == (True, True)
    assert rule.space_delimited == ("scope", "permission", "words")


@pytest.mark.parametrize(
    ("rule", "code", "path"),
    [
        ({}, codes.MISSING, "issuer"),
        ({"issuer": "me", "jwks": "x"}, codes.BAD_JWKS, "jwks"),
        ({"issuer": "me", "jwks": '{"keys": []}'}, codes.BAD_JWKS, "jwks"),
        ({"issuer": "me", "jwksUri": "ftp://x"}, codes.BAD_FORMAT, "jwksUri"),
        ({"issuer": "me", "jwks": JWKS, "jwksUri": "https://x"}, codes.EXCLUDE_EACH_OTHER, "jwks"),
        ({"issuer": "me", "timeout": "5"}, codes.BAD_FORMAT, "timeout"),
        ({"issuer": "me", "timeout": "0s"}, codes.OUT_OF_RANGE, "timeout"),
        ({"issuer": "me", "fromHeaders": [{}]}, codes.MISSING, "fromHeaders[0].name"),
        (
            {"issuer": "me", "outputClaimToHeaders": [{"header": "a b", "claim": "c"}]},
            codes.BAD_FORMAT, "outputClaimToHeaders[0].header",
        ),
        ({"issuer": "me", "spaceDelimitedClaims": [f"c{i}" for i in range(65)]}, codes.TOO_MANY, "spaceDelimitedClaims"),
        ({"issuer": "me", "presence": "SOMETIMES"}, codes.NOT_A_CHOICE, "presence"),
        ({"issuer": "me", "issuers": []}, codes.UNKNOWN_FIELD, "issuers"),
    ],
)  # fmt: skip
def test_mistakes_in_a_rule(rule: Json, code: str, path: str) -> None:
    assert refused({"jwtRules": [rule]}) == [(code, f"spec.jwtRules[0].{path}")]


def test_mistakes_of_the_whole() -> None:
    both: Json = {"selector": {"matchLabels": {"a": "b"}}, "targetRef": {"kind": "Service", "name": "x"}}
    assert refused(both) == [(codes.EXCLUDE_EACH_OTHER, "spec.targetRef")]
    tried = refused({}, annotations={"istio.io/dry-run": "true"})
    assert tried == [(codes.DRY_RUN_MISUSE, "metadata.annotations.istio.io/dry-run")]


def test_a_private_key_is_warned_about() -> None:
    private = json.dumps({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQAB"}]})
    found, problems = parse(a_document(a_rule(jwks=private)))
    assert found is not None
    assert [problem.code for problem in problems] == [codes.PRIVATE_KEY]


def test_all_that_apply_are_pooled_by_issuer() -> None:
    mine = accepted({"jwtRules": [{"issuer": "b"}, {"issuer": "a"}]})
    everywhere = accepted({"jwtRules": [{"issuer": "c"}]}, "r", "root")
    chosen = accepted({"selector": {"matchLabels": {"app": "b"}}, **accepted_rule("d")}, "s")
    others = [
        accepted({"selector": {"matchLabels": {"app": "c"}}, **accepted_rule("e")}, "n"),
        accepted(accepted_rule("f"), "o", "bank"),
        accepted({"targetRefs": [{"kind": "Service", "name": "x"}], **accepted_rule("g")}, "p"),
    ]
    pooled = authentication([*others, chosen, everywhere, mine], B, MESH)
    assert [rule.issuer for rule in pooled.rules] == ["a", "b", "c", "d"]


def accepted_rule(issuer: str) -> dict[str, Json]:
    return {"jwtRules": [{"issuer": issuer}]}


def test_objects_in_any_order_give_the_same_answer() -> None:
    one, two = accepted(a_rule(audiences=["x"]), "p", "root"), accepted(a_rule(audiences=["y"]), "p")
    assert authentication([one, two], B, MESH) == authentication([two, one], B, MESH)
    same = JwtRule("r", "me", jwks_uri="https://one/"), JwtRule("r", "me", jwks_uri="https://two/")
    tied = [
        RequestAuthentication(n, "p", {}, (rule,)) for n, rule in zip(("root", "shop"), same, strict=True)
    ]
    assert authentication(tied, B, MESH) == authentication(tied[::-1], B, MESH)
