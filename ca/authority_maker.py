"""New authorities: keys in the keystore, and what is signed over them. Nothing signs before it is in the journal.

An X.509 authority is a root of our own with an issuing authority under it, or an issuing authority below somebody
else's root; a JWT authority is a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import check, keys, profile, sign
from ca.authorities import Authority
from ca.bundle import REFRESH_HINT, jwt_key
from ca.errors import AuthorityError
from ca.journal import Kept
from ca.keys import KeyType
from ca.keystore import Keystore
from ca.material import Material, jwt_signer
from ca.rotation import Family, Lifetime, Status
from ca.sign import Signer
from ca.spiffe_id import TrustDomain
from ca.upstream import Upstream, sign_issuing


@dataclass(frozen=True, slots=True)
class CaSettings:
    key_type: KeyType = KeyType.EC_P256
    root_ttl: timedelta = profile.ROOT_TTL
    jwt_key_ttl: timedelta = timedelta(days=7)
    refresh_hint: int = REFRESH_HINT


@dataclass(frozen=True, slots=True)
class AuthorityMaker:
    """Each method makes one that is prepared: it is in no bundle yet. They raise KeystoreError."""

    trust_domain: TrustDomain
    keystore: Keystore
    clock: Callable[[], datetime]
    new_serial: Callable[[], int]
    settings: CaSettings

    def own_root(self) -> tuple[Authority, Material]:
        """A root of our own, and an issuing authority under it."""
        name = f"root-{self.new_serial():x}"
        key = self.keystore.create_key(name, self.settings.key_type)
        now = self.clock().replace(microsecond=0)
        wanted = profile.Authority(
            self.trust_domain,
            f"{self.trust_domain} root",
            key.public_key(),
            now - profile.AUTHORITY_BACKDATE,
            now + self.settings.root_ttl,
            self.new_serial(),
            1,
        )
        root = Signer(sign.self_signed(wanted, key), key)
        return _record(root.certificate, (root.certificate,)), self.under(name, root)

    def under(self, key_name: str, root: Signer) -> Material:
        """A new issuing authority under our own root."""
        name = f"issuing-{self.new_serial():x}"
        key = self.keystore.create_key(name, self.settings.key_type)
        ttl = min(profile.ISSUING_TTL, self.settings.root_ttl)
        certificate = sign_issuing(self.trust_domain, keys.csr_for(key), root, self.clock(), ttl)
        kept = Kept(key_name, name, (certificate.public_bytes(Encoding.DER),))
        return Material(kept, root, Signer(certificate, key, (certificate,)))

    def below(self, upstream: Upstream, known: tuple[bytes, ...]) -> tuple[Authority, Material]:
        """An issuing authority that somebody else's signed; `known`: the roots of now. May block.

        Raises: AuthorityError when what it signed is no use.
        """
        name = f"issuing-{self.new_serial():x}"
        key = self.keystore.create_key(name, self.settings.key_type)
        issued = upstream.sign(keys.csr_for(key), profile.ISSUING_TTL, known)
        issuing = issued.chain[0]
        if issuing.public_key() != key.public_key():
            raise AuthorityError("the upstream authority answered with a certificate for another key")
        if problems := check.authority_problems(issuing):
            raise AuthorityError("the upstream authority's certificate cannot sign: " + "; ".join(problems))
        ders = tuple(one.public_bytes(Encoding.DER) for one in issued.chain)
        roots = tuple(x509.load_der_x509_certificate(der) for der in issued.roots)
        material = Material(Kept("", name, ders), None, Signer(issuing, key, issued.chain))
        return _record(issuing, roots), material

    def jwt(self) -> tuple[Authority, Material]:
        """A key for JWT-SVIDs."""
        name = f"jwt-{self.new_serial():x}"
        key = self.keystore.create_key(name, self.settings.key_type)
        kid = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
        now = self.clock().replace(microsecond=0)
        life = Lifetime(now - profile.AUTHORITY_BACKDATE, now + self.settings.jwt_key_ttl)
        spki = jwt_key(kid, key.public_key()).spki
        authority = Authority(kid, Family.JWT, Status.PREPARED, life, (spki,), 0)
        return authority, Material(Kept(name), jwt=jwt_signer(authority, key))


def _record(certificate: x509.Certificate, roots: Sequence[x509.Certificate]) -> Authority:
    life = Lifetime(certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    ders = tuple(one.public_bytes(Encoding.DER) for one in roots)
    return Authority(_key_id(certificate), Family.X509, Status.PREPARED, life, ders, 0)


def _key_id(certificate: x509.Certificate) -> str:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
