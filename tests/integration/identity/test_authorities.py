"""Rotation by command, with a control plane and agents of their own: who waits for whom, and who renews."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from spiffe import WorkloadApiClient

Plane = Any


def serials(socket: Path) -> dict[str, int]:
    with WorkloadApiClient(f"unix://{socket}") as client:
        context = client.fetch_x509_context()
        return {str(svid.spiffe_id): svid.leaf.serial_number for svid in context.x509_svids}


def issuer(socket: Path) -> str:
    with WorkloadApiClient(f"unix://{socket}") as client:
        return client.fetch_x509_svid().cert_chain[1].issuer.rfc4514_string()


def statuses(plane: Plane, family: str = "x509") -> list[str]:
    return [one["status"] for one in plane.json("ca", "status")[family]]


@pytest.mark.spiffe("F-02", "A-05", "A-20")
def test_the_four_steps_replace_a_stolen_authority(control_plane: Plane) -> None:
    control_plane.register("orders")
    agent = control_plane.join("one")
    control_plane.until(lambda: agent.status.get("identities"))
    before = serials(agent.socket)
    old_issuer = issuer(agent.socket)
    control_plane.json("ca", "prepare")
    control_plane.until(
        lambda: not control_plane.json("ca", "status")["waitingFor"], "it was not acknowledged"
    )
    assert serials(agent.socket) == before
    assert control_plane.run("ca", "activate").returncode == 0
    assert statuses(control_plane) == ["old", "active"]
    assert control_plane.run("ca", "taint").returncode == 0
    control_plane.until(lambda: serials(agent.socket) != before, "the workload kept its SVID")
    assert issuer(agent.socket) != old_issuer
    control_plane.until(lambda: not control_plane.json("ca", "status")["waitingFor"])
    assert control_plane.run("ca", "revoke").returncode == 0
    assert statuses(control_plane) == ["revoked", "active"]
    bundle = json.loads(control_plane.run("bundle", "show", "--format", "spiffe").stdout)
    assert sum(key["use"] == "x509-svid" for key in bundle["keys"]) == 1
    control_plane.until(lambda: agent.status.get("connected"))
    verbs = [
        entry["verb"] for entry in control_plane.json("audit", "tail") if entry["resource"] == "authorities"
    ]
    assert verbs == ["prepare", "activate", "taint", "revoke"]


def test_nothing_is_activated_while_an_agent_does_not_know_it(control_plane: Plane) -> None:
    agent = control_plane.join("one")
    control_plane.until(lambda: not control_plane.json("ca", "status")["waitingFor"])
    agent.process.send_signal(signal.SIGSTOP)
    try:
        control_plane.json("ca", "prepare")
        refused = control_plane.run("ca", "activate")
        assert refused.returncode == 2
        assert "not acknowledged yet by one" in refused.stderr
    finally:
        agent.process.send_signal(signal.SIGCONT)
    control_plane.until(
        lambda: control_plane.run("ca", "activate").returncode == 0, "it was never acknowledged"
    )


def test_authorities_survive_a_restart_and_agents_come_back(control_plane: Plane) -> None:
    agent = control_plane.join("one")
    control_plane.json("ca", "prepare", "--type", "jwt")
    control_plane.until(lambda: control_plane.run("ca", "activate", "--type", "jwt").returncode == 0)
    control_plane.json("ca", "prepare")
    control_plane.until(lambda: control_plane.run("ca", "activate").returncode == 0)
    before = control_plane.json("ca", "status")
    control_plane.process.terminate()
    control_plane.process.communicate(timeout=60)
    control_plane.start()
    after = control_plane.json("ca", "status")
    assert (before["x509"], before["jwt"], before["sequence"]) == (
        after["x509"],
        after["jwt"],
        after["sequence"],
    )
    control_plane.until(lambda: agent.status.get("connected"))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(("activate",), "no x509 authority is prepared"), (("taint",), "no x509 authority is old"),
     (("revoke", "--type", "jwt"), "no jwt authority is tainted"), (("activate", "ff"), "no authority 'ff'")],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_reason(
    control_plane: Plane, arguments: tuple[str, ...], reason: str
) -> None:
    done = control_plane.run("ca", *arguments)
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
