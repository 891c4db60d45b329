from __future__ import annotations

import base64
import json
from dataclasses import astuple, replace

import pytest

from ca.attest.join_token import JoinToken, secret_hash
from ca.errors import TokenError

TOKEN = JoinToken("127.0.0.1:15080", "127.0.0.1:15012", "example.org", "ab" * 32, "local", "s3cret-s3cret")


def coded(value: object) -> str:
    return "pylis1." + base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_survives_the_way_to_the_agent() -> None:
    assert JoinToken.decode(f"  {TOKEN.encode()}\n") == TOKEN


def test_a_token_may_say_where_sidecars_connect() -> None:
    token = replace(TOKEN, sidecars="127.0.0.1:15013")
    assert JoinToken.decode(token.encode()) == token
    assert len(token.encode()) > len(TOKEN.encode())


def test_a_token_is_one_word_of_harmless_characters() -> None:
    assert set(TOKEN.encode()) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@pytest.mark.parametrize(
    "text",
    ["", "pylis1.", "pylis2.AAAA", "pylis1.!!!", TOKEN.encode()[:-7], coded({}), coded([1, 2, 3, 4, 5, 6]),
     coded(["a", "b", "Not A Domain", "d", "e", "f"]), coded(["a"] * 5),
     replace(TOKEN, sidecars="no port").encode(), coded([*astuple(TOKEN)[:6], ""]), coded([*astuple(TOKEN)[:6], "h:1", "h:2"]), "pylis1." + "A" * 9000],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        JoinToken.decode(text)


def test_neither_repr_nor_error_tells_the_secret() -> None:
    assert "s3cret" not in repr(TOKEN)
    with pytest.raises(TokenError) as caught:
        JoinToken.decode("s3cret-s3cret")
    assert "s3cret" not in str(caught.value)


def test_the_server_keeps_only_a_hash() -> None:
    assert secret_hash("s3cret-s3cret") == secret_hash("s3cret-s3cret") != secret_hash("other")
    assert "s3cret" not in secret_hash("s3cret-s3cret")
