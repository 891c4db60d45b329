"""Which tokens a port looks for, and what each must be: the meaning of the RequestAuthentications of a workload.

Every place a token may stand in is a group of its own: a token found there must be one that some rule which
looks there accepts, so a good token in one place never lets a bad one in another pass. Checking tokens is done
in `token`; this module only says what is to be checked. Source: docs/reference/policy.md (RequestAuthentication).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Where(StrEnum):
    HEADER = "header"
    PARAM = "param"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """`name` of a header is lower case; `prefix` (headers only) stands before the token."""

    where: Where
    name: str
    prefix: str = ""


DEFAULT_LOCATIONS = (
    Location(Where.HEADER, "authorization", "Bearer "),
    Location(Where.PARAM, "access_token"),
)
ALWAYS_SPACE_DELIMITED = ("scope", "permission")


@dataclass(frozen=True, slots=True)
class JwtRule:
    """`issuer` "" accepts any. Keys: `jwks` inline, or what is fetched from `key_source`.

    `source` names the object and the entry: `namespace/name jwtRules[0]`.
    """

    source: str
    issuer: str = ""
    audiences: tuple[str, ...] = ()
    jwks: str = ""
    jwks_uri: str = ""
    locations: tuple[Location, ...] = DEFAULT_LOCATIONS
    forward: bool = False
    payload_header: str = ""
    claim_headers: tuple[tuple[str, str], ...] = ()  # (header, claim path with dots)
    space_delimited: tuple[str, ...] = ALWAYS_SPACE_DELIMITED
    timeout_seconds: float = 5.0
    required: bool = False

    @property
    def key_source(self) -> str:
        """Where the keys are fetched from: a JWKS, or an issuer's OpenID configuration; "" for inline keys."""
        if self.jwks:
            return ""
        return self.jwks_uri or f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Authentication:
    """Rules sorted by issuer. Where several tokens are good, the first location's payload is the request's."""

    rules: tuple[JwtRule, ...] = ()

    @property
    def by_location(self) -> dict[Location, tuple[JwtRule, ...]]:
        found = dict[Location, list[JwtRule]]()
        for rule in self.rules:
            for location in rule.locations:
                found.setdefault(location, []).append(rule)
        return {location: tuple(rules) for location, rules in found.items()}
