"""A field is what it has to be, or its name is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ca import json_fields
from ca.errors import NodeProtocolError

FITS: list[tuple[Callable[..., Any], Any, Any]] = [
    (json_fields.read_list, [1], [1]),
    (json_fields.read_texts, ["a", ""], ("a", "")),
    (json_fields.read_text, "a", "a"),
    (json_fields.read_number, 7, 7),
    (json_fields.read_flag, False, False),
]
WRONG: list[tuple[Callable[..., Any], list[Any]]] = [
    (json_fields.read_list, [None, {}, "a"]),
    (json_fields.read_texts, [None, [1], "a"]),
    (json_fields.read_text, [None, "", 1]),
    (json_fields.read_number, [None, True, -1, 1 << 53, 1.5, "1"]),
    (json_fields.read_flag, [None, 0, "true"]),
]


@pytest.mark.parametrize(("read", "value", "found"), FITS)
def test_what_fits_is_read(read: Callable[..., Any], value: Any, found: Any) -> None:
    assert read({"x": value}, "x") == found


@pytest.mark.parametrize(("read", "values"), WRONG)
def test_what_does_not_fit_is_refused_by_name(read: Callable[..., Any], values: list[Any]) -> None:
    for fields in ({}, *({"x": value} for value in values)):
        with pytest.raises(NodeProtocolError, match="x is n"):
            read(fields, "x")


def test_what_may_be_empty_is_said_by_who_reads() -> None:
    assert json_fields.read_text({"x": ""}, "x", empty=True) == ""
    with pytest.raises(NodeProtocolError):
        json_fields.read_texts({"x": [""]}, "x", empty=False)
    with pytest.raises(NodeProtocolError, match="not an object"):
        json_fields.read_object([])
