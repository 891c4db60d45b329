"""Settings that an operator writes into a YAML file: read strictly, every mistake with where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml


class SettingsError(Exception):
    """The file cannot be used; the text says where and why."""


ISSUER_FIELDS: Final = frozenset({"issuer", "audience", "require", "ca"})


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An OpenID issuer, as settings name one: `require` is claim → patterns, one of which has to fit.

    `ca_pem` "" for issuers whose certificate a public authority signed.
    """

    issuer: str
    audience: str
    require: tuple[tuple[str, tuple[str, ...]], ...]
    ca_pem: str


def load(path: Path) -> dict[str, Any]:
    """Raises: SettingsError."""
    try:
        document: Any = yaml.safe_load(text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{path} is no YAML: {error}") from error
    return object_of(document, f"{path}")


def is_issuer(url: str) -> bool:
    """An https URL without anything that an issuer identifier must not have."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = not parts.query and not parts.fragment and not parts.username
    return parts.scheme == "https" and bool(parts.hostname) and plain


def issuer_of(fields: dict[str, Any], where: str, folder: Path) -> TrustedIssuer:
    """`ca` names a file relative to `folder`. Raises: SettingsError."""
    issuer = string(fields, "issuer", where)
    if not is_issuer(issuer):
        raise SettingsError(f"{where}.issuer is no https URL: its keys could be anybody's")
    require = object_of(fields.get("require", {}), f"{where}.require")
    return TrustedIssuer(
        issuer,
        string(fields, "audience", where),
        tuple((name, strings(patterns, f"{where}.require.{name}")) for name, patterns in require.items()),
        text(folder / string(fields, "ca", where)) if "ca" in fields else "",
    )


def object_of(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):  # pyright: ignore[reportUnknownVariableType] - that is what is checked
        raise SettingsError(f"{where} is no object")
    return value  # pyright: ignore[reportUnknownVariableType] - narrowed above


def only(fields: dict[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(fields) - known):
        raise SettingsError(f"{where} has no {', '.join(unknown)}; known: {', '.join(sorted(known))}")


def string(fields: dict[str, Any], name: str, where: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{where}.{name} is no text")
    return value


def strings(value: Any, where: str) -> tuple[str, ...]:
    values: Any = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or (not values and where.endswith("name")):
        raise SettingsError(f"{where} is no list of texts")
    if not all(isinstance(one, str) and one for one in values):  # pyright: ignore[reportUnknownVariableType] - that is what is checked
        raise SettingsError(f"{where} is no list of texts")
    return tuple(values)  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType] - checked


def text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"cannot read {path}: {why}") from error
