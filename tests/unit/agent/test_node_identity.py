from __future__ import annotations

import json
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import node_identity


def test_it_is_what_it_was_after_a_restart(mesh: Any, tmp_path: Path) -> None:
    node = mesh.node()
    node_identity.save(node, tmp_path)
    again = node_identity.load(tmp_path)
    assert again is not None
    assert (again.agent, again.xds, again.chain) == (node.agent, node.xds, node.chain)
    assert again.bundle.root_hashes == node.bundle.root_hashes
    assert again.key.private_numbers() == node.key.private_numbers()


def test_where_sidecars_connect_is_kept_and_files_of_before_do_not_say(mesh: Any, tmp_path: Path) -> None:
    node_identity.save(replace(mesh.node(), sidecars="127.0.0.1:15013"), tmp_path)
    again = node_identity.load(tmp_path)
    assert again is not None
    assert again.sidecars == "127.0.0.1:15013"
    (path,) = tmp_path.iterdir()
    before = {name: value for name, value in json.loads(path.read_text()).items() if name != "sidecars"}
    path.write_text(json.dumps(before))
    again = node_identity.load(tmp_path)
    assert again is not None
    assert again.sidecars == ""


def test_only_its_owner_can_read_it(mesh: Any, tmp_path: Path) -> None:
    node_identity.save(mesh.node(), tmp_path)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


def test_one_that_never_joined_has_none(tmp_path: Path) -> None:
    assert node_identity.load(tmp_path) is None


@pytest.mark.parametrize("field", ["agent", "xds", "trustDomain", "bundle", "chain", "key"])
@pytest.mark.parametrize("value", [None, "", 7, "-----BEGIN CERTIFICATE-----"])
def test_a_damaged_file_is_as_none(mesh: Any, tmp_path: Path, field: str, value: Any) -> None:
    node_identity.save(mesh.node(), tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    loaded = node_identity.load(tmp_path)
    assert loaded is None or field in ("agent", "xds")


@pytest.mark.parametrize("text", ["", "[]", "null", '{"agent": "one"}'])
def test_another_file_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "node.json").write_text(text)
    assert node_identity.load(tmp_path) is None


def test_it_knows_when_it_has_expired(mesh: Any) -> None:
    assert not mesh.node().is_expired
    assert mesh.node(age=timedelta(hours=2)).is_expired


def test_its_connections_are_tls_1_3_with_its_own_certificate(mesh: Any) -> None:
    context = mesh.node().client_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_its_key_is_never_part_of_what_is_printed(mesh: Any) -> None:
    assert "key" not in repr(mesh.node())
