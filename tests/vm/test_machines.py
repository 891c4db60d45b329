"""Three machines with systemd, installed as a user does, and a control plane beside them; real agents, real Envoys."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.running_server import RunningServer
from tests.vm.machines import ADDRESS, NETWORK, Machine, bridge, run, until

SHOP, OTHER = 2100, 2101  # the workload's user, and another of the same machine
PYLIS = "/opt/pylis/bin/pylis"
APPS_HERE = (sys.executable, str(Path(__file__).with_name("apps.py")))
APPS = ("/opt/python/bin/python3", "/opt/project/tests/vm/apps.py")
POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {ports: ["8080"], methods: [GET]}}]
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {ports: ["7000"]}}]
"""


@dataclass
class Held:
    """One connection to a machine's port 22 that lives through everything."""

    process: subprocess.Popen[str]

    def echoes(self) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("still here\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == "still here\n"


@dataclass
class Mesh:
    server: RunningServer
    web: Machine
    orders: Machine
    other: Machine
    held: list[Held]
    plain: Held | None = None

    def get(self, machine: Machine, uid: int = SHOP, to: str = "", port: int = 8080) -> str:
        where = to or self.orders.address
        return machine.as_user(uid, *APPS, "get", where, str(port), f"orders.shop:{port}").strip()

    def say(self, machine: Machine, port: int, uid: int = SHOP, to: str = "") -> list[str]:
        return machine.as_user(uid, *APPS, "say", to or self.orders.address, str(port)).split()


def token(server: RunningServer, agent: str) -> str:
    return str(server.client().request("POST", "/pylis/v1/tokens", {"agent": agent})["token"])


def pylis(server: RunningServer, *words: str, text: str | None = None) -> str:
    command = [sys.executable, "-m", "controlplane.cli", *words, "--kubeconfig", str(server.kubeconfig)]
    return run(*command, text=text)


def unit(machine: Machine, name: str, *command: str, user: int = 0) -> None:
    machine.run("systemd-run", "--quiet", f"--unit={name}", f"--uid={user}", "--", *command)


def install(machine: Machine, server: RunningServer, account: str, *more: str, user: str = "shop") -> None:
    """Until the rules are on trial (or confirmed), as the page says: install, apply, try."""
    machine.write("/root/token", token(server, machine.name), "600")
    command = [
        PYLIS, "agent", "install", "--token-file", "/root/token", "--workload", f"shop/{account}-1",
        "--service-account", account, "--address", machine.address, "--network", NETWORK,
        *(["--user", user] if user else []), *more,
    ]  # fmt: skip
    first = machine.ask(*command, "--wait-seconds", "0")
    assert "no rules were loaded" in first, first
    assert "pylis agent try" in first
    declared = machine.run("cat", "/etc/pylis/workload.yaml")
    pylis(server, "apply", "-f", "-", text=declared)
    machine.run(PYLIS, "agent", "try")


def hold(command: list[str]) -> Held:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "hello\n"
    return Held(process)


def rules(machine: Machine) -> str:
    return machine.ask("nft", "list", "table", "inet", "pylis")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with ExitStack() as stack:
        bridge()
        machines = [
            stack.enter_context(Machine(name, number))
            for name, number in (("web", 11), ("orders", 12), ("other", 13))
        ]
        here = ("--api", f"{ADDRESS}:15080", "--xds", f"{ADDRESS}:15012", "--advertise", ADDRESS)
        server = stack.enter_context(RunningServer(tmp_path_factory.mktemp("plane"), *here))
        pylis(server, "apply", "-f", "-", text="{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
        pylis(server, "apply", "-f", "-", text=POLICIES)
        for machine in machines:
            machine.run("useradd", "--uid", str(SHOP), "--no-create-home", "shop")
            machine.run("useradd", "--uid", str(OTHER), "--no-create-home", "someone")
            unit(machine, "ssh", *APPS, "echo", "22")
        web, orders, other = machines
        unit(orders, "orders", *APPS, "http", "8080", user=SHOP)
        unit(orders, "ledger", *APPS, "echo", "7000", user=SHOP)
        unit(orders, "unmeshed", *APPS, "echo", "9000", user=SHOP)
        for machine, port in (
            (web, 22),
            (orders, 22),
            (other, 22),
            (orders, 8080),
            (orders, 7000),
            (orders, 9000),
        ):
            until(lambda m=machine, p=port: f":{p} " in m.ask("ss", "-ltn"), f"port {port} of {machine.name}")
        held = [hold([*APPS_HERE, "hold", machine.address, "22"]) for machine in machines]
        as_shop = ["setpriv", f"--reuid={SHOP}", "--clear-groups"]
        held.append(hold([*web.enter(), *as_shop, *APPS, "hold", orders.address, "22"]))
        before = hold([*web.enter(), *as_shop, *APPS, "hold", orders.address, "7000"])
        running = Mesh(server, web, orders, other, held)
        try:
            assert running.get(web) == "200 plain"
            install(orders, server, "orders", "--port", "http:8080", "--port", "tcp:7000")
            install(web, server, "web")
            install(other, server, "other", "--rollback-seconds", "3600")
            for machine in machines:
                assert "confirmed" in machine.run(PYLIS, "agent", "confirm", "--when-healthy")
            running.plain = before
            yield running
        finally:
            for one in [*held, before]:
                one.process.kill()
                one.process.communicate()


def test_what_policy_allows_goes_by_mutual_tls_without_a_setting_in_the_application(mesh: Mesh) -> None:
    until(lambda: mesh.get(mesh.web).startswith("200"), "the first answer")
    assert "URI=spiffe://cluster.local/ns/shop/sa/web" in mesh.get(mesh.web)
    assert mesh.say(mesh.web, 7000) == ["hello", "again"]


def test_what_policy_denies_is_denied(mesh: Mesh) -> None:
    until(lambda: mesh.get(mesh.other).startswith("403"), "an answer")
    assert mesh.say(mesh.other, 7000) != ["hello", "again"]


def test_whoever_is_not_in_the_mesh_reaches_no_declared_port(mesh: Mesh) -> None:
    """A user that is not intercepted, and a machine that has no Pylis."""
    assert mesh.get(mesh.web, uid=OTHER).startswith("error")
    assert mesh.say(mesh.web, 7000, uid=0) != ["hello", "again"]
    for port in ("8080", "7000", "15001", "15006"):
        assert "hello" not in run(*APPS_HERE, "say", mesh.orders.address, port)
    assert run(*APPS_HERE, "get", mesh.orders.address, "8080", "orders.shop:8080").startswith("error")


def test_a_connection_of_before_the_rules_does_not_stay_in_plain_text(mesh: Mesh) -> None:
    assert mesh.plain is not None
    assert not mesh.plain.echoes()


def test_ports_that_are_not_declared_are_as_they_were(mesh: Mesh) -> None:
    assert run(*APPS_HERE, "say", mesh.orders.address, "9000").split() == ["hello", "again"]
    assert mesh.say(mesh.web, 9000, uid=OTHER) == ["hello", "again"]
    assert mesh.say(mesh.web, 9000) != ["hello", "again"]  # the mesh's network: closed


def test_ipv6_is_no_way_round(mesh: Mesh) -> None:
    """The mesh of these machines is IPv4: what the workload calls, and what comes to its ports, is closed."""
    assert mesh.say(mesh.web, 7000, to=mesh.orders.ipv6) != ["hello", "again"]
    assert mesh.say(mesh.web, 7000, uid=0, to=mesh.orders.ipv6) != ["hello", "again"]
    assert mesh.say(mesh.web, 9000, uid=OTHER, to=mesh.orders.ipv6) == ["hello", "again"]
    assert mesh.say(mesh.web, 22, to=mesh.orders.ipv6) == ["hello", "again"]


def test_ssh_is_never_touched(mesh: Mesh) -> None:
    assert all(one.echoes() for one in mesh.held)  # opened before the rules, in both directions
    for machine in (mesh.web, mesh.orders, mesh.other):
        assert run(*APPS_HERE, "say", machine.address, "22").split() == ["hello", "again"]
    assert mesh.say(mesh.web, 22) == ["hello", "again"]
    for machine in (mesh.web, mesh.orders, mesh.other):
        chains = re.findall(r"chain \w+ \{\n[^\n]*\n\s*([^\n]*)", rules(machine))
        assert chains == ["tcp dport 22 return"] * 4


def test_other_users_of_the_machine_reach_neither_the_workload_nor_its_sidecar(mesh: Mesh) -> None:
    for where in ("127.0.0.1", mesh.orders.address):
        assert mesh.get(mesh.orders, uid=OTHER, to=where).startswith("error")
        assert mesh.get(mesh.orders, uid=SHOP, to=where) == "200 plain"
        assert mesh.get(mesh.orders, uid=0, to=where) == "200 plain"  # root's health check
    for uid in (OTHER, SHOP, 0):  # by its sidecar's own port one would speak as the workload
        assert mesh.get(mesh.web, uid=uid, to="127.0.0.1", port=15001).startswith("error")


def test_the_units_have_no_right_but_those_that_are_named(mesh: Mesh) -> None:
    found = {}
    for name in ("pylis-agent", "pylis-envoy"):
        pid = mesh.web.run("systemctl", "show", "-P", "MainPID", name).strip()
        text = mesh.web.run("cat", f"/proc/{pid}/status")
        found[name] = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    net_raw = f"{1 << 13:016x}"
    assert found["pylis-agent"]["CapBnd"] == "0" * 16
    assert found["pylis-envoy"]["CapBnd"] == found["pylis-envoy"]["CapEff"] == net_raw
    for status in found.values():
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert status["Uid"].split()[0] not in ("0", str(SHOP))


def test_a_machine_that_was_cut_off_comes_back_by_itself(mesh: Mesh) -> None:
    run("ip", "link", "set", mesh.orders.link, "down")
    try:
        cut = mesh.get(mesh.web)
        assert cut.startswith(("503", "504", "error")), cut
        assert run(*APPS_HERE, "say", mesh.web.address, "22").split() == ["hello", "again"]
        assert "chain in_guard" in rules(mesh.orders)
        assert mesh.get(mesh.orders, uid=OTHER).startswith("error")  # cut off is not open
    finally:
        run("ip", "link", "set", mesh.orders.link, "up")
    until(lambda: mesh.get(mesh.web).startswith("200"), "the machine that was cut off")
    assert "URI=spiffe://cluster.local/ns/shop/sa/web" in mesh.get(mesh.web)
    assert mesh.get(mesh.other).startswith("403")


def test_without_its_sidecar_a_machine_is_closed_not_open(mesh: Mesh) -> None:
    mesh.orders.run("systemctl", "stop", "pylis-envoy", "pylis-agent")
    assert run(*APPS_HERE, "get", mesh.orders.address, "8080", "orders.shop:8080").startswith("error")
    assert not mesh.get(mesh.web).startswith("200")
    assert all(one.echoes() for one in mesh.held)
    mesh.orders.run("systemctl", "start", "pylis-envoy", "pylis-agent")
    until(lambda: mesh.get(mesh.web).startswith("200"), "the sidecar to be back")


def test_the_doctor_finds_what_is_wrong_with_a_machine(mesh: Mesh) -> None:
    machine = mesh.web

    def said() -> str:
        return machine.ask(PYLIS, "doctor")

    assert "√ interception" in said()
    machine.run("systemctl", "stop", "pylis-envoy")
    assert "pylis-envoy.service" in said()
    machine.run("systemctl", "start", "pylis-envoy")
    machine.run("nft", "delete", "table", "inet", "pylis")
    assert "× interception" in said()
    machine.run(PYLIS, "agent", "try")
    assert "! interception" in said()
    first = machine.run("nft", "-a", "list", "chain", "inet", "pylis", "out_redirect")
    handle = re.findall(r"tcp dport 22 return # handle (\d+)", first)[0]
    machine.run("nft", "delete", "rule", "inet", "pylis", "out_redirect", "handle", handle)
    assert "× ssh" in said()
    machine.run(PYLIS, "agent", "confirm")
    assert "√ interception" in said()


def test_rules_that_nobody_confirms_are_taken_back(mesh: Mesh) -> None:
    """First by themselves, then what was confirmed comes back in the place of a later trial."""
    machine, server = mesh.other, mesh.server
    machine.run(PYLIS, "agent", "uninstall")
    assert "No such file" in rules(machine)
    install(machine, server, "other", "--rollback-seconds", "10")
    assert "skuid 2100" in rules(machine)
    until(lambda: "No such file" in rules(machine), "the rollback", 40)
    assert "no rules are on trial" in machine.ask(PYLIS, "agent", "confirm")
    assert machine.run("systemctl", "is-active", "pylis-envoy").strip() == "active"

    machine.run(PYLIS, "agent", "try", "--confirm-when-healthy")
    confirmed = rules(machine)
    assert "skuid 2100" in confirmed
    install(machine, server, "other", "--rollback-seconds", "10", "--leave-out", "5353")
    assert "5353" in rules(machine)
    until(lambda: rules(machine) == confirmed, "the rollback", 40)


def test_confirmed_rules_are_loaded_at_boot_before_the_network(mesh: Mesh) -> None:
    machine = mesh.orders
    assert machine.run("systemctl", "is-enabled", "pylis-interception").strip() == "enabled"
    wanted = rules(machine)
    machine.run("nft", "delete", "table", "inet", "pylis")
    machine.run("systemctl", "restart", "pylis-interception")
    assert rules(machine) == wanted
    assert "pylis-interception.service" in machine.run(
        "systemctl", "show", "-P", "After", "network-pre.target"
    )


def test_by_slice_whatever_runs_in_it_is_intercepted_also_after_a_restart(mesh: Mesh) -> None:
    machine = mesh.other
    install(machine, mesh.server, "other", "--slice", user="")
    machine.run(PYLIS, "agent", "confirm", "--when-healthy")
    assert "skuid 2100" not in rules(machine)
    assert mesh.get(machine).startswith("error")  # not intercepted any more, and STRICT there
    run_in = ("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--slice=pylis.slice")
    call = (*APPS, "get", mesh.orders.address, "8080", "orders.shop:8080")
    for user in (SHOP, 0, SHOP):  # each time a control group of its own, that goes
        assert machine.ask(*run_in, f"--uid={user}", *call).startswith("403")
    assert machine.run("systemctl", "is-active", "pylis.slice").strip() == "active"


def test_uninstall_leaves_nothing(mesh: Mesh) -> None:
    """The last: afterwards the machine is what it was."""
    machine = mesh.other
    machine.run(PYLIS, "agent", "uninstall")
    found = machine.run("find", "/etc", "/run", "/var/lib", "-maxdepth", "3", "-name", "*pylis*")
    assert [line for line in found.split() if not line.startswith("/var/lib/docker")] == []
    assert "No such file" in rules(machine)
    assert "pylis" not in machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend")
    assert machine.as_user(SHOP, *APPS, "say", mesh.web.address, "22").split() == ["hello", "again"]
