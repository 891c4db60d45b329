"""OpenSSL's view of what we issue: the chain holds, and the profile is the one SPIFFE asks for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OPENSSL = shutil.which("openssl")
ID = "spiffe://example.org/ns/shop/sa/orders"
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="no openssl on PATH: its view was not asked")


def openssl(*arguments: str) -> str:
    done = subprocess.run([str(OPENSSL), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture
def minted(tmp_path: Path) -> Path:
    command = [sys.executable, "-m", "controlplane.cli", "svid", "mint", "--spiffe-id", ID, "--out", "svid"]
    subprocess.run([*command, "--state-dir", "state"], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path / "svid"


def test_the_chain_holds_for_client_and_server(minted: Path) -> None:
    svid, bundle = str(minted / "svid.pem"), str(minted / "bundle.pem")
    for purpose in ("sslclient", "sslserver"):
        said = openssl(
            "verify", "-x509_strict", "-purpose", purpose, "-CAfile", bundle, "-untrusted", svid, svid
        )
        assert said.strip().endswith("OK")


def test_a_leaf_is_what_spiffe_asks_for(minted: Path) -> None:
    text = openssl("x509", "-noout", "-text", "-in", str(minted / "svid.pem"))
    lines = [line.strip() for line in text.splitlines()]
    follows = {line: lines[index + 1] for index, line in enumerate(lines[:-1])}
    assert "Subject:" in lines
    assert follows["X509v3 Subject Alternative Name: critical"] == f"URI:{ID}"
    assert follows["X509v3 Key Usage: critical"] == "Digital Signature"
    assert follows["X509v3 Basic Constraints: critical"] == "CA:FALSE"
    extended = follows["X509v3 Extended Key Usage:"]
    assert set(extended.split(", ")) == {
        "TLS Web Server Authentication", "TLS Web Client Authentication",
    }  # fmt: skip


def test_an_authority_is_one_and_the_key_belongs_to_the_leaf(minted: Path) -> None:
    text = openssl("x509", "-noout", "-text", "-in", str(minted / "bundle.pem"))
    assert "CA:TRUE" in text
    assert "Certificate Sign" in text
    assert "URI:spiffe://example.org\n" in text
    of_leaf = openssl("x509", "-noout", "-pubkey", "-in", str(minted / "svid.pem"))
    assert openssl("pkey", "-pubout", "-in", str(minted / "key.pem")) == of_leaf
