from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ca.attest.oidc import Provider
from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain
from controlplane.attestation_settings import AttestationSettings, TrustedProvider, load
from controlplane.settings_file import SettingsError

ISSUER = {"issuer": "https://ci.example", "audience": "pylis"}


def read(directory: Path, value: Any) -> AttestationSettings:
    file = directory / "attestation.yaml"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return load(file)


def test_nothing_is_trusted_that_is_not_named(tmp_path: Path) -> None:
    assert read(tmp_path, {}) == AttestationSettings()


def test_providers_and_roots_are_read(tmp_path: Path) -> None:
    ca = CertificateAuthority.open(TrustDomain.parse("example.org"), MemoryKeystore())
    (tmp_path / "ca.pem").write_text(ca.bundle.to_pem())
    entry = {
        **ISSUER,
        "claims": ["ref"],
        "require": {"repository": "acme/*"},
        "name": ["sub", "run_id"],
        "ca": "ca.pem",
    }
    found = read(tmp_path, {"x509pop": {"roots": "ca.pem"}, "oidc": [entry]})
    assert [one.fingerprint for one in found.x509pop_roots]
    provider = Provider(
        "https://ci.example", "pylis", ("ref",), (("repository", ("acme/*",)),), ("sub", "run_id")
    )
    assert found.providers == (TrustedProvider(provider, ca.bundle.to_pem()),)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[", "no YAML"),
        ("- x", "no object"),
        ({"oidcs": []}, "has no oidcs"),
        ({"oidc": {}}, "no list"),
        ({"oidc": [ISSUER, ISSUER]}, "twice"),
        ({"oidc": [{**ISSUER, "issuer": "http://ci.example"}]}, "no https URL"),
        ({"oidc": [{**ISSUER, "issuer": "https://a@ci.example"}]}, "no https URL"),
        ({"oidc": [{"issuer": "https://ci.example"}]}, "audience is no text"),
        ({"oidc": [{**ISSUER, "claim": ["x"]}]}, "has no claim"),
        ({"oidc": [{**ISSUER, "name": []}]}, "name is no list"),
        ({"oidc": [{**ISSUER, "require": {"a": [1]}}]}, "no list of texts"),
        ({"oidc": [{**ISSUER, "ca": "missing.pem"}]}, "cannot read"),
        ({"x509pop": {"roots": "missing.pem"}}, "cannot read"),
        ({"x509pop": {"roots": "attestation.yaml"}}, "no PEM"),
        ({"x509pop": {}}, "roots is no text"),
    ],
)
def test_what_is_written_wrongly_is_said(tmp_path: Path, value: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read(tmp_path, value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        load(tmp_path / "nothing.yaml")
