"""Whose authority signs, and where its keys are: by the options of `pylis server`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from spiffe import WorkloadApiClient

from ca import keys, profile
from ca.sign import Signer

Plane = Any
Planes = Callable[..., Plane]
ID = "spiffe://example.org/ns/shop/sa/orders"


def corporate_ca(directory: Path) -> Signer:
    """A root that names no trust domain, as a company's does."""
    key, now = keys.new_key(), datetime.now(UTC).replace(microsecond=0)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Example Corp Root")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(profile._AUTHORITY_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, keys.hash_for(key))
    )
    (directory / "corp.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "corp.key").write_bytes(keys.key_pem(key))
    return Signer(certificate, key)


def openssl_accepts(svid: Path, roots: Path) -> bool:
    command = ["openssl", "verify", "-x509_strict", "-CAfile", str(roots), "-untrusted", str(svid), str(svid)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_mesh_below_a_corporate_ca(new_control_plane: Planes, tmp_path: Path) -> None:
    corporate_ca(tmp_path)
    files = ("--upstream-cert", str(tmp_path / "corp.pem"), "--upstream-key", str(tmp_path / "corp.key"))
    plane = new_control_plane(*files)
    assert plane.run("svid", "mint", "--spiffe-id", ID, "--out", "out").returncode == 0
    assert openssl_accepts(plane.directory / "out" / "svid.pem", tmp_path / "corp.pem")
    plane.register("orders")
    agent = plane.join("one")
    plane.until(lambda: agent.status.get("identities"))
    plane.json("ca", "prepare")
    plane.until(lambda: plane.run("ca", "activate").returncode == 0)
    refused = plane.run("ca", "taint")
    assert (refused.returncode, "upstream" in refused.stderr) == (2, True)
    plane.until(lambda: agent.status.get("connected"))


def test_two_control_planes_share_a_trust_domain(new_control_plane: Planes, tmp_path: Path) -> None:
    """Nested: what the lower one issues is believed above, its tokens too; a taint above reaches below."""
    above = new_control_plane(name="above")
    (tmp_path / "above.pem").write_text(above.run("bundle", "show").stdout)
    options = ["--upstream-server", above.api, "--upstream-ca-file", str(tmp_path / "above.pem")]
    below = new_control_plane(
        *options, "--upstream-token-file", str(above.data_dir / "admin.token"), name="below"
    )
    assert below.run("svid", "mint", "--spiffe-id", ID, "--out", "out").returncode == 0
    assert openssl_accepts(below.directory / "out" / "svid.pem", tmp_path / "above.pem")
    minted = below.run("svid", "mint", "--spiffe-id", ID, "--jwt", "--audience", "db", "--out", "jwt")
    assert minted.returncode == 0, minted.stderr
    bundle = above.directory / "bundle.json"
    bundle.write_text(above.run("bundle", "show", "--format", "spiffe").stdout)
    token = str(below.directory / "jwt" / "svid.jwt")
    assert above.run("svid", "verify", "--bundle", str(bundle), "--audience", "db", token).returncode == 0
    below.register("orders")
    agent = below.join("one")
    below.until(lambda: agent.status.get("identities"))

    def issuer() -> str:
        with WorkloadApiClient(f"unix://{agent.socket}") as client:
            return client.fetch_x509_svid().cert_chain[1].issuer.rfc4514_string()

    before = issuer()
    above.json("ca", "prepare")
    root = [one["id"] for one in above.json("ca", "status")["x509"] if one["status"] == "prepared"]
    above.until(
        lambda: len(json.loads(below.run("bundle", "show", "--format", "spiffe").stdout)["keys"]) >= 4
    )
    assert above.run("ca", "activate", *root).returncode == 0
    assert above.run("ca", "taint").returncode == 0
    below.until(lambda: issuer() != before, "the taint did not reach the workload")


@pytest.mark.parametrize(
    "keystore", [("--keystore", "memory"), ("--ca-key-type", "ec-p384"), ("--ca-key-type", "rsa-2048")]
)
def test_keystores_and_key_types_run_a_mesh(new_control_plane: Planes, keystore: tuple[str, ...]) -> None:
    plane = new_control_plane(*keystore)
    plane.register("orders")
    agent = plane.join("one")
    plane.until(lambda: agent.status.get("identities"))
    assert (keystore[0] == "--keystore") != (plane.data_dir / "ca").exists()


def test_keys_are_encrypted_where_there_is_a_passphrase(new_control_plane: Planes, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("correct horse\n")
    plane = new_control_plane("--keystore-passphrase-file", str(tmp_path / "passphrase"))
    files = list((plane.data_dir / "ca" / "example.org").glob("*.key.pem"))
    assert files
    assert all(b"ENCRYPTED" in path.read_bytes() for path in files)
    plane.process.terminate()
    plane.process.communicate(timeout=60)
    plane.start()
    plane.process.terminate()
    plane.process.communicate(timeout=60)
    (tmp_path / "passphrase").write_text("battery staple\n")
    with pytest.raises(AssertionError, match="passphrase"):
        plane.start()
    plane.process.communicate(timeout=60)
    plane.process = None


@pytest.mark.parametrize(
    "options",
    [("--keystore", "hsm"), ("--keystore", "pkcs11:token=x"), ("--upstream-cert", "x"), ("--upstream-server", "https://x"),
     ("--ca-ttl", "soon"), ("--keystore", "memory", "--keystore-passphrase-file", "x"),
     ("--upstream-cert", "/nope", "--upstream-key", "/nope")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_at_start(tmp_path: Path, options: tuple[str, ...]) -> None:
    import sys

    command = [
        sys.executable,
        "-m",
        "controlplane.cli",
        "server",
        "--data-dir",
        str(tmp_path / "d"),
        *options,
    ]
    addresses = ["--api", "127.0.0.1:0", "--xds", "127.0.0.1:0"]
    done = subprocess.run([*command, *addresses], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
