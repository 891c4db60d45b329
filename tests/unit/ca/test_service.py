from __future__ import annotations

import asyncio
import contextlib
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from cryptography import x509

from ca import jwt_svid, keys
from ca.errors import AuthorityError, CsrError, KeystoreError, RegistrationError, SpiffeIdError
from ca.issue import X509Svid
from ca.keystore import FileKeystore, Keystore, MemoryKeystore
from ca.registrations import Registration
from ca.service import SERVER_DNS_NAME, CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain, workload_id
from ca.verify import svid_problems

TD = TrustDomain.parse("example.org")
START = datetime(2026, 6, 1, 12, tzinfo=UTC)
REGISTRATION = Registration(
    "shop/orders",
    workload_id(TD, "shop", "orders"),
    frozenset({"unix:uid:1"}),
    frozenset({"*"}),
    dns_names=("orders.shop",),
)


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


def an_authority(clock: Clock, keystore: Keystore | None = None) -> CertificateAuthority:
    serials = count(1)
    return CertificateAuthority.open(
        TD, keystore or MemoryKeystore(), clock=clock, new_serial=lambda: next(serials)
    )


def a_csr() -> bytes:
    return keys.csr_for(keys.new_key())


def certificates(svid: X509Svid) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(der) for der in svid.chain]


def names(svid: X509Svid) -> list[str]:
    found = certificates(svid)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


def test_what_it_issues_is_valid_under_its_bundle() -> None:
    authority = an_authority(Clock())
    for svid in (
        authority.issue(REGISTRATION, a_csr()),
        authority.issue_agent("one", a_csr()),
        authority.issue_server(a_csr(), ["mesh.internal"], ["10.0.0.1"]),
    ):
        assert svid_problems(certificates(svid), authority.bundle, START) == []
        assert len(svid.chain) == 2


def test_openssl_agrees(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(TD, MemoryKeystore())
    (tmp_path / "svid.pem").write_text(authority.issue(REGISTRATION, a_csr()).chain_pem)
    (tmp_path / "bundle.pem").write_text(authority.bundle.to_pem())
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-CAfile",
        "bundle.pem",
        "-untrusted",
        "svid.pem",
        "svid.pem",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "svid.pem: OK\n"), done.stderr


def test_names_come_from_who_asks() -> None:
    authority = an_authority(Clock())
    assert names(authority.issue(REGISTRATION, a_csr())) == [str(REGISTRATION.spiffe_id), "orders.shop"]
    assert names(authority.issue_agent("one", a_csr())) == ["spiffe://example.org/pylis/agent/one"]
    assert names(authority.issue_server(a_csr(), ["mesh"], ["10.0.0.1"])) == [
        "spiffe://example.org/pylis/server", "mesh", "localhost", SERVER_DNS_NAME, "10.0.0.1", "127.0.0.1"
    ]  # fmt: skip


def test_a_jwt_svid_is_valid_under_its_bundle_and_of_a_registered_name() -> None:
    authority = an_authority(Clock())
    svid = authority.issue_jwt(REGISTRATION, ["db"])
    assert jwt_svid.svid_problems(svid.token, authority.bundle, ["db"], START) == []
    assert svid.expires == START + REGISTRATION.jwt_ttl
    with pytest.raises(RegistrationError):
        authority.issue_jwt_id(SpiffeId.parse("spiffe://example.org/pylis/server"), ["db"], timedelta(1))


def test_an_agents_name_is_one_segment() -> None:
    with pytest.raises(SpiffeIdError):
        an_authority(Clock()).issue_agent("a/b", a_csr())


def test_a_bad_request_gets_nothing() -> None:
    with pytest.raises(CsrError):
        an_authority(Clock()).issue(REGISTRATION, b"")


def test_the_root_survives_a_restart(tmp_path: Path) -> None:
    keystore, clock = FileKeystore(tmp_path / "ca"), Clock()
    first, second = an_authority(clock, keystore), an_authority(clock, keystore)
    assert first.bundle == second.bundle
    assert first.issue(REGISTRATION, a_csr()).chain[1] == second.issue(REGISTRATION, a_csr()).chain[1]


