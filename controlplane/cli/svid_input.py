"""The files that `pylis svid` reads: an SVID (X.509 in PEM, or a JWT), and the bundle to judge it by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cryptography import x509

from ca import bundle as bundles
from ca.bundle import TrustBundle
from ca.check import UNREADABLE
from ca.errors import BundleError
from ca.spiffe_id import TrustDomain
from controlplane.cli.minting import authority_domain
from controlplane.cli.output import Failure

MAX_FILE = 1024 * 1024
Chain = list[x509.Certificate]


def read_svid(file: Path) -> Chain | str:
    """A chain (leaf first) where the file has PEM, else a token: text of one line.

    Raises: Failure for a file that is neither.
    """
    data = _read(file)
    if b"-----BEGIN" in data:
        try:
            return x509.load_pem_x509_certificates(data)
        except UNREADABLE as error:
            text = f"{file} holds no readable PEM certificates"
            raise Failure(text, hint="give the svid.pem of svid mint") from error
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(text.splitlines()) > 1:
        raise Failure(f"{file} holds neither PEM certificates nor a JWT", hint="give svid.pem or svid.jwt")
    return text


def read_bundle(file: Path, own: TrustDomain | None) -> TrustBundle:
    """A bundle file names no trust domain: its certificates do, or, when they do not, it is the SVID's `own`.

    Authorities of other trust domains than the SVID's are left out, so that they never vouch for it.
    """
    data = _read(file)
    try:
        unnamed = TrustDomain("unnamed")
        is_json = data.lstrip().startswith(b"{")
        found = bundles.from_spiffe(unnamed, data) if is_json else bundles.from_pem(unnamed, data)
        domains = [authority_domain(one) for one in found.certificates]
    except (BundleError, *UNREADABLE) as error:
        hint = "give PEM or a SPIFFE bundle document"
        raise Failure(f"{file} is no trust bundle: {error}", hint=hint) from error
    others = [domain for domain in domains if domain not in (None, own)]
    pairs = zip(found.x509_authorities, domains, strict=True)
    mine = tuple(der for der, domain in pairs if domain in (None, own))
    if others and not mine:
        return replace(found, trust_domain=others[0] or unnamed)
    return replace(found, trust_domain=own or unnamed, x509_authorities=mine)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}", hint="check the path") from error
    if len(data) > MAX_FILE:
        raise Failure(f"{file} is larger than {MAX_FILE} bytes", hint="is it the right file?")
    return data
