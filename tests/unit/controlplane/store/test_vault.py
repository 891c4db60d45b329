"""Sealing: only the right key opens, only at its place; the outer key can change."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from controlplane.store.port import Key, UnusableError
from controlplane.store.vault import Vault, outer_key, rewrap

SECRET, OTHER = Key("secrets", "shop", "a"), Key("secrets", "shop", "b")
ONE, TWO = b"1" * 32, b"2" * 32


def test_only_secret_material_is_sealed() -> None:
    vault, _ = Vault.create(ONE)
    assert vault.seal(Key("configmaps", "shop", "a"), "{}") == "{}"
    sealed = vault.seal(SECRET, '{"data":"x"}')
    assert "data" not in sealed
    assert vault.seal(SECRET, '{"data":"x"}') != sealed, "a nonce each"
    assert vault.unseal(SECRET, sealed) == '{"data":"x"}'


def test_a_moved_or_changed_text_does_not_open() -> None:
    vault, _ = Vault.create(ONE)
    sealed = vault.seal(SECRET, "{}")
    for key, text in (
        (OTHER, sealed),
        (SECRET, sealed.replace('":"', '":"AA')),
        (SECRET, "{}"),
        (SECRET, "[]"),
        (SECRET, "x"),
    ):
        with pytest.raises(UnusableError, match="cannot be decrypted"):
            vault.unseal(key, text)


def test_the_outer_key_can_change() -> None:
    vault, wrapped = Vault.create(ONE)
    sealed = vault.seal(SECRET, "{}")
    again = Vault.open(TWO, rewrap(ONE, TWO, wrapped))
    assert again.unseal(SECRET, sealed) == "{}"
    assert again.audit_key == vault.audit_key
    for wrong in (wrapped, "x", ""):
        with pytest.raises(UnusableError, match="envelope key"):
            Vault.open(TWO, wrong)


def test_where_the_outer_key_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "k" / "envelope.key"
    made = outer_key(path)
    assert (len(made), path.stat().st_mode & 0o777, outer_key(path)) == (32, 0o600, made)
    assert outer_key(path, base64.b64encode(TWO).decode()) == TWO
    for given in ("x", base64.b64encode(b"short").decode()):
        with pytest.raises(UnusableError, match="32 bytes"):
            outer_key(path, given)
    path.chmod(0o644)
    with pytest.raises(UnusableError, match="chmod 600"):
        outer_key(path)
