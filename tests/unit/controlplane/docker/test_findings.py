from __future__ import annotations

from typing import Any

from controlplane.docker.findings import Level, containers

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


def said(*found: dict[str, Any], rules: bool | None = True) -> list[tuple[Level, str]]:
    listed = list(containers(found, {"web": rules}, ENVOY))
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
    assert "NET_RAW" in said(app(CapDrop=None), sidecar())[0][1]
    assert "NET_RAW" in said(app(CapAdd=["CAP_NET_RAW"]), sidecar())[0][1]
    assert "NET_RAW" in said(app(Privileged=True), sidecar())[0][1]
    assert "network mode host" in said(app(NetworkMode="host"))[0][1]


def test_a_sidecar_without_an_app_is_left_over() -> None:
    assert said(sidecar()) == [(Level.WARNING, "is a sidecar whose app does not run")]
