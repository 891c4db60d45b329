"""Foreign identities at a real Envoy: let in by name, by the bundle of their own trust domain and no other."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ca import keys
from ca.csr import prove
from ca.keystore import FileKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain
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
        [*command, "--state-dir", str(directory / authority)],
        check=True,
        capture_output=True,
        cwd=directory,
    )
    return out


def forged(directory: Path, identity: str) -> Path:
    """The partner's authority signs what it must not: an identity of the mesh."""
    keystore = FileKeystore(directory / "partner" / "ca" / PARTNER)
    authority = CertificateAuthority.open(TrustDomain.parse(PARTNER), keystore)
    key, out = keys.new_key(), directory / "forged"
    svid = authority._issue(SpiffeId.parse(identity), prove(keys.csr_for(key)), timedelta(hours=1))
    out.mkdir()
    (out / "svid.pem").write_text(svid.chain_pem)
    (out / "key.pem").write_bytes(keys.key_pem(key))
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
    own = mesh.credentials("shop/frontend").directory / "bundle.pem"
    friend = minted(tmp_path, f"spiffe://{PARTNER}/ns/billing/sa/reader")
    other = minted(tmp_path, f"spiffe://{PARTNER}/ns/billing/sa/other")
    stranger = minted(tmp_path, f"spiffe://{PARTNER}/ns/billing/sa/reader", authority="stranger")
    posing = forged(tmp_path, f"spiffe://{mesh.info['trustDomain']}/ns/shop/sa/frontend")
    assert asked(mesh, friend, own) == "refused"  # nobody has federated yet
    spec = {"trustDomain": PARTNER, "trustDomainBundle": bundle_document(tmp_path)}
    kind = {
        "apiVersion": "pylis.io/v1alpha1",
        "kind": "FederatedTrustDomain",
        "metadata": {"name": "partner"},
    }
    api.request("POST", f"{GROUP}/federatedtrustdomains", {**kind, "spec": spec})
    merge = "application/merge-patch+json"
    api.request("PATCH", f"{CATALOG}/catalog", {"spec": {"federatesWith": [PARTNER]}}, content_type=merge)
    until(lambda: asked(mesh, friend, own), "deny")  # believed, and not allowed
    allow = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "partner", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "catalog"}},
            "rules": [{"from": [{"source": {"principals": [f"{PARTNER}/ns/billing/sa/reader"]}}]}],
        },
    }
    api.request("POST", "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies", allow)
    until(lambda: asked(mesh, friend, own), "allow")
    assert asked(mesh, other, own) == "deny"
    assert asked(mesh, stranger, own) == "refused"
    assert asked(mesh, posing, own) == "refused"  # the partner's authority vouches for no identity of ours
    revoked = {**spec, "trustDomainBundle": '{"keys": [], "spiffe_sequence": 99}'}
    api.request("PATCH", f"{GROUP}/federatedtrustdomains/partner", {"spec": revoked}, content_type=merge)
    until(lambda: asked(mesh, friend, own), "refused")
