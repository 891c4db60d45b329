from __future__ import annotations

from typing import Any

from controlplane.docker.findings import Finding, Inside, Level, agents, clock, containers, volumes

ENVOY = "envoyproxy/envoy:v1.40.0"


def a_container(id_: str, labels: dict[str, str], **host: Any) -> dict[str, Any]:
    return {
        "Id": id_, "Name": f"/{id_}", "Config": {"Labels": labels, "Image": ENVOY},
        "State": {"Running": True, "StartedAt": "t1", "Pid": 1},
        "HostConfig": {"NetworkMode": "shop", "CapDrop": ["ALL"], **host},
    }  # fmt: skip


def app(**host: Any) -> dict[str, Any]:
    return a_container("web", {"pylis.io/inject": "true"}, **host)


def sidecar(started: str = "t1") -> dict[str, Any]:
    return a_container("side", {"pylis.io/sidecar-of": "web", "pylis.io/app-started": started})


def said(
    *found: dict[str, Any], rules: bool | None = True, names: bool | None = True
) -> list[tuple[Level, str]]:
    listed = list(containers(found, {"web": Inside(rules, names)}, ENVOY))
    assert all(one.next for one in listed if one.level is not Level.WELL)
    return [(one.level, one.text) for one in listed]


def test_a_meshed_container_is_well() -> None:
    assert said(app(), sidecar()) == [(Level.WELL, "meshed")]


def test_what_is_not_seen_is_said() -> None:
    [(level, text)] = said(app(), sidecar(), rules=None)
    assert level is Level.WELL
    assert "not looked at" in text


def test_each_thing_that_is_wrong_is_found() -> None:
    assert "no running sidecar" in said(app())[0][1]
    assert "earlier life" in said(app(), sidecar("t0"))[0][1]
    assert "no rules" in said(app(), sidecar(), rules=False)[0][1]
    assert "DNS" in said(app(), sidecar(), names=False)[0][1]
    assert "NET_RAW" in said(app(CapDrop=None), sidecar())[0][1]
    assert "NET_RAW" in said(app(CapAdd=["CAP_NET_RAW"]), sidecar())[0][1]
    assert "NET_RAW" in said(app(Privileged=True), sidecar())[0][1]
    assert "network mode host" in said(app(NetworkMode="host"))[0][1]


def test_a_sidecar_without_an_app_is_left_over() -> None:
    assert said(sidecar()) == [(Level.WARNING, "is a sidecar whose app does not run")]


def test_a_clock_is_told_before_certificates_are_refused_for_it() -> None:
    assert clock("x", 1.0).level is Level.WELL
    assert clock("x", 60.0).level is Level.WARNING
    assert "60 s slow" in clock("x", 60.0).text
    assert "60 s fast" in clock("x", -60.0).text
    assert clock("x", 100_000.0).level is Level.FAILED
    assert all(clock("x", seconds).next for seconds in (60.0, 100_000.0))


def of_agent(status: dict[str, Any] | None, *, running: bool = True) -> list[Finding]:
    one = a_container("agent", {})
    one["State"]["Running"] = running
    return list(agents([one], {"agent": status}, "0.2.0"))


WELL: dict[str, Any] = {"connected": True, "error": "", "engine": "", "containers": [{}], "version": "0.2.0"}


def test_an_agent_that_is_well_is_said_to_be() -> None:
    [one] = of_agent(WELL)
    assert (one.level, one.text) == (Level.WELL, "agent, connected, 1 containers")


def test_what_is_wrong_with_an_agent_is_found_with_the_next_command() -> None:
    assert "does not run" in of_agent(None, running=False)[0].text
    assert "has not joined" in of_agent(None)[0].text
    assert "not connected" in of_agent({**WELL, "connected": False})[0].text
    assert "engine: gone" in of_agent({**WELL, "engine": "gone"})[0].text
    assert "is version 0.1.0" in of_agent({**WELL, "version": "0.1.0"})[0].text
    assert "30 s slow" in of_agent({**WELL, "clockBehind": 30.0})[0].text
    not_taken = of_agent({**WELL, "notTaken": [{"workload": "shop/web", "reason": "may not"}]})
    assert (not_taken[0].what, not_taken[0].level) == ("shop/web", Level.FAILED)
    assert not_taken[0].next


def test_only_a_meshs_own_volumes_are_left_over() -> None:
    [one] = volumes(["shop_pylis-data", "shop_dbdata", "0123abc"])
    assert one.what == "shop_pylis-data"
    assert one.next.startswith("docker volume rm shop_pylis-data")
