"""How agents may attest besides join tokens, as the operator writes it (`pylis server --node-attestation FILE`).

x509pop:
  roots: device-ca.pem            # PEM file, relative to this one
oidc:
- issuer: https://token.actions.githubusercontent.com
  audience: pylis                 # what the token has to be for
  require: {repository: [acme/shop, acme/infra-*]}
  claims: [repository, ref]       # become selectors oidc:claim:repository:acme/shop
  name: [sub, run_id]             # tokens alike in these are the same agent; default [sub]
  ca: issuer-ca.pem               # only for an issuer with a private certificate authority
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from ca.attest.oidc import Provider
from controlplane import settings_file
from controlplane.settings_file import ISSUER_FIELDS, SettingsError, object_of, only, string, strings, text

_FIELDS: Final = {*ISSUER_FIELDS, "claims", "name"}


@dataclass(frozen=True, slots=True)
class TrustedProvider:
    """`ca_pem` "" for issuers whose certificate a public authority signed."""

    provider: Provider
    ca_pem: str = ""


@dataclass(frozen=True, slots=True)
class AttestationSettings:
    """Nothing in it: join tokens only."""

    x509pop_roots: tuple[x509.Certificate, ...] = ()
    providers: tuple[TrustedProvider, ...] = ()


def load(path: Path) -> AttestationSettings:
    """Raises: SettingsError."""
    top = settings_file.load(path)
    only(top, {"x509pop", "oidc"}, f"{path}")
    roots: tuple[x509.Certificate, ...] = ()
    if "x509pop" in top:
        section = object_of(top["x509pop"], "x509pop")
        only(section, {"roots"}, "x509pop")
        roots = _roots(path.parent / string(section, "roots", "x509pop"))
    entries: Any = top.get("oidc", [])
    if not isinstance(entries, list):
        raise SettingsError("oidc is no list")
    providers = tuple(_provider(entry, f"oidc[{i}]", path.parent) for i, entry in enumerate(entries))  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType] - checked inside
    issuers = [one.provider.issuer for one in providers]
    if len(set(issuers)) != len(issuers):
        raise SettingsError("oidc names an issuer twice")
    return AttestationSettings(roots, providers)


def _provider(entry: Any, where: str, folder: Path) -> TrustedProvider:
    fields = object_of(entry, where)
    only(fields, _FIELDS, where)
    trusted = settings_file.issuer_of(fields, where, folder)
    return TrustedProvider(
        Provider(
            trusted.issuer,
            trusted.audience,
            strings(fields.get("claims", []), f"{where}.claims"),
            trusted.require,
            strings(fields.get("name", ["sub"]), f"{where}.name"),
        ),
        trusted.ca_pem,
    )


def _roots(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(text(path).encode()))
    except ValueError as error:
        raise SettingsError(f"{path} holds no PEM certificates") from error
