"""Settings that an operator writes into a YAML file: read strictly, every mistake with where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


class SettingsError(Exception):
    """The file cannot be used; the text says where and why."""


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
