from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controlplane.key_fetcher import MAX_BYTES, KeyFetcher, KeysUnavailableError, fetch

JWKS = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'


class Issuer:
    """Answers with what it is told to; counts what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = JWKS
        self.asked = 0
        self.url = ""

    async def keys(self, _: web.Request) -> web.Response:
        self.asked += 1
        headers = {"location": f"{self.url}/keys"} if self.status == 302 else {}
        return web.Response(status=self.status, text=self.body, headers=headers)

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response({"jwks_uri": f"{self.url}/keys"})


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    one = Issuer()
    app = web.Application()
    app.router.add_get("/keys", one.keys)
    app.router.add_get("/.well-known/openid-configuration", one.discovery)
    async with TestServer(app) as server:
        one.url = str(server.make_url("")).rstrip("/")
        yield one


async def fetched(source: str) -> str:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        return await fetch(session, source)


async def test_a_key_set_and_an_openid_configuration(issuer: Issuer) -> None:
    assert await fetched(f"{issuer.url}/keys") == JWKS
    assert await fetched(f"{issuer.url}/.well-known/openid-configuration") == JWKS


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (500, JWKS, "answered 500"),
        (302, JWKS, "answered 302"),
        (200, "secret text", "is no JSON Web Key Set"),
        (200, '{"keys": []}', "is no JSON Web Key Set"),
        (200, "x" * (MAX_BYTES + 1), "more than"),
    ],
)
async def test_other_answers_are_no_keys_and_are_not_quoted(
    issuer: Issuer, status: int, body: str, why: str
) -> None:
    issuer.status, issuer.body = status, body
    with pytest.raises(KeysUnavailableError, match=why) as caught:
        await fetched(f"{issuer.url}/keys")
    assert "secret" not in str(caught.value)


async def test_what_is_no_address_is_not_asked() -> None:
    with pytest.raises(KeysUnavailableError, match="no http or https address"):
        await fetched("file:///etc/passwd")


async def test_new_sources_are_fetched_and_the_last_good_keys_stay(issuer: Issuer) -> None:
    wanted: dict[str, float] = {}
    learned: list[str] = []
    news = asyncio.Event()

    def learn(source: str, jwks: str) -> None:
        learned.append(jwks)
        news.set()

    fetcher = KeyFetcher(lambda: wanted, learn, refresh_seconds=0.01, first_retry_seconds=0.01)
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
        running = tasks.create_task(fetcher.run())
        wanted[f"{issuer.url}/keys"] = 5.0
        fetcher.look_again()
        await news.wait()
        issuer.status = 500
        before = issuer.asked
        while issuer.asked < before + 2:  # noqa: ASYNC110 - the other side has no event
            await asyncio.sleep(0.01)
        known = len(learned)
        issuer.status, issuer.body = 200, JWKS.replace("c2Vj", "bmV3")
        news.clear()
        await news.wait()
        assert len(learned) > known
        assert learned[-1] == issuer.body
        running.cancel()
