from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ca import bundle as bundles
from ca.spiffe_id import TrustDomain
from controlplane.cli.bundle import bundle
from controlplane.cli.svid import svid


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PYLIS_STATE_DIR", "PYLIS_KUBECONFIG", "PYLIS_SERVER"):
        monkeypatch.delenv(name, raising=False)


def show(*args: str) -> Result:
    return CliRunner().invoke(bundle, ["show", *args], catch_exceptions=False)


def mint(domain: str) -> None:
    args = ["mint", "--spiffe-id", f"spiffe://{domain}/w", "--out", domain]
    assert CliRunner().invoke(svid, args, catch_exceptions=False).exit_code == 0


def test_both_formats_hold_the_same_authority() -> None:
    mint("example.org")
    domain = TrustDomain.parse("example.org")
    as_pem = bundles.from_pem(domain, show("--format", "pem").stdout.encode())
    as_spiffe = bundles.from_spiffe(domain, show("--format", "spiffe").stdout)
    assert as_pem.x509_authorities == as_spiffe.x509_authorities
    assert show("--format", "pem").stdout == Path("example.org/bundle.pem").read_text()


def test_spiffe_format_is_json() -> None:
    mint("example.org")
    assert json.loads(show("--format", "spiffe").stdout)["keys"][0]["use"] == "x509-svid"


def test_showing_makes_no_authority() -> None:
    for args in ((), ("--trust-domain", "example.org")):
        result = show(*args)
        assert result.exit_code == 2
        assert "--server" in result.stderr
    assert not Path(".pylis").exists()


def test_of_several_one_is_chosen() -> None:
    mint("a.org")
    mint("b.org")
    assert show().exit_code == 2
    assert show("--trust-domain", "b.org").stdout == Path("b.org/bundle.pem").read_text()
    assert show("--trust-domain", "Not A Domain").exit_code == 2
