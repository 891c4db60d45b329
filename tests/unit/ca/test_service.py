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
from ca.authority_maker import CaSettings
from ca.csr import prove
from ca.errors import (
    AuthorityError,
    CsrError,
    KeystoreError,
    NotAcknowledgedError,
    RegistrationError,
    SpiffeIdError,
)
from ca.issue import X509Svid
from ca.keys import KeyType
from ca.keystore import FileKeystore, Keystore, MemoryKeystore
from ca.registrations import Registration
from ca.rotation import Family, Status
from ca.service import SERVER_DNS_NAME, XDS_DNS_NAME, CertificateAuthority
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
        authority.issue_agent("one", prove(a_csr())),
        authority.issue_server(a_csr(), ["mesh.internal"], ["10.0.0.1"]),
    ):
        assert svid_problems(certificates(svid), authority.bundle, START) == []
        assert len(svid.chain) == 2


def openssl_says(authority: CertificateAuthority, directory: Path) -> tuple[int, str]:
    (directory / "svid.pem").write_text(authority.issue(REGISTRATION, a_csr()).chain_pem)
    (directory / "bundle.pem").write_text(authority.bundle.to_pem())
    options = ["-x509_strict", "-CAfile", "bundle.pem", "-untrusted", "svid.pem"]
    command = ["openssl", "verify", *options, "svid.pem"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.spiffe("F-17", "F-30")
def test_names_come_from_who_asks() -> None:
    authority = an_authority(Clock())
    assert names(authority.issue(REGISTRATION, a_csr())) == [str(REGISTRATION.spiffe_id), "orders.shop"]
    assert names(authority.issue_agent("one", prove(a_csr()))) == ["spiffe://example.org/pylis/agent/one"]
    assert names(authority.issue_server(a_csr(), ["mesh"], ["10.0.0.1"])) == [
        "spiffe://example.org/pylis/server", "mesh", "localhost", SERVER_DNS_NAME, "10.0.0.1", "127.0.0.1"
    ]  # fmt: skip
    assert names(authority.issue_xds(a_csr())) == ["spiffe://example.org/pylis/xds", XDS_DNS_NAME]


def test_a_jwt_svid_is_valid_under_its_bundle_and_of_a_registered_name() -> None:
    authority = an_authority(Clock())
    svid = authority.issue_jwt(REGISTRATION, ["db"])
    assert jwt_svid.svid_problems(svid.token, authority.bundle, ["db"], START) == []
    assert svid.expires == START + REGISTRATION.jwt_ttl
    with pytest.raises(RegistrationError):
        authority.issue_jwt_id(SpiffeId.parse("spiffe://example.org/pylis/server"), ["db"], timedelta(1))


def test_an_agents_name_is_one_segment() -> None:
    with pytest.raises(SpiffeIdError):
        an_authority(Clock()).issue_agent("a/b", prove(a_csr()))


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


def test_authorities_that_slept_through_their_lives_are_replaced_at_start() -> None:
    keystore, clock = MemoryKeystore(), Clock()
    first = an_authority(clock, keystore)
    clock.now = START + timedelta(days=3)
    assert an_authority(clock, keystore).bundle.x509_authorities == first.bundle.x509_authorities
    clock.now = START + timedelta(days=4000)
    authority = an_authority(clock, keystore)
    assert (
        svid_problems(certificates(authority.issue(REGISTRATION, a_csr())), authority.bundle, clock.now) == []
    )
    assert not set(authority.bundle.x509_authorities) & set(first.bundle.x509_authorities)
    assert (
        jwt_svid.svid_problems(
            authority.issue_jwt(REGISTRATION, ["db"]).token, authority.bundle, ["db"], clock.now
        )
        == []
    )


def test_a_clock_before_the_roots_time_is_told() -> None:
    keystore, clock = MemoryKeystore(), Clock()
    an_authority(clock, keystore)
    clock.now = START - timedelta(days=1)
    with pytest.raises(AuthorityError, match="clock"):
        an_authority(clock, keystore)


async def test_run_ends_when_it_is_cancelled() -> None:
    task = asyncio.create_task(an_authority(Clock()).run())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


def a_rotated(authority: CertificateAuthority, family: Family = Family.X509) -> tuple[str, str]:
    """(old, new), by command."""
    old = authority.authorities.one(family, Status.ACTIVE)
    new = asyncio.run(authority.prepare(family))
    authority.activate(new.id)
    assert old is not None
    return old.id, new.id


@pytest.mark.spiffe("F-01", "F-02", "F-03", "B-04", "B-05")
def test_a_new_root_is_known_before_it_signs_and_an_old_one_as_long_as_it_is_needed() -> None:
    clock = Clock()
    authority = an_authority(clock)
    before, first = authority.bundle, authority.issue(REGISTRATION, a_csr())
    new = asyncio.run(authority.prepare(Family.X509))
    known = authority.bundle
    assert known.sequence == before.sequence + 1
    assert set(before.x509_authorities) < set(known.x509_authorities)
    assert authority.issue(REGISTRATION, a_csr()).chain[1] == first.chain[1]
    authority.activate(new.id)
    second = authority.issue(REGISTRATION, a_csr())
    assert authority.bundle == known
    assert (
        svid_problems(certificates(first), known, START)
        == svid_problems(certificates(second), known, START)
        == []
    )
    assert svid_problems(certificates(second), before, START) != []
    clock.now = START + timedelta(hours=25)
    assert authority.refresh()
    assert not set(before.x509_authorities) & set(authority.bundle.x509_authorities)
    assert authority.bundle.sequence == known.sequence + 1


@pytest.mark.spiffe("F-02", "J-17")
def test_jwt_authorities_rotate_apart_from_x509() -> None:
    authority = an_authority(Clock())
    old = authority.issue_jwt(REGISTRATION, ["db"])
    roots = authority.bundle.x509_authorities
    old_id, new_id = a_rotated(authority, Family.JWT)
    new = authority.issue_jwt(REGISTRATION, ["db"])
    assert (old.kid, new.kid) == (old_id, new_id)
    for svid in (old, new):
        assert jwt_svid.svid_problems(svid.token, authority.bundle, ["db"], START) == []
    authority.taint(old_id)
    assert authority.tainted == (old_id,)
    authority.revoke(old_id)
    assert "no key of the bundle" in jwt_svid.svid_problems(old.token, authority.bundle, ["db"], START)[0]
    assert authority.bundle.x509_authorities == roots


def test_what_a_revoked_authority_signed_is_believed_no_more_and_its_key_is_gone(tmp_path: Path) -> None:
    keystore = FileKeystore(tmp_path / "ca")
    authority = an_authority(Clock(), keystore)
    stolen = authority.issue(REGISTRATION, a_csr())
    sequence, files = authority.bundle.sequence, {p.name for p in (tmp_path / "ca").iterdir()}
    old_id, new_id = a_rotated(authority)
    authority.taint(old_id)
    assert authority.bundle.sequence == sequence + 2
    assert svid_problems(certificates(stolen), authority.bundle, START) == []
    authority.revoke(old_id)
    assert svid_problems(certificates(stolen), authority.bundle, START) != []
    again = an_authority(Clock(), keystore)
    assert again.bundle == authority.bundle
    assert [a.id for a in again.authorities.of(Family.X509, Status.ACTIVE)] == [new_id]
    left = {p.name for p in (tmp_path / "ca").iterdir()}
    assert not {name for name in files & left if name.startswith(("root", "issuing"))}


def test_a_root_is_not_used_before_every_agent_knows_it() -> None:
    authority, missing = an_authority(Clock()), ["web-1"]
    authority.unacknowledged = lambda sequence: missing if sequence > 1 else []
    new = asyncio.run(authority.prepare(Family.X509))
    with pytest.raises(NotAcknowledgedError, match="web-1"):
        authority.activate(new.id)
    missing.clear()
    authority.activate(new.id)
    missing.append("web-2")
    (old,) = authority.authorities.of(Family.X509, Status.OLD)
    authority.taint(old.id)
    with pytest.raises(NotAcknowledgedError, match="web-2"):
        authority.revoke(old.id)
    authority.revoke(old.id, force=True)


def test_authorities_rotate_by_themselves_and_wait_for_agents_as_long_as_they_can() -> None:
    clock, missing = Clock(), ["web-1"]
    authority = an_authority(clock)
    authority.unacknowledged = lambda _: missing
    (first,) = authority.authorities.of(Family.JWT)
    clock.now = first.lifetime.prepare_at
    assert authority.refresh()
    assert len(authority.authorities.of(Family.JWT, Status.PREPARED)) == 1
    assert not authority.refresh()
    clock.now = first.lifetime.activate_at
    authority.refresh()
    assert [a.id for a in authority.authorities.of(Family.JWT, Status.ACTIVE)] == [first.id]
    missing.clear()
    authority.refresh()
    assert [a.id for a in authority.authorities.of(Family.JWT, Status.OLD)] == [first.id]
    (second,) = authority.authorities.of(Family.JWT, Status.ACTIVE)
    missing.append("web-1")
    clock.now = second.lifetime.insist_at
    authority.refresh()
    authority.refresh()
    assert [a.id for a in authority.authorities.of(Family.JWT, Status.ACTIVE)] != [second.id]


def test_watchers_hear_of_each_change() -> None:
    authority, heard = an_authority(Clock()), list[int]()
    authority.watch(lambda: heard.append(authority.bundle.sequence))
    old_id, _ = a_rotated(authority)
    authority.taint(old_id)
    authority.revoke(old_id)
    assert heard == [3, 3, 4, 5]


@pytest.mark.parametrize("kind", KeyType)
def test_every_kind_of_key_signs(kind: KeyType, tmp_path: Path) -> None:
    authority = CertificateAuthority.open(TD, MemoryKeystore(), settings=CaSettings(kind))
    assert openssl_says(authority, tmp_path) == (0, "svid.pem: OK\n")
    token = authority.issue_jwt(REGISTRATION, ["db"]).token
    assert jwt_svid.svid_problems(token, authority.bundle, ["db"], datetime.now(UTC)) == []


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"{}", b'{"version": 2}'])
def test_a_damaged_journal_is_told_and_not_overwritten(damage: bytes) -> None:
    keystore = MemoryKeystore()
    an_authority(Clock(), keystore)
    keystore.store("authorities.json", damage)
    with pytest.raises(KeystoreError, match=r"backup|version"):
        an_authority(Clock(), keystore)
    assert keystore.load("authorities.json") == damage


def test_a_key_that_is_missing_or_another_is_told(tmp_path: Path) -> None:
    an_authority(Clock(), FileKeystore(tmp_path / "ca"))
    for path in sorted((tmp_path / "ca").glob("*.key.pem")):
        good = path.read_bytes()
        path.unlink()
        with pytest.raises(KeystoreError, match="missing"):
            an_authority(Clock(), FileKeystore(tmp_path / "ca"))
        FileKeystore(tmp_path / "ca").create_key(path.name.partition(".")[0], KeyType.EC_P256)
        with pytest.raises(KeystoreError, match=r"does not belong|another"):
            an_authority(Clock(), FileKeystore(tmp_path / "ca"))
        path.write_bytes(good)
    an_authority(Clock(), FileKeystore(tmp_path / "ca"))


def test_a_keystore_of_an_older_pylis_is_told() -> None:
    keystore = MemoryKeystore()
    keystore.store("root.pem", b"x")
    with pytest.raises(KeystoreError, match="older"):
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
