"""jwt_authn: a filter for each place, which runs only where the place holds something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from policies.authentication import Authentication, JwtRule, Location, Where
from xds.compile.tokens import NOBODYS_KEYS, filters

RULE = JwtRule("n/r jwtRules[0]", "i", jwks='{"keys":[]}')
X = Location(Where.HEADER, "x-t")
JAR = Location(Where.COOKIE, "jar")


def made(*rules: JwtRule, **jwks: str) -> dict[str, Any]:
    return dict(filters(Authentication(rules), jwks))


def test_every_place_is_a_filter_and_the_first_is_last() -> None:
    found = made(replace(RULE, locations=(X, JAR)), replace(RULE, source="other", issuer="j", locations=(X,)))
    assert list(found) == ["token-1", "token-0"]
    assert len(found["token-0"].providers) == 2
    assert len(found["token-1"].providers) == 1


def test_a_filter_runs_where_its_place_holds_something() -> None:
    bearer, param = made(RULE)["token-0"], made(RULE)["token-1"]
    [rule] = bearer.rules
    assert (rule.match.headers[0].name, rule.match.headers[0].string_match.contains) == (
        "authorization",
        "Bearer ",
    )
    assert param.rules[0].match.query_parameters[0].name == "access_token"
    cookie = made(replace(RULE, locations=(JAR,)))["token-0"].rules[0].match.headers[0]
    assert (cookie.name, cookie.string_match.safe_regex.regex) == ("cookie", "(.*; *)?jar=.*")
    assert bearer.bypass_cors_preflight


def test_keys_are_inline_fetched_or_nobodys() -> None:
    fetched = replace(RULE, jwks="", jwks_uri="https://k", locations=(X,))

    def keys(**known: str) -> str:
        [provider] = dict(filters(Authentication((fetched,)), known and {"https://k": known["k"]}))[
            "token-0"
        ].providers.values()  # type: ignore[attr-defined]
        return provider.local_jwks.inline_string

    assert keys() == NOBODYS_KEYS
    assert keys(k="{}") == "{}"


def test_a_required_token_may_not_be_missing() -> None:
    required = made(replace(RULE, required=True, locations=(X,)))["token-required-0"]
    assert required.rules[0].requires.provider_name == "0-n/r jwtRules[0]"
    optional = made(replace(RULE, locations=(X,)))["token-0"].rules[0].requires.requires_any.requirements
    assert [r.WhichOneof("requires_type") for r in optional] == ["provider_name", "allow_missing"]


def test_claims_are_written_aside_and_moved_in_the_end() -> None:
    found = made(replace(RULE, claim_headers=(("x-team", "team"),), payload_header="x-p", locations=(X,)))
    assert list(found) == ["token-headers", "token-0", "token-claims"]
    removed = [m.remove for m in found["token-headers"].mutations.request_mutations]
    assert removed == ["x-p", "x-pylis-token-0-x-p", "x-pylis-token-0-x-team", "x-team"]
    [provider] = found["token-0"].providers.values()
    assert provider.forward_payload_header == "x-pylis-token-0-x-p"
    assert provider.claim_to_headers[0].header_name == "x-pylis-token-0-x-team"
    moved = [
        m.append.header.key for m in found["token-claims"].mutations.request_mutations if m.HasField("append")
    ]
    assert moved == ["x-p", "x-team"]
