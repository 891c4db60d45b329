"""Authentication → Envoy's jwt_authn filters, one for each place a token may stand in.

A filter runs only where its place holds a token: any rule that looks there may accept it, and no other place has a
say. So a good token in one place never lets a bad one in another pass (in one filter for all, Envoy looks a token's
issuer up among the rules of every place), and headers written from claims at one place are not cleared at the next.
Source: envoy.extensions.filters.http.jwt_authn.v3, checked on Envoy 1.40; docs/reference/policy.md
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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


Named = tuple[str, Message]


def filters(authentication: Authentication, jwks: Mapping[str, str]) -> Iterator[Named]:
    """In order; `jwks`: what was fetched, by `JwtRule.key_source`.

    The payload of the last good token stays, so the first location comes last. A filter clears the headers its own
    rules write whether or not it runs, so each writes to headers of its own; in the end they become the real ones.
    """
    stages = [*_stages(authentication)]
    headers = {name for rule in authentication.rules for name in _headers_of(rule)}
    written = {stage.scratch(name): name for stage in stages for name in stage.headers}
    if headers:
        # nobody but a verified token writes the headers that claims go to
        yield "token-headers", _mutation([{"remove": name} for name in sorted(headers | written.keys())])
    for stage in stages:
        yield f"token-{stage.name}", stage.filter(jwks)
    if headers:
        moved: list[dict[str, object]] = [_copy(scratch, name) for scratch, name in written.items()]
        yield "token-claims", _mutation([*moved, *({"remove": scratch} for scratch in written)])


@dataclass(frozen=True, slots=True)
class _Stage:
    """One filter: who accepts which token. `match`: where it runs at all."""

    name: str
    places: tuple[tuple[Location, JwtRule], ...]
    match: dict[str, object]
    optional: bool

    @property
    def headers(self) -> list[str]:
        return [*dict.fromkeys(name for _, rule in self.places for name in _headers_of(rule))]

    def scratch(self, header: str) -> str:
        return f"x-pylis-token-{self.name}-{header}"

    def filter(self, jwks: Mapping[str, str]) -> Message:
        providers = {
            f"{number}-{rule.source}": _provider(rule, where, jwks, self.scratch)
            for number, (where, rule) in enumerate(self.places)
        }
        # where no rule accepts a token, this says why in the words of its issuer's rule
        last: list[dict[str, object]] = [{"allow_missing": {}}] if self.optional else []
        requires = _any([*_named([*providers]), *last])
        return new(
            f"{_JWT}.JwtAuthentication",
            providers=providers,
            rules=[{"match": {"prefix": "/", **self.match}, "requires": requires}],
            bypass_cors_preflight=True,
        )


def _stages(authentication: Authentication) -> Iterator[_Stage]:
    for number, rule in enumerate(authentication.rules):
        if rule.required:
            places = tuple((location, rule) for location in rule.locations)
            yield _Stage(f"required-{number}", places, {}, optional=False)
    groups = authentication.by_location
    for number, (location, rules) in reversed([*enumerate(groups.items())]):
        places = tuple((location, rule) for rule in rules)
        yield _Stage(str(number), places, _is_there(location), optional=True)


def _mutation(mutations: list[dict[str, object]]) -> Message:
    return new(
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": mutations},
    )


def _copy(source: str, header: str) -> dict[str, object]:
    """Nothing where the source is not there."""
    value = {"header": {"key": header, "value": f"%REQ({source})%"}, "keep_empty_value": False}
    return {"append": {**value, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}


def _is_there(location: Location) -> dict[str, object]:
    """Does the place hold a token?"""
    match location.where:
        case Where.HEADER if location.prefix:
            return {"headers": [{"name": location.name, "string_match": {"contains": location.prefix}}]}
        case Where.HEADER:
            return {"headers": [{"name": location.name, "present_match": True}]}
        case Where.PARAM:
            return {"query_parameters": [{"name": location.name, "present_match": True}]}
        case Where.COOKIE:
            regex = f"(.*; *)?{re.escape(location.name)}=.*"
            return {"headers": [{"name": "cookie", "string_match": {"safe_regex": {"regex": regex}}}]}


def _headers_of(rule: JwtRule) -> list[str]:
    return [*filter(None, (rule.payload_header, *(header for header, _ in rule.claim_headers)))]


def _named(providers: Sequence[str]) -> list[dict[str, object]]:
    return [{"provider_name": name} for name in providers]


def _any(requirements: Sequence[dict[str, object]]) -> Message:
    if len(requirements) == 1:
        return new(f"{_JWT}.JwtRequirement", **requirements[0])
    return new(f"{_JWT}.JwtRequirement", requires_any={"requirements": list(requirements)})


def _provider(
    rule: JwtRule, location: Location, jwks: Mapping[str, str], scratch: Callable[[str], str]
) -> Message:
    keys = rule.jwks or jwks.get(rule.key_source, NOBODYS_KEYS)
    return new(
        f"{_JWT}.JwtProvider",
        issuer=rule.issuer,
        audiences=list(rule.audiences),
        local_jwks={"inline_string": keys},
        forward=rule.forward,
        forward_payload_header=scratch(rule.payload_header) if rule.payload_header else "",
        payload_in_metadata=TOKEN_PAYLOAD,
        normalize_payload_in_metadata={"space_delimited_claims": list(rule.space_delimited)},
        claim_to_headers=[
            {"header_name": scratch(header), "claim_name": claim} for header, claim in rule.claim_headers
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
