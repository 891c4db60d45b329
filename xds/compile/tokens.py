"""Authentication → Envoy's jwt_authn filter.

Every (rule, location) is a provider of its own: at each location any rule that looks there may accept the token
and none may be missing, and all locations must agree. So a good token in one place never lets a bad one in
another pass. Source: envoy.extensions.filters.http.jwt_authn.v3; docs/reference/policy.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.message import Message

from policies.authentication import Authentication, JwtRule, Location, Where
from xds.compile.keys import TOKEN_PAYLOAD
from xds.schema import new

_JWT: Final = "envoy.extensions.filters.http.jwt_authn.v3"
# where no key was ever fetched: the private half of this one is nobody's, so every token is refused
NOBODYS_KEYS: Final = (
    '{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"pylis-no-keys-yet",'
    '"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}'
)


def filter_config(authentication: Authentication, jwks: Mapping[str, str]) -> Message:
    """`jwks`: what was fetched, by `JwtRule.key_source`."""
    groups = authentication.by_location
    names = {
        (location, id(rule)): f"{number}-{rule.source}"
        for number, location in enumerate(groups)
        for rule in groups[location]
    }
    providers = {
        names[location, id(rule)]: _provider(rule, location, jwks)
        for location, rules in groups.items()
        for rule in rules
    }
    # the payload of the last good token stays: the first location has the last word
    requirements = [
        _any([*_named([names[location, id(rule)] for rule in rules]), {"allow_missing": {}}])
        for location, rules in reversed(groups.items())
    ]
    for rule in authentication.rules:
        if rule.required:
            requirements.insert(0, _any(_named([names[where, id(rule)] for where in rule.locations])))
    requires = (
        requirements[0]
        if len(requirements) == 1
        else new(f"{_JWT}.JwtRequirement", requires_all={"requirements": requirements})
    )
    return new(
        f"{_JWT}.JwtAuthentication",
        providers=providers,
        rules=[{"match": {"prefix": "/"}, "requires": requires}],
        bypass_cors_preflight=True,
    )


def _named(providers: Sequence[str]) -> list[dict[str, object]]:
    return [{"provider_name": name} for name in providers]


def _any(requirements: Sequence[dict[str, object]]) -> Message:
    if len(requirements) == 1:
        return new(f"{_JWT}.JwtRequirement", **requirements[0])
    return new(f"{_JWT}.JwtRequirement", requires_any={"requirements": list(requirements)})


def _provider(rule: JwtRule, location: Location, jwks: Mapping[str, str]) -> Message:
    keys = rule.jwks or jwks.get(rule.key_source, NOBODYS_KEYS)
    return new(
        f"{_JWT}.JwtProvider",
        issuer=rule.issuer,
        audiences=list(rule.audiences),
        local_jwks={"inline_string": keys},
        forward=rule.forward,
        forward_payload_header=rule.payload_header,
        payload_in_metadata=TOKEN_PAYLOAD,
        normalize_payload_in_metadata={"space_delimited_claims": list(rule.space_delimited)},
        claim_to_headers=[
            {"header_name": header, "claim_name": claim} for header, claim in rule.claim_headers
        ],
        **_where(location),
    )


def _where(location: Location) -> dict[str, object]:
    match location.where:
        case Where.HEADER:
            return {"from_headers": [{"name": location.name, "value_prefix": location.prefix}]}
        case Where.PARAM:
            return {"from_params": [location.name]}
        case Where.COOKIE:
            return {"from_cookies": [location.name]}
