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
from urllib.parse import urlsplit

import yaml
from cryptography import x509

from ca.attest.oidc import Provider

_FIELDS: Final = {"issuer", "audience", "require", "claims", "name", "ca"}


class SettingsError(Exception):
    """The file cannot be used; the text says where and why."""


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
    try:
        document: Any = yaml.safe_load(_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{path} is no YAML: {error}") from error
    top = _object(document, f"{path}")
    _only(top, {"x509pop", "oidc"}, f"{path}")
    roots: tuple[x509.Certificate, ...] = ()
    if "x509pop" in top:
        section = _object(top["x509pop"], "x509pop")
        _only(section, {"roots"}, "x509pop")
        roots = _roots(path.parent / _string(section, "roots", "x509pop"))
    entries: Any = top.get("oidc", [])
    if not isinstance(entries, list):
        raise SettingsError("oidc is no list")
    providers = tuple(_provider(entry, f"oidc[{i}]", path.parent) for i, entry in enumerate(entries))  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType] - checked inside
    issuers = [one.provider.issuer for one in providers]
    if len(set(issuers)) != len(issuers):
        raise SettingsError("oidc names an issuer twice")
    return AttestationSettings(roots, providers)


def _provider(entry: Any, where: str, folder: Path) -> TrustedProvider:
    fields = _object(entry, where)
    _only(fields, _FIELDS, where)
    issuer = _string(fields, "issuer", where)
    parts = urlsplit(issuer)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise SettingsError(f"{where}.issuer is no https URL: its keys could be anybody's")
    require = _object(fields.get("require", {}), f"{where}.require")
    return TrustedProvider(
        Provider(
            issuer,
            _string(fields, "audience", where),
            _strings(fields.get("claims", []), f"{where}.claims"),
            tuple(
                (name, _strings(patterns, f"{where}.require.{name}")) for name, patterns in require.items()
            ),
            _strings(fields.get("name", ["sub"]), f"{where}.name"),
        ),
        _text(folder / _string(fields, "ca", where)) if "ca" in fields else "",
    )


def _roots(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(_text(path).encode()))
    except ValueError as error:
        raise SettingsError(f"{path} holds no PEM certificates") from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):  # pyright: ignore[reportUnknownVariableType] - that is what is checked
        raise SettingsError(f"{where} is no object")
    return value  # pyright: ignore[reportUnknownVariableType] - narrowed above


def _only(fields: dict[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(fields) - known):
        raise SettingsError(f"{where} has no {', '.join(unknown)}; known: {', '.join(sorted(known))}")


def _string(fields: dict[str, Any], name: str, where: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{where}.{name} is no text")
    return value


def _strings(value: Any, where: str) -> tuple[str, ...]:
    values: Any = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or (not values and where.endswith("name")):
        raise SettingsError(f"{where} is no list of texts")
    if not all(isinstance(one, str) and one for one in values):  # pyright: ignore[reportUnknownVariableType] - that is what is checked
        raise SettingsError(f"{where} is no list of texts")
    return tuple(values)  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType] - checked


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"cannot read {path}: {why}") from error
