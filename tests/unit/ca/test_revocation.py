from __future__ import annotations

import pytest

from ca.revocation import Revocations, read_serial, serial_text
from ca.spiffe_id import SpiffeId

WEB = "spiffe://example.org/ns/shop/sa/web"


def test_an_identity_is_covered_with_any_certificate_and_a_certificate_with_any_identity() -> None:
    cut_off = Revocations(frozenset({WEB}), frozenset({"a1"}))
    assert cut_off.covers(WEB)
    assert cut_off.covers(SpiffeId.parse(WEB), "7")
    assert cut_off.covers("spiffe://example.org/ns/shop/sa/other", "a1")
    assert not cut_off.covers("spiffe://example.org/ns/shop/sa/web2", "a")


def test_nobody_is_covered_by_an_empty_one_not_even_without_a_serial() -> None:
    assert not Revocations()
    assert not Revocations().covers(WEB)


@pytest.mark.parametrize("text", ["0A:1B", "0x0a1b", "a1b", "0000A1B", " a1b\n"])
def test_a_serial_is_read_as_people_copy_it(text: str) -> None:
    assert read_serial(text) == "a1b" == serial_text(0xA1B)


@pytest.mark.parametrize("text", ["", "0", "xyz", "a-b", "0x", "a" * 41, "١"])
def test_what_is_no_serial_is_none(text: str) -> None:
    assert read_serial(text) is None
