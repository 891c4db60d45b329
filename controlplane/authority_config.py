"""How the control plane's authority is kept and who signs it: the settings, and opening it by them.

keystore    file (in the data directory), memory, or a PKCS#11 token
upstream    none: an own root; PEM files; another Pylis
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ca.authority_maker import CaSettings
from ca.errors import AuthorityError, KeystoreError
from ca.keys import KeyType
from ca.keystore import FileKeystore, Keystore, MemoryKeystore
from ca.profile import ROOT_TTL
from ca.service import CertificateAuthority, utc_now
from ca.spiffe_id import TrustDomain
from ca.upstream import PemUpstream, Upstream
from controlplane.nested import NestedUpstream


@dataclass(frozen=True, slots=True)
class PemFiles:
    """`chain`: the signing certificate first; `roots` None: the last of the chain is the root."""

    chain: Path
    key: Path
    roots: Path | None = None


@dataclass(frozen=True, slots=True)
class NestedBelow:
    """`server` is an https URL; `ca_file` vouches for it."""

    server: str
    token_file: Path
    ca_file: Path


@dataclass(frozen=True, slots=True)
class AuthorityConfig:
    """`keystore`: "file", "memory" or a pkcs11 URI; `passphrase_file` for files only."""

    keystore: str = "file"
    passphrase_file: Path | None = None
    key_type: KeyType = KeyType.EC_P256
    root_ttl: timedelta = ROOT_TTL
    upstream: PemFiles | NestedBelow | None = None

    def open(
        self, trust_domain: TrustDomain, data_dir: Path, shared: Keystore | None = None
    ) -> CertificateAuthority:
        """`shared` takes the place of files where several servers use one store. Raises: KeystoreError; AuthorityError."""
        settings = CaSettings(self.key_type, self.root_ttl)
        keystore = self._keystore(data_dir / "ca" / trust_domain.name)
        if shared is not None and self.keystore == "file":
            keystore = shared
        return CertificateAuthority.open(
            trust_domain, keystore, settings=settings, upstream=self._upstream(trust_domain)
        )

    def _keystore(self, directory: Path) -> Keystore:
        match self.keystore:
            case "memory":
                return MemoryKeystore()
            case "file":
                return FileKeystore(directory, _passphrase(self.passphrase_file))
            case uri:
                from ca.pkcs11_store import Pkcs11Keystore, TokenUri

                return Pkcs11Keystore(TokenUri.parse(uri), directory)

    def _upstream(self, trust_domain: TrustDomain) -> Upstream | None:
        match self.upstream:
            case None:
                return None
            case PemFiles(chain, key, roots):
                data = _read(chain), _read(key), _read(roots) if roots else b""
                return PemUpstream.read(trust_domain, *data, utc_now)
            case NestedBelow(server, token_file, ca_file):
                return NestedUpstream(trust_domain, server, token_file, ca_file)


def _passphrase(file: Path | None) -> bytes:
    if file is None:
        return b""
    try:
        found = file.read_bytes().strip()
    except OSError as error:
        raise KeystoreError(f"cannot read the passphrase in {file}: {error.strerror}") from error
    if not found:
        raise KeystoreError(f"{file} holds no passphrase")
    return found


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise AuthorityError(f"cannot read {file}: {error.strerror}") from error
