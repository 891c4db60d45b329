from __future__ import annotations

from pathlib import Path

import pytest

from agent.evidence import EvidenceError, EvidenceFiles
from ca import keys
from ca.csr import prove
from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain


@pytest.fixture
def files(tmp_path: Path) -> EvidenceFiles:
    key = keys.new_key()
    ca = CertificateAuthority.open(TrustDomain.parse("example.org"), MemoryKeystore())
    (tmp_path / "host.pem").write_text(ca.issue_agent("host", prove(keys.csr_for(key))).chain_pem)
    (tmp_path / "host.key").write_bytes(keys.key_pem(key))
    (tmp_path / "token").write_text("a.b.c\n")
    return EvidenceFiles(tmp_path / "host.pem", tmp_path / "host.key", tmp_path / "token")


def test_they_are_read_when_they_are_needed(files: EvidenceFiles) -> None:
    machine = files.machine()
    assert machine is not None
    assert len(machine.chain) == 2
    assert (files.token(), files.can_attest_again) == ("a.b.c", True)
    assert files.oidc_token is not None
    files.oidc_token.write_text("d.e.f")
    assert files.token() == "d.e.f"


def test_without_files_there_is_a_join_token_only() -> None:
    nothing = EvidenceFiles()
    assert (nothing.machine(), nothing.token(), nothing.can_attest_again) == (None, "", False)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_what_cannot_be_used_is_said_by_name(files: EvidenceFiles, content: bytes) -> None:
    assert files.key is not None
    files.key.write_bytes(content)
    with pytest.raises(EvidenceError, match=r"host\.key"):
        files.machine()


def test_a_missing_file_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="cannot read"):
        EvidenceFiles(oidc_token=tmp_path / "nothing").token()
