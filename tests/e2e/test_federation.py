"""Foreign identities at a real Envoy: let in by name, by the bundle of their own trust domain and no other."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.client import Client, connect
from demo.client import Credentials, Http
from demo.mesh import DemoMesh

PARTNER = "partner.example"
GROUP = "/apis/pylis.io/v1alpha1"
CATALOG = f"{GROUP}/namespaces/shop/workloadregistrations"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoMesh]:
    with DemoMesh(tmp_path_factory.mktemp("mesh") / "state", quiet=True) as running:
        yield running


def minted(directory: Path, identity: str, *, authority: str = "partner") -> Path:
    """An SVID of a local authority, which the mesh knows nothing of."""
    out = directory / f"{authority}-{identity.rpartition('/')[2]}"
    command = [
        sys.executable,
        "-m",
        "controlplane.cli",
        "svid",
        "mint",
        "--spiffe-id",
        identity,
        "--out",
        str(out),
    ]
    subprocess.run(
        [*command, "--state-dir", str(directory / authority)], check=True, capture_output=True, cwd=directory
    )
    return out


def bundle_document(directory: Path, authority: str = "partner") -> str:
    command = [sys.executable, "-m", "controlplane.cli", "bundle", "show", "--format", "spiffe"]
    place = ["--state-dir", str(directory / authority)]
    return subprocess.run(
        [*command, *place], check=True, capture_output=True, text=True, cwd=directory
    ).stdout


def asked(mesh: DemoMesh, directory: Path, own_bundle: Path) -> str:
    """allow, deny, or refused: what a client with this SVID meets at the catalog's sidecar."""
    address = mesh.workload("shop/catalog")["inbound"]["http"]
    connection = Http(address, "catalog.shop:8080", context=Credentials(directory).context(own_bundle))
    with contextlib.closing(connection):
        return connection.send("GET", "/items").actual


def until(what: Any, wanted: str) -> None:
    end = time.monotonic() + 60
    while (found := what()) != wanted:
        assert time.monotonic() < end, f"still {found}, not {wanted}"
        time.sleep(0.05)


@pytest.mark.spiffe("F-07", "F-12", "A-13", "B-01", "B-10")
def test_a_partner_is_let_in_by_name_and_by_its_own_authorities(mesh: DemoMesh, tmp_path: Path) -> None:
    api: Client = connect(mesh.kubeconfig)
