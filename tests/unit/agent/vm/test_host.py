from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.agent.vm.builders import TOKEN, a_host, problems


def test_what_is_declared_is_what_the_rules_are_made_of() -> None:
    host = a_host(ssh_ports=(2222,), left_out=(53,))
    assert (host.namespace, host.name, host.service_account) == ("shop", "orders-1", "orders")
    assert host.declared.users == (2100,)
    assert host.declared.ports == (7000, 8080)
    assert host.declared.left_out == (53,)
    assert host.declared.ssh_ports == (22, 2222)
    assert a_host(service_account="").service_account == "orders-1"


def test_ipv6_is_on_where_an_address_or_a_network_is_one() -> None:
    assert not a_host().ipv6
    assert a_host(address="fd00::5", networks=("fd00::/64",)).ipv6
    assert a_host(networks=("10.0.0.0/24", "fd00::/64")).ipv6


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("--workload", {"workload": "orders"}),
        ("--workload", {"workload": "shop/../etc"}),
        ("--service-account", {"service_account": "a/b"}),
        ("--address", {"address": "orders.shop"}),
        ("--address", {"address": "127.0.0.1"}),
        ("--network", {"networks": ()}),
        ("--network", {"networks": ("10.0.0.5/24",)}),
        ("--network", {"networks": ("0.0.0.0/0",)}),
        ("--network", {"networks": ("10.1.0.0/24",)}),
        ("--port", {"ports": ("8080",)}),
        ("--port", {"ports": ("http:0",)}),
        ("--port", {"ports": ("http:٨",)}),
        ("--port", {"ports": ("smtp:25",)}),
        ("--port", {"ports": ("tcp:22",)}),
        ("--port", {"ports": ("tcp:2222",), "ssh_ports": (2222,)}),
        ("--port", {"ports": ("http:15006",)}),
        ("--port", {"ports": ("http:8080", "tcp:8080")}),
        ("--leave-out", {"left_out": (8080,)}),
        ("--leave-out", {"left_out": (70000,)}),
        ("--ssh-port", {"ssh_ports": (15001,)}),
        ("--user", {"users": ()}),
        ("--user", {"users": ("nobody-here",)}),
        ("--user", {"users": ("root",), "uids": {"root": 0}}),
        ("--user", {"users": ("dynamic",), "uids": {"dynamic": 61200}}),
        ("--host", {"hosts": ("Orders",)}),
        ("--outbound", {"outbound": "ANY"}),
        ("--rollback-seconds", {"trial_seconds": 1}),
    ],
)
def test_each_mistake_is_told_by_its_option(option: str, changes: dict[str, Any]) -> None:
    assert [problem.option for problem in problems(**changes)] == [option]


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(workload="orders", ports=("tcp:22",), users=())
    assert [problem.option for problem in found] == ["--workload", "--port", "--user"]


def test_an_invitation_is_no_token() -> None:
    invitation = replace(TOKEN, agent="", secret="")
    assert [problem.option for problem in problems(token=invitation)] == ["--token-file"]


def test_a_slice_needs_no_user() -> None:
    host = a_host(users=(), in_slice=True)
    assert host.declared.slice_path == "pylis.slice"
