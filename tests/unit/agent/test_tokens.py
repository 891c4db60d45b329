from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agent.link import TokenRefusedError, TokenUnavailableError
from agent.tokens import MAX_KEPT, Tokens
from ca.node_protocol import Authorized, SignedJwt
from ca.spiffe_id import SpiffeId


class Server:
    """Signs with the mesh's authority; `fails` is raised instead."""

    def __init__(self, mesh: Any) -> None:
        self.mesh = mesh
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.fails: Exception | None = None
        self.now = 0.0

    async def sign(self, registration: str, audience: tuple[str, ...]) -> SignedJwt:
        self.asked.append((registration, audience))
        if self.fails:
            raise self.fails
        identity = SpiffeId.parse("spiffe://example.org/ns/shop/sa/orders")
        token = self.mesh.ca.issue_jwt_id(identity, audience, timedelta(minutes=5)).token
        return SignedJwt(1, token, int(self.now), int(self.now) + 300)


@pytest.fixture
def server(mesh: Any) -> Server:
    mesh.authorize(mesh.entry())
    return Server(mesh)


@pytest.fixture
def tokens(server: Server) -> Tokens:
    return Tokens(server.mesh.holdings, server.sign, lambda: server.now)


async def test_one_is_kept_until_half_of_its_life(server: Server, tokens: Tokens) -> None:
    entry = server.mesh.entry()
    first = await tokens.get(entry, ("db", "web"))
    server.now = 149
    assert await tokens.get(entry, ("web", "db", "db")) == first
    assert len(server.asked) == 1
    server.now = 150
    assert await tokens.get(entry, ("db", "web")) != first
    await tokens.get(entry, ("db",))
    assert len(server.asked) == 3


async def test_another_identity_under_the_same_name_gets_none_of_before(
    server: Server, tokens: Tokens
) -> None:
    first = await tokens.get(server.mesh.entry(), ("db",))
    other = server.mesh.entry(spiffe_id="spiffe://example.org/ns/shop/sa/other")
    assert await tokens.get(other, ("db",)) != first


async def test_while_the_control_plane_is_away_a_kept_one_serves_until_it_ends(
    server: Server, tokens: Tokens
) -> None:
    first = await tokens.get(server.mesh.entry(), ("db",))
    server.fails = TokenUnavailableError("away")
    server.now = 280
    assert await tokens.get(server.mesh.entry(), ("db",)) == first
    server.now = 295
    with pytest.raises(TokenUnavailableError):
        await tokens.get(server.mesh.entry(), ("db",))


async def test_what_is_refused_is_not_served_from_before(server: Server, tokens: Tokens) -> None:
    await tokens.get(server.mesh.entry(), ("db",))
    server.fails = TokenRefusedError("not registered for this agent")
    server.now = 200
    with pytest.raises(TokenRefusedError):
        await tokens.get(server.mesh.entry(), ("db",))


async def test_a_token_of_a_tainted_or_unknown_authority_is_signed_anew(
    server: Server, tokens: Tokens
) -> None:
    mesh = server.mesh
    await tokens.get(mesh.entry(), ("db",))
    (key,) = mesh.ca.bundle.jwt_authorities
    mesh.holdings.authorize(Authorized((mesh.entry(),), mesh.ca.bundle, (key.kid,)))
    await tokens.get(mesh.entry(), ("db",))
    assert len(server.asked) == 2
    mesh.holdings.authorize(Authorized((mesh.entry(),), replace(mesh.ca.bundle, jwt_authorities=())))
    await tokens.get(mesh.entry(), ("db",))
    assert len(server.asked) == 3


async def test_what_is_kept_is_bounded(server: Server, tokens: Tokens) -> None:
    for number in range(MAX_KEPT + 5):
        await tokens.get(server.mesh.entry(), (f"a{number}",))
    assert len(tokens._kept) == MAX_KEPT
