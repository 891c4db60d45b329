"""The SDK against an engine's API on a real Unix socket."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from agent.docker.container import AGENT, SIDECAR_OF
from agent.docker.engine import Engine, EngineError, EngineReplacedError
from agent.docker.sidecar import Node, wanted
from tests.unit.agent.docker.builders import IDS, a_container, inspected
from tests.unit.agent.docker.engine_server import EngineServer

NODE = Node("docker", "example.org", "envoyproxy/envoy:v1.40.0", "run")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    with EngineServer(tmp_path_factory.mktemp("e") / "s") as running:
        yield running


@pytest.fixture
def engine(server: EngineServer) -> Iterator[Engine]:
    found = server.connect()
    yield found
    found.close()


def test_apps_are_those_that_run_and_ask_to_be_in_this_mesh(server: EngineServer, engine: Engine) -> None:
    server.put(inspected("web"))
    server.put(inspected("db", running=False))
    assert [one.name for one in engine.apps("")] == ["web"]
    assert engine.apps("another") == []


def test_a_container_that_goes_while_it_is_looked_at_is_left_out(
    server: EngineServer, engine: Engine
) -> None:
    assert engine.container(IDS["web"]) is None
    server.put(inspected("web"))
    assert engine.container("web") is not None


def test_a_sidecar_is_made_known_before_it_starts_and_removed_whole(
    server: EngineServer, engine: Engine
) -> None:
    want = wanted(a_container("web"), "shop", "web-1", "web", NODE)
    seen: list[bool] = []
    engine.make(want, lambda made: seen.append(bool(server.containers[made]["State"]["Running"])))
    assert seen == [False]
    [sidecar] = engine.sidecars(NODE.owner)
    assert sidecar.running
    assert sidecar.labels[SIDECAR_OF] == IDS["web"]
    assert sidecar.labels[AGENT] == NODE.owner
    engine.remove(sidecar.id)
    assert not server.containers
    engine.remove(sidecar.id)  # gone already


def test_a_sidecar_that_does_not_start_is_not_left_behind(server: EngineServer, engine: Engine) -> None:
    server.refuse_start = "cannot join the network namespace"
    with pytest.raises(EngineError, match="cannot join"):
        engine.make(wanted(a_container("web"), "shop", "web-1", "web", NODE), lambda _: None)
    assert not server.containers


def test_events_come_with_the_labels_and_their_end_is_said(server: EngineServer, engine: Engine) -> None:
    server.happened("start", inspected("web"))
    server.happened("die", inspected("web"))
    events = engine.events()
    first, second = islice(events, 2)
    assert (first[0], first[1], first[2]["pylis.io/inject"]) == ("start", IDS["web"], "true")
    assert second[0] == "die"
    server.events.put(None)
    with pytest.raises(EngineError, match="ended"):
        next(events)


def test_where_it_is_no_container_its_sockets_are_where_it_says(engine: Engine) -> None:
    assert engine.run_volume("/run/pylis") == "/run/pylis"


# the SDK leaves a socket open that could not connect
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_is_not_there_is_an_error_and_no_crash(tmp_path: Path) -> None:
    with EngineServer(tmp_path / "s") as server:
        engine = server.connect()
        assert engine.version() == "20.10.24"
    for ask in (
        engine.version,
        lambda: engine.apps(""),
        lambda: engine.remove("x"),
        lambda: next(engine.events()),
    ):
        with pytest.raises(EngineError):
            ask()
    engine.close()
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_socket_that_was_replaced_is_not_an_engine_that_is_away(server: EngineServer) -> None:
    with server.replaced() as engine:
        for ask in (engine.version, lambda: next(engine.events())):
            with pytest.raises(EngineReplacedError, match="another start mounts the new one"):
                ask()
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("unix:///no/such.sock", "No such file or directory"),
        ("tcp://127.0.0.1:1", "Connection refused"),
        ("nonsense", "Invalid bind address format"),
    ],
)
def test_who_finds_no_engine_is_told_where_it_was_looked_for_and_what_was_in_the_way(
    host: str, reason: str
) -> None:
    with pytest.raises(EngineError, match=f"no engine answers at {host}: {reason}"):
        Engine.connect({"DOCKER_HOST": host})
    gc.collect()
