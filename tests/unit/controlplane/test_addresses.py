from __future__ import annotations

import socket

import pytest

from controlplane.addresses import join, server_names, split


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("mesh.example:15012", ("mesh.example", 15012))],
)  # fmt: skip
def test_an_address_comes_apart_and_together_again(address: str, parts: tuple[str, int]) -> None:
    assert split(address) == parts
    assert join(*parts) == address


def test_a_certificate_names_hosts_and_addresses_apart() -> None:
    assert server_names({"mesh.example", "10.0.0.1", "::1"}) == (["mesh.example"], ["10.0.0.1", "::1"])


@pytest.mark.parametrize("anywhere", ["0.0.0.0", "::"])
def test_a_wildcard_stands_for_the_name_of_this_host(anywhere: str) -> None:
    assert server_names({anywhere}) == ([socket.gethostname().lower()], [])