def test_the_issuing_authority_is_replaced_at_half_of_its_life() -> None:
    clock, keystore = Clock(), MemoryKeystore()
    authority = an_authority(clock, keystore)
    old = authority.issue(REGISTRATION, a_csr())
    clock.now = START + timedelta(hours=11)
    assert not authority.refresh()
    clock.now = START + timedelta(hours=12)
    assert authority.refresh()
    new = authority.issue(REGISTRATION, a_csr())
    assert old.chain[1] != new.chain[1]
    assert svid_problems(certificates(new), authority.bundle, clock.now) == []
    assert svid_problems(certificates(old), authority.bundle, START + timedelta(minutes=30)) == []
    assert an_authority(clock, keystore).issue(REGISTRATION, a_csr()).chain[1] == new.chain[1]


def test_no_leaf_outlives_its_issuing_authority() -> None:
    authority = an_authority(Clock())
    long = Registration(
        "a/b", REGISTRATION.spiffe_id, frozenset({"x:y"}), frozenset({"*"}), timedelta(days=30)
    )
    svid = authority.issue(long, a_csr())
    assert svid.not_after == certificates(svid)[1].not_valid_after_utc


def test_an_authority_that_slept_through_its_life_is_replaced_at_start() -> None:
    keystore, clock = MemoryKeystore(), Clock()
    an_authority(clock, keystore)
    clock.now = START + timedelta(days=3)
    authority = an_authority(clock, keystore)
    assert (
        svid_problems(certificates(authority.issue(REGISTRATION, a_csr())), authority.bundle, clock.now) == []
    )


async def test_run_ends_when_it_is_cancelled() -> None:
    task = asyncio.create_task(an_authority(Clock()).run())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


@pytest.mark.parametrize("damage", [b"", b"nonsense"])
def test_a_damaged_keystore_is_told_and_not_overwritten(damage: bytes) -> None:
    keystore = MemoryKeystore()
    an_authority(Clock(), keystore)
    keystore.store("root.pem", damage)
    with pytest.raises(KeystoreError, match="backup"):
        an_authority(Clock(), keystore)
    assert keystore.load("root.pem") == damage


def test_a_key_of_another_certificate_is_told() -> None:
    keystore, other = MemoryKeystore(), MemoryKeystore()
    an_authority(Clock(), keystore)
    an_authority(Clock(), other)
    mine, theirs = keystore.load("root.pem") or b"", other.load("root.pem") or b""
    marker = b"-----BEGIN CERTIFICATE"
    keystore.store("root.pem", mine[: mine.index(marker)] + theirs[theirs.index(marker) :])
    with pytest.raises(KeystoreError, match="does not belong"):
        an_authority(Clock(), keystore)


@pytest.mark.parametrize(
    ("identity", "dns_name"),
    [
        ("spiffe://example.org/pylis/agent/one", "a.shop"),
        ("spiffe://other.org/a", "a.shop"),
        ("spiffe://example.org", "a.shop"),
        ("spiffe://example.org/a", SERVER_DNS_NAME),
        ("spiffe://example.org/a", "localhost"),
        ("spiffe://example.org/a", "A b"),
    ],
)
def test_no_registration_gets_a_name_it_may_not_have(identity: str, dns_name: str) -> None:
    wanted = Registration(
        "a/b", SpiffeId.parse(identity), frozenset({"x:y"}), frozenset({"*"}), dns_names=(dns_name,)
    )
    with pytest.raises(RegistrationError):
        an_authority(Clock()).issue(wanted, a_csr())


def test_a_keystore_of_another_trust_domain_is_told() -> None:
    keystore = MemoryKeystore()
    an_authority(Clock(), keystore)
    with pytest.raises(KeystoreError, match=r"example\.org, not of other\.org"):
        CertificateAuthority.open(TrustDomain.parse("other.org"), keystore, clock=Clock())


def test_an_authority_out_of_its_time_signs_nothing() -> None:
    clock = Clock()
    authority = an_authority(clock)
    clock.now = START + timedelta(hours=30)
    with pytest.raises(AuthorityError, match="clock"):
        authority.issue(REGISTRATION, a_csr())
