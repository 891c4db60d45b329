"""Fields of JSON that agents and the control plane send each other, each read as what it has to be.

Every function raises NodeProtocolError, which names the field: what comes from outside is never believed to fit.
"""

from __future__ import annotations

from typing import Any, cast

from ca.errors import NodeProtocolError


def read_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NodeProtocolError("not an object")
    return cast("dict[str, Any]", value)


def read_list(fields: dict[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list):
        raise NodeProtocolError(f"{name} is no list")
    return cast("list[Any]", value)


def read_texts(fields: dict[str, Any], name: str, *, empty: bool = True) -> tuple[str, ...]:
    """`empty`: may one of them be?"""
    items = read_list(fields, name)
    if not all(isinstance(item, str) and (item or empty) for item in items):
        raise NodeProtocolError(f"{name} is no list of strings")
    return tuple(cast("list[str]", items))


def read_text(fields: dict[str, Any], name: str, *, empty: bool = False) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not (value or empty):
        raise NodeProtocolError(f"{name} is no string")
    return value


def read_number(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise NodeProtocolError(f"{name} is no number")
    return value


def read_flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise NodeProtocolError(f"{name} is neither true nor false")
    return value
