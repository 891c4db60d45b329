"""The envelope key in a PKCS#11 token, on SoftHSM: it seals a store, never leaves, and no other key opens it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ca.pkcs11_store import TokenUri, open_session
from controlplane.store.port import Key, UnusableError
from controlplane.store.sqlite import SqliteStore
from controlplane.store.token_envelope import LABEL, TokenEnvelope
from controlplane.store.vault import Vault, outer_key, rewrap
from tests.unit.softhsm import MODULE, without_softhsm

pytestmark = without_softhsm


@pytest.fixture
def held(softhsm: str) -> Iterator[TokenEnvelope]:
    """Closed, so that whoever logs in next has to know the PIN."""
    one = TokenEnvelope.open(softhsm)
    yield one
    one.close()


SECRET = Key("secrets", "shop", "s")


async def test_a_store_is_sealed_and_opened_again_by_the_token(
    held: TokenEnvelope, softhsm: str, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    outer = outer_key(tmp_path / "envelope.key", softhsm)
    assert isinstance(outer, TokenEnvelope)
    store = await SqliteStore.open(path, outer)
    outer.close()
    await store.create(SECRET, {"data": "hunter2"})
    await store.close()
    assert not (tmp_path / "envelope.key").exists(), "no key in a file beside it"
    db = sqlite3.connect(path)
    (kept,) = db.execute("SELECT value FROM objects").fetchone()
    db.close()
    assert "hunter2" not in kept
    again = await SqliteStore.open(path, held)
    record = await again.get(SECRET)
    await again.close()
    assert record is not None
    assert record.value == {"data": "hunter2"}
    for wrong in (b"x" * 32, None):
        with pytest.raises(UnusableError, match="not the one this store was made with"):
            await SqliteStore.open(path, wrong)


def test_another_key_of_a_token_opens_nothing_and_a_file_key_can_be_moved_there(held: TokenEnvelope) -> None:
    vault, wrapped = Vault.create(b"k" * 32)
    with pytest.raises(UnusableError, match="not the one"):
        Vault.open(held, wrapped)
    moved = Vault.open(held, rewrap(b"k" * 32, held, wrapped))
    assert moved.unseal(SECRET, vault.seal(SECRET, "{}")) == "{}"


@pytest.mark.usefixtures("held")
def test_the_key_does_not_leave_its_token(softhsm: str) -> None:
    import pkcs11

    session = open_session(TokenUri.parse(softhsm), "keys")
    key = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=LABEL)
    with pytest.raises(pkcs11.PKCS11Error):
        _ = key[pkcs11.Attribute.VALUE]
    session.close()


def test_a_wrong_token_or_module_is_told(softhsm: str) -> None:
    for wrong in (
        softhsm.replace("token=pylis", "token=other"),
        softhsm.replace(str(MODULE), "/nonexistent.so"),
        "pkcs11:",
    ):
        with pytest.raises(UnusableError):
            outer_key(Path("/nowhere"), wrong)
