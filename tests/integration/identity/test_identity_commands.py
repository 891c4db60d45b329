"""`pylis identity` and `pylis agent`, as people use them."""

from __future__ import annotations

import json
from typing import Any

import pytest

Plane = Any
ID = "spiffe://example.org/ns/default/sa/orders"


@pytest.fixture(scope="module")
def control_plane(shared_control_plane: Plane) -> Plane:
    return shared_control_plane


def done(control_plane: Plane, *arguments: str) -> str:
    result = control_plane.run(*arguments)
    assert result.returncode == 0, result.stderr
    return str(result.stdout)


def test_an_identity_is_registered_shown_and_removed(control_plane: Plane) -> None:
    arguments = ("--selector", "unix:uid:4711", "--agent", "web-1", "--x509-ttl", "30m", "--hint", "main")
    assert "created" in done(control_plane, "identity", "create", "orders", *arguments)
    assert "/ns/default/sa/orders" in done(control_plane, "identity", "list")
    shown = control_plane.json("identity", "show", "orders")
    assert shown["spec"] == {
        "serviceAccount": "orders", "selectors": ["unix:uid:4711"], "agents": ["web-1"], "x509TTL": "30m",
        "hint": "main",
    }  # fmt: skip
    assert "deleted" in done(control_plane, "identity", "delete", "orders")
    assert done(control_plane, "identity", "list") == "nothing is registered here\n"
    gone = control_plane.run("identity", "show", "orders")
    assert (gone.returncode, "not found" in gone.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--agent", "web-1"), "selector"),
        (("--selector", "unix:uid:1"), "agent"),
        (("--selector", "unx:uid:1", "--agent", "a"), "nothing attests"),
        (("--selector", "unix:uid:1", "--agent", "a", "--x509-ttl", "48h"), "is no time between 1m and 12h"),
        (("--selector", "unix:uid:1", "--agent", "a", "--jwt-ttl", "48h"), "is no time between 30s and 24h"),
        (("--selector", "unix:uid:1", "--agent", "a", "--path", "/ns/pay/sa/ledger"), "is not below"),
        (("--selector", "unix:uid:1", "--agent", "a", "--dns", "x.pylis.internal"), "control plane"),
    ],
)
def test_what_cannot_be_registered_is_said(
    control_plane: Plane, arguments: tuple[str, ...], words: str
) -> None:
    result = control_plane.run("identity", "create", "bad", *arguments)
    assert (result.returncode, words in result.stderr) == (2, True), result.stderr


def test_revoking_is_a_quarantine_that_names_how_to_undo_it(control_plane: Plane) -> None:
    said = done(control_plane, "identity", "revoke", ID, "--reason", "lost")
    assert "revoked already" in done(control_plane, "identity", "revoke", ID)
    (found,) = control_plane.json("get", "quarantines")["items"]
    assert found["spec"] == {"spiffeIDs": [ID], "reason": "lost"}
    undo = said.partition("undo: pylis ")[2].split()
    assert "deleted" in done(control_plane, *undo)
    assert control_plane.json("get", "quarantines")["items"] == []
    serial = control_plane.json("identity", "revoke", "0A:1b")
    assert serial["spec"] == {"serials": ["a1b"]}
    done(control_plane, "delete", "quarantine", serial["metadata"]["name"])
    wrong = control_plane.run("identity", "revoke", "orders")
    assert (wrong.returncode, "neither a SPIFFE ID nor" in wrong.stderr) == (2, True)
    audited = [json.loads(line) for line in done(control_plane, "audit", "export").splitlines()]
    about = [a for a in audited if a["resource"] == "quarantines.pylis.io"]
    assert [a["verb"] for a in about if a["decision"] == "allow"] == ["create", "delete"] * 2
    assert {a["who"] for a in about} == {"admin"}


def test_an_agent_is_listed_banned_and_let_in_again(control_plane: Plane) -> None:
    agent = control_plane.join("one")
    (listed,) = control_plane.json("agent", "list")["items"]
    assert (listed["name"], listed["state"], listed["method"]) == ("one", "connected", "join-token")
    control_plane.register("orders", agent="one")
    control_plane.until(lambda: agent.status.get("identities"), "no identity")
    assert "banned" in done(control_plane, "agent", "ban", "one", "--reason", "copied")
    control_plane.until(lambda: "banned: copied" in (agent.status.get("error") or ""), "it was not told")
    assert agent.status["identities"] == []
    assert "banned" in done(control_plane, "agent", "list")
    assert "evicted" in done(control_plane, "agent", "evict", "one")
    control_plane.until(lambda: "attest again" in (agent.status.get("error") or ""), "it was not told")
    control_plane.run("identity", "delete", "orders")
    gone = control_plane.run("agent", "ban", "one")
    assert (gone.returncode, "not found" in gone.stderr) == (1, True)
