"""OpenSSL's view of everything we sign: chains hold under its strict rules, and each profile is the one SPIFFE asks for.

Key types × who is above × what is signed. Source: X509-SVID §2 to §4, Appendix A
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import csr, keys, profile, sign
from ca.authority_maker import CaSettings
from ca.bundle import JwtKey
from ca.issue import X509Svid
from ca.keys import KeyType
from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority, utc_now
from ca.sign import Signer
from ca.spiffe_id import SpiffeId, TrustDomain
from ca.upstream import Above, Issued, PemUpstream, Upstream

OPENSSL = shutil.which("openssl")
DOMAIN = TrustDomain.parse("example.org")
ID = SpiffeId.parse("spiffe://example.org/ns/shop/sa/orders")
ABOVE = ("own root", "PEM files", "another Pylis")
# what is signed → its URI, and whether it has other names
LEAVES = {
    "workload": (str(ID), ""),
    "workload with a DNS name": (str(ID), "DNS:orders.shop"),
    "agent": ("spiffe://example.org/pylis/agent/web-1", ""),
    "server": (
        "spiffe://example.org/pylis/server",
        "DNS:api.example.org, DNS:localhost, DNS:server.pylis.internal, IP Address:127.0.0.1",
    ),
}
# an authority's name in the text OpenSSL prints
ALGORITHM = {
    KeyType.EC_P256: ("ecdsa-with-SHA256", "ASN1 OID: prime256v1"),
    KeyType.EC_P384: ("ecdsa-with-SHA384", "ASN1 OID: secp384r1"),
    KeyType.RSA_2048: ("sha256WithRSAEncryption", "Public-Key: (2048 bit)"),
}
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="no openssl on PATH: its view was not asked")


def openssl(*arguments: str) -> str:
    done = subprocess.run([str(OPENSSL), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


class Below:
    """Another Pylis above this one, without the network between."""

    def __init__(self, above: CertificateAuthority) -> None:
        self._above = above

    def sign(self, csr_der: bytes, ttl: timedelta, known: tuple[bytes, ...]) -> Issued:
        issuing = x509.load_der_x509_certificate(self._above.issue_nested(csr_der, ttl))
        return Issued((issuing,), self._above.bundle.x509_authorities)

    def publish(self, jwt_keys: tuple[JwtKey, ...], known: tuple[bytes, ...]) -> Above | None:
        return Above(self._above.bundle)


def pem_upstream(kind: KeyType) -> PemUpstream:
    """A corporate root, and an intermediate that signs issuing authorities."""
    now = utc_now().replace(microsecond=0)

    def wanted(name: str, key: keys.PrivateKey, length: int) -> profile.Authority:
        end = now + timedelta(days=30)
        return profile.Authority(DOMAIN, name, key.public_key(), now, end, keys.new_serial(), length)

    root_key, key = keys.new_key_of(kind), keys.new_key_of(kind)
    root = sign.self_signed(wanted("corporate root", root_key, 2), root_key)
    middle = sign.authority(wanted("corporate issuing", key, 1), Signer(root, root_key))
    chain, roots = (one.public_bytes(Encoding.PEM) for one in (middle, root))
    return PemUpstream.read(DOMAIN, chain, keys.key_pem(key), roots, utc_now)


@dataclass(frozen=True)
class Files:
    """PEM: the leaf, the authorities between it and the root, the roots."""

    leaf: Path
    between: Path
    roots: Path

    @property
    def authorities(self) -> Iterator[Path]:
        """Each in a file of its own."""
        for path in (self.between, self.roots):
            for n, one in enumerate(x509.load_pem_x509_certificates(path.read_bytes())):
                file = path.with_suffix(f".{n}.pem")
                file.write_bytes(one.public_bytes(Encoding.PEM))
                yield file


@dataclass(frozen=True)
class Signed:
    """Everything one authority signs."""

    kind: KeyType
    directory: Path
    authority: CertificateAuthority

    def files(self, what: str) -> Files:
        svid = self._issue(what)
        place = Path(self.directory, what.replace(" ", "-"))
        place.mkdir(exist_ok=True)
        leaf, *between = (
            x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in svid.chain
        )
        found = Files(place / "leaf.pem", place / "between.pem", place / "roots.pem")
        found.leaf.write_bytes(leaf)
        found.between.write_bytes(b"".join(between))
        found.roots.write_text(self.authority.bundle.to_pem())
        return found

    def _issue(self, what: str) -> X509Svid:
        request = keys.csr_for(keys.new_key_of(self.kind))
        match what:
            case "agent":
                return self.authority.issue_agent("web-1", csr.prove(request))
            case "server":
                return self.authority.issue_server(request, ["api.example.org"], [])
            case _:
                dns = ("orders.shop",) if "DNS" in what else ()
                return self.authority.issue_id(ID, request, timedelta(minutes=30), dns)


@pytest.fixture(scope="module", params=[(kind, above) for kind in KeyType for above in ABOVE], ids=str)
def signed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    kind, above = request.param
    settings = CaSettings(key_type=kind)
    upstream: Upstream | None = None
    match above:
        case "PEM files":
            upstream = pem_upstream(kind)
        case "another Pylis":
            upstream = Below(CertificateAuthority.open(DOMAIN, MemoryKeystore(), settings=settings))
        case _:
            pass
    authority = CertificateAuthority.open(DOMAIN, MemoryKeystore(), settings=settings, upstream=upstream)
    return Signed(kind, tmp_path_factory.mktemp("signed"), authority)


def extensions(certificate: Path) -> dict[str, str]:
    """What OpenSSL prints below each heading of its extensions."""
    text = openssl("x509", "-noout", "-text", "-in", str(certificate))
    lines = [line.strip() for line in text.splitlines()]
    return {line: lines[index + 1] for index, line in enumerate(lines[:-1])}


@pytest.mark.parametrize("what", LEAVES)
def test_the_chain_holds_for_client_and_server(signed: Signed, what: str) -> None:
    files = signed.files(what)
    for purpose in ("sslclient", "sslserver"):
        said = openssl(
            "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(files.roots), "-untrusted",
            str(files.between), str(files.leaf),
        )  # fmt: skip
        assert said.strip().endswith("OK")


@pytest.mark.parametrize("what", LEAVES)
def test_a_leaf_is_what_spiffe_asks_for(signed: Signed, what: str) -> None:
    uri, other_names = LEAVES[what]
    follows = extensions(signed.files(what).leaf)
    assert "Subject:" in follows  # an empty one, so the names are critical
    names = follows["X509v3 Subject Alternative Name: critical"]
    assert names == ", ".join(filter(None, (f"URI:{uri}", other_names)))
    assert follows["X509v3 Key Usage: critical"] == "Digital Signature"
    assert follows["X509v3 Basic Constraints: critical"] == "CA:FALSE"
    assert set(follows["X509v3 Extended Key Usage:"].split(", ")) == {
        "TLS Web Server Authentication", "TLS Web Client Authentication",
    }  # fmt: skip
    assert "X509v3 Authority Key Identifier:" in follows


def test_authorities_are_what_spiffe_asks_for(signed: Signed) -> None:
    files = list(signed.files("workload").authorities)
    assert len(files) >= 2
    lengths: list[int] = []
    for file in files:
        follows = extensions(file)
        # exactly the trust domain's ID, without a path
        assert follows["X509v3 Subject Alternative Name:"] == "URI:spiffe://example.org"
        assert follows["X509v3 Key Usage: critical"] == "Certificate Sign, CRL Sign"
        limits = follows["X509v3 Basic Constraints: critical"]
        assert limits.startswith("CA:TRUE, pathlen:")
        lengths.append(int(limits.rpartition(":")[2]))
        assert "X509v3 Subject Key Identifier:" in follows
        assert "X509v3 Extended Key Usage:" not in follows
    assert lengths == list(range(len(files)))  # the issuing authority signs leaves only


def test_every_signature_is_as_strong_as_the_keys(signed: Signed) -> None:
    algorithm, key = ALGORITHM[signed.kind]
    files = signed.files("workload")
    for file in (files.leaf, *files.authorities):
        lines = {line.strip() for line in openssl("x509", "-noout", "-text", "-in", str(file)).splitlines()}
        assert f"Signature Algorithm: {algorithm}" in lines
        assert key in lines


def test_what_the_command_mints_belongs_together(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "controlplane.cli", "svid", "mint", "--spiffe-id", str(ID), "--out", "svid",
    ]  # fmt: skip
    subprocess.run([*command, "--state-dir", "state"], cwd=tmp_path, check=True, capture_output=True)
    svid, key, bundle = (str(tmp_path / "svid" / name) for name in ("svid.pem", "key.pem", "bundle.pem"))
    assert (
        openssl("verify", "-x509_strict", "-CAfile", bundle, "-untrusted", svid, svid).strip().endswith("OK")
    )
    of_leaf = openssl("x509", "-noout", "-pubkey", "-in", svid)
    assert openssl("pkey", "-pubout", "-in", key) == of_leaf
