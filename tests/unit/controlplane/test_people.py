"""From verified claims to a caller: names that nobody outside can choose freely."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ca.attest.oidc import ProviderKey
from ca.errors import AttestationError
from controlplane.people import MAX_GROUPS, People, caller
from controlplane.people_settings import Naming, PeopleIssuer

ISSUER = PeopleIssuer(
    "https://login.example", "pylis", Naming("email"), require=(("hd", ("example.com", "*.example.com")),)
)
CLAIMS: dict[str, Any] = {
    "aud": "pylis",
    "email": "ann@example.com",
    "hd": "example.com",
    "groups": ["a", "b"],
}


def test_names_carry_their_prefix() -> None:
    found = caller(ISSUER, CLAIMS)
    assert (found.name, found.groups) == ("oidc:ann@example.com", ("oidc:a", "oidc:b"))
    keycloak = PeopleIssuer(
        "https://login.example", "pylis", Naming("sub", "kc:"), Naming("realm_access/roles", "kc:")
    )
    nested = {"aud": "pylis", "sub": "7", "realm_access": {"roles": ["ops"]}}
    assert caller(keycloak, nested) == caller(keycloak, {**nested, "groups": ["pylis:admins"]})
    assert caller(keycloak, nested).groups == ("kc:ops",)
    assert caller(ISSUER, {**CLAIMS, "groups": "alone"}).groups == ("oidc:alone",)
    assert caller(ISSUER, {k: v for k, v in CLAIMS.items() if k != "groups"}).groups == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hd": "evil.com"}, "not as required"),
        ({"hd": None}, "not as required"),
        ({"email": None}, "no claim 'email'"),
        ({"email": ["a@x", "b@x"]}, "no claim 'email'"),
        ({"email": "a\nb"}, "no name"),
        ({"email": "a" * 300}, "no name"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": "false"}, "not verified"),
        ({"groups": [f"g{n}" for n in range(MAX_GROUPS + 5)]}, "more than"),
        ({"aud": ["pylis", "other"], "azp": "other"}, "another party"),
    ],
)
def test_what_does_not_name_one_person_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(AttestationError, match=words):
        caller(ISSUER, {**CLAIMS, **change})


async def test_only_named_issuers_are_asked_for_keys() -> None:
    asked: list[str] = []

    class Keys:
        async def of(self, issuer: str, ca_pem: str, kid: str) -> tuple[ProviderKey, ...]:
            asked.append(issuer)
            raise AttestationError("away")

    people = People([ISSUER], Keys(), lambda: datetime(2026, 11, 26, tzinfo=UTC))
    for token in ("pylis_abc", "a.b.c", "", _unsigned("https://evil.example")):
        assert await people.by_token(token) is None
    assert asked == []
    assert await people.by_token(_unsigned(ISSUER.issuer)) is None
    assert asked == [ISSUER.issuer]
    assert people.how_to_log_in()["issuers"][0]["clientId"] == "pylis"


def _unsigned(issuer: str) -> str:
    import jwt

    return jwt.encode({"iss": issuer}, "k" * 32, "HS256", {"kid": "k1"})
