"""Agents that join with an ID token, against a real OpenID provider on HTTPS: discovery, keys, rotation."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from ca.attest import oidc
from ca.attest.oidc import Provider
from ca.errors import AttestationError
from controlplane.attestation_settings import TrustedProvider
from controlplane.oidc_keys import ProviderKeys
from tests.integration.openid_provider import OpenIdProvider


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[OpenIdProvider]:
    one = OpenIdProvider()
    async with one.served(tmp_path):
        yield one


@pytest.fixture
def trusted(issuer: OpenIdProvider, tmp_path: Path) -> TrustedProvider:
    return TrustedProvider(Provider(issuer.url, "pylis"), (tmp_path / "ca.pem").read_text())


async def test_a_runner_joins_with_its_token_once_and_gets_what_its_claims_say(
    issuer: OpenIdProvider, tmp_path: Path, new_control_plane: Any
) -> None:
    settings = {
        "oidc": [
            {
                "issuer": issuer.url, "audience": "pylis", "ca": "ca.pem", "claims": ["repository", "kubernetes.io/namespace"],
                "require": {"repository": ["acme/*"]}, "name": ["sub", "run_id"],
            }
        ]
    }  # fmt: skip
    (tmp_path / "attestation.yaml").write_text(json.dumps(settings))
    plane = await asyncio.to_thread(
        new_control_plane, "--node-attestation", str(tmp_path / "attestation.yaml")
    )
    selectors = ["oidc:claim:repository:acme/shop", "oidc:claim:kubernetes.io/namespace:ci"]
    await asyncio.to_thread(plane.register, "build", agents=[], agentSelectors=selectors)

    async def join(name: str, token: str) -> tuple[int, str]:
        """Exit code (0: it is connected) and what it said."""
        (tmp_path / name).write_text(token)
        invitation = (await asyncio.to_thread(plane.run, "token", "create", "--invitation")).stdout.strip()
        return await asyncio.to_thread(
            plane.join_with, name, invitation, "--oidc-token-file", str(tmp_path / name)
        )

    claims = {"repository": "acme/shop", "run_id": 7, "kubernetes.io": {"namespace": "ci"}}
    token = issuer.token(**claims)
    assert (await join("runner", token))[0] == 0
    agent = plane.agents["runner"]
    await asyncio.to_thread(plane.until, lambda: agent.status.get("identities"), "no identity")
    assert agent.status["agent"].startswith("oidc.")
    for name, bad, words in (
        ("replayed", token, "used already"),
        ("elsewhere", issuer.token(**claims, aud="vault"), "is not for 'pylis'"),
        ("foreign", issuer.token(**{**claims, "repository": "evil/shop"}), "not as required"),
        ("nameless", issuer.token(repository="acme/shop"), "run_id"),
        ("stranger", issuer.token(**claims, iss="https://evil.example"), "no provider of this name"),
    ):
        code, said = await join(name, bad)
        assert (code, words in said) == (3, True), (name, said)


async def test_keys_are_cached_and_a_new_key_is_fetched_when_it_is_met(
    issuer: OpenIdProvider, trusted: TrustedProvider
) -> None:
    now = [0.0]
    known = ProviderKeys(lambda: now[0])
    for _ in range(5):
        await known.of(trusted.provider.issuer, trusted.ca_pem, "k1")
    assert issuer.fetched == 1
    issuer.rotate("k2")
    for _ in range(5):
        assert [key.kid for key in await known.of(trusted.provider.issuer, trusted.ca_pem, "k2")] == [
            "k1"
        ]  # asked a moment ago
    now[0] = 11.0
    assert [key.kid for key in await known.of(trusted.provider.issuer, trusted.ca_pem, "k2")] == ["k2"]
    assert issuer.fetched == 2


async def test_an_issuer_that_is_away_is_believed_for_an_hour_and_no_longer(
    issuer: OpenIdProvider, trusted: TrustedProvider
) -> None:
    now = [0.0]
    known = ProviderKeys(lambda: now[0])
    await known.of(trusted.provider.issuer, trusted.ca_pem, "k1")
    issuer.is_down = True
    now[0] = 3500.0
    assert [key.kid for key in await known.of(trusted.provider.issuer, trusted.ca_pem, "k1")] == ["k1"]
    now[0] = 3700.0
    with pytest.raises(AttestationError, match="cannot be fetched"):
        await known.of(trusted.provider.issuer, trusted.ca_pem, "k1")


@pytest.mark.parametrize("how", ["redirects", "another issuer", "another authority"])
async def test_an_issuer_that_is_not_what_it_should_be_vouches_for_nobody(
    issuer: OpenIdProvider, trusted: TrustedProvider, how: str
) -> None:
    issuer.redirects = how == "redirects"
    issuer.named = "https://other.example" if how == "another issuer" else ""
    asked = TrustedProvider(trusted.provider) if how == "another authority" else trusted
    with pytest.raises(AttestationError, match="cannot be fetched"):
        await ProviderKeys(lambda: 0.0).of(asked.provider.issuer, asked.ca_pem, "k1")


async def test_a_token_is_judged_by_its_claims_and_signature(issuer: OpenIdProvider) -> None:
    now = dt.datetime.now(dt.UTC)
    provider = Provider(issuer.url, "pylis", ("repository",))
    known = oidc.read_keys(json.loads((await issuer.jwks(None)).text))  # type: ignore[arg-type]
    stamp = int(now.timestamp())
    vouched = oidc.verify(issuer.token(repository=["a", "b"], aud=["x", "pylis"]), provider, known, now)
    assert {
        "oidc:claim:repository:a",
        "oidc:claim:repository:b",
        "oidc:sub:repo:acme/shop",
    } <= vouched.selectors
    unsigned = jwt.encode({"iss": issuer.url, "aud": "pylis", "exp": stamp + 60}, "", "none")
    symmetric = jwt.encode({"iss": issuer.url, "aud": "pylis", "exp": stamp + 60}, "k" * 32, "HS256")
    other = OpenIdProvider()
    other.url = issuer.url
    wrong = [
        ("expired", issuer.token(exp=stamp - 120)),
        ("no expiry", issuer.token(exp=None)),
        ("in the future", issuer.token(iat=stamp + 600)),
        ("older than", issuer.token(iat=stamp - 100_000)),
        ("not valid yet", issuer.token(nbf=stamp + 600)),
        ("cannot be read", unsigned),
        ("not signed with", symmetric),
        ("no key of its issuer", other.token()),
        ("cannot be read", "a.b"),
        ("no number of seconds", issuer.token(iat="now")),
    ]
    for words, token in wrong:
        with pytest.raises(AttestationError, match=words):
            oidc.verify(token, provider, known, now)
