"""A machine with defaults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agent.vm.host import Answers, Host, Problem, check
from agent.vm.units import Programs
from ca.attest.join_token import JoinToken

TOKEN = JoinToken("10.0.0.1:15080", "10.0.0.1:15012", "example.org", "0" * 64, "orders-1", "hush")
PROGRAMS = Programs("/opt/pylis/bin/pylis", "/opt/pylis/bin/envoy", "/usr/sbin/nft")
ANSWERS = Answers(
    "shop/orders-1",
    "orders",
    "10.0.0.5",
    ("10.0.0.0/24",),
    ("http:8080", "tcp:7000"),
    ("shop",),
    {"shop": 2100},
)


def a_host(**changes: Any) -> Host:
    found = check(replace(ANSWERS, **changes), TOKEN)
    assert isinstance(found, Host), found
    return found


def problems(token: JoinToken = TOKEN, **changes: Any) -> tuple[Problem, ...]:
    found = check(replace(ANSWERS, **changes), token)
    assert isinstance(found, tuple), found
    return found
