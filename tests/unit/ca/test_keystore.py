from __future__ import annotations

from pathlib import Path

import pytest

from ca.errors import KeystoreError
from ca.keys import KeyType
from ca.keystore import FileKeystore, Keystore, MemoryKeystore, write_private


@pytest.fixture(params=["memory", "files"])
def keystore(request: pytest.FixtureRequest, tmp_path: Path) -> Keystore:
    return MemoryKeystore() if request.param == "memory" else FileKeystore(tmp_path / "keys")


def test_what_is_stored_is_loaded_and_replaced(keystore: Keystore) -> None:
    assert keystore.load("a") is None
    keystore.store("a", b"one")
    keystore.store("a", b"two")
    assert keystore.load("a") == b"two"


@pytest.mark.parametrize("kind", KeyType)
def test_a_key_is_made_found_again_and_forgotten(keystore: Keystore, kind: KeyType) -> None:
    assert keystore.key("root-1") is None
    made = keystore.create_key("root-1", kind)
    found = keystore.key("root-1")
    assert found is not None
    assert found.public_key() == made.public_key()
    assert keystore.create_key("root-1", kind).public_key() != made.public_key()
    keystore.forget_key("root-1")
    keystore.forget_key("root-1")
    assert keystore.key("root-1") is None


def test_a_passphrase_protects_the_keys(tmp_path: Path) -> None:
    made = FileKeystore(tmp_path / "keys", b"correct horse").create_key("root-1", KeyType.EC_P256)
    assert b"ENCRYPTED" in (tmp_path / "keys" / "root-1.key.pem").read_bytes()
    found = FileKeystore(tmp_path / "keys", b"correct horse").key("root-1")
    assert found is not None
    assert found.public_key() == made.public_key()
    for wrong in (b"", b"battery staple"):
        with pytest.raises(KeystoreError, match="passphrase"):
            FileKeystore(tmp_path / "keys", wrong).key("root-1")
    FileKeystore(tmp_path / "keys").create_key("root-2", KeyType.EC_P256)
    with pytest.raises(KeystoreError, match="not encrypted"):
        FileKeystore(tmp_path / "keys", b"correct horse").key("root-2")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "a.b"])
def test_a_keys_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeystoreError, match="no key's name"):
        FileKeystore(tmp_path / "keys").create_key(name, KeyType.EC_P256)


def test_directory_and_files_are_private(tmp_path: Path) -> None:
    FileKeystore(tmp_path / "keys").store("a", b"secret")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keys" / "a").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in (tmp_path / "keys").iterdir()] == ["a"]


def test_a_directory_others_may_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(KeystoreError, match="chmod 700"):
        FileKeystore(tmp_path)


def test_a_file_others_may_read_is_refused(tmp_path: Path) -> None:
    keystore = FileKeystore(tmp_path / "keys")
    keystore.store("a", b"secret")
    (tmp_path / "keys" / "a").chmod(0o644)
    with pytest.raises(KeystoreError, match="chmod 600"):
        keystore.load("a")


def test_a_file_in_the_directorys_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("")
    with pytest.raises(KeystoreError, match="cannot use"):
        FileKeystore(tmp_path / "keys")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match=r"."):
        write_private(tmp_path / "a", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("theirs")
    (tmp_path / "a").symlink_to(target)
    write_private(tmp_path / "a", b"ours")
    assert target.read_text() == "theirs"
    assert not (tmp_path / "a").is_symlink()
