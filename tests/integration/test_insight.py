"""`/metrics` and `/debug` of a server with a connected proxy: named as Prometheus wants it, bounded, documented, guarded."""

from __future__ import annotations

import asyncio
import re
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from ca.service import XDS_DNS_NAME
from controlplane.cli.output import Failure
from controlplane.load.fleet import Fleet
from controlplane.load.installation import Api
from controlplane.load.mesh import LoadMesh
from tests.integration.running_server import RunningServer

PAGE = Path(__file__).parents[2] / "docs/reference/insight.md"
MESH = LoadMesh("cluster.local", 12, replicas=1)
NODE = next(MESH.nodes())[0]
WORKERS = ("--xds-workers", "1", "--sidecars", "127.0.0.1:0")
DEBUG = (
    "/debug", "/debug/", "/debug/proxies", f"/debug/snapshot/{NODE}", "/debug/queue", "/debug/tasks", "/debug/threads",
    "/debug/memory", "/debug/profile?seconds=0.1",
)  # fmt: skip


async def connect_one_and_let_it_refuse(server: RunningServer) -> None:
    client = server.client()
    async with Api(client.server, client.token, client.context) as api:
        await api.create(MESH.resources())
        [identity] = await api.identities([next(MESH.nodes())], 3600)
        where = await api.request("GET", "/pylis/v1/addresses")
        fleet = Fleet(where["sidecars"], [identity], server_name=XDS_DNS_NAME)
        await fleet.connect()
        assert await fleet.complete(20)
        for path, refuse in (("/a/*", False), ("/b/*", True)):
            fleet.reset()
            fleet.sidecars[NODE].refuse = refuse
            await api.replace(MESH.policy(0, path))
            assert await fleet.until(lambda: fleet.sidecars[NODE].responses > 0, 20)
        fleet.disconnect()
        async with asyncio.timeout(20):  # what it said last has been heard
            while (await api.request("GET", "/pylis/v1/proxies"))["items"][0]["state"] != "lost":  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("insight"), *WORKERS) as running:
        asyncio.run(connect_one_and_let_it_refuse(running))
        yield running


@pytest.fixture(scope="module")
def exposed(server: RunningServer) -> dict[str, Metric]:
    client, context = server.client(), ssl.create_default_context(cadata=server.ca_pem)
    context.check_hostname = False
    headers = {"Authorization": f"Bearer {client.token}"}
    request = urllib.request.Request(f"https://{server.api}/metrics", headers=headers)
    with urllib.request.urlopen(request, context=context) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.read().decode()
    assert "spiffe://" not in text and NODE not in text and client.token not in text
    return {metric.name: metric for metric in text_string_to_metric_families(text)}


def full_name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def test_names_are_as_prometheus_wants_them(exposed: dict[str, Metric]) -> None:
    """The rules of `promtool check metrics`."""
    problems: list[str] = []
    for metric in exposed.values():
        name = full_name(metric)
        samples = {sample.name for sample in metric.samples}
        checks = {
            "no help": not metric.documentation.strip() or not metric.documentation.endswith("."),
            "no type": metric.type not in ("counter", "gauge", "histogram"),
            "a counter ends in _total": metric.type == "counter" and samples != {name},
            "only counters end in _total": metric.type != "counter" and name.endswith("_total"),
            "_count, _sum and _bucket are of histograms": bool(re.search(r"_(count|sum|bucket)$", name)),
            "the type is no part of the name": any(t in name for t in ("counter", "gauge", "histogram")),
            "base units": bool(re.search(r"_(ms|milli\w*|micro\w*|nano\w*|minutes|hours|kb|mb|kilobytes)(_|$)", name)),
            "snake case, no colons": not re.fullmatch(r"[a-z][a-z0-9_]*", name),
            "a prefix": not name.startswith(("pylis_", "process_")),
        }  # fmt: skip
        problems += [f"{name}: {rule}" for rule, broken in checks.items() if broken]
    assert not problems
    for histogram in (m for m in exposed.values() if m.type == "histogram"):
        kinds = {sample.name.removeprefix(histogram.name) for sample in histogram.samples}
        assert kinds == {"_bucket", "_sum", "_count"}
        assert histogram.samples[-1].value > 0, "something was measured"


def test_labels_are_few_and_their_values_a_fixed_set(exposed: dict[str, Metric]) -> None:
    types = {
        "Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration", "TypedExtensionConfig", "Runtime", "Secret",
    }  # fmt: skip
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OTHER"}
    for metric in exposed.values():
        for sample in metric.samples:
            for label, value in sample.labels.items():
                match label:
                    case "type":
                        assert value in types
                    case "method":
                        assert value in methods
                    case "code":
                        assert 200 <= int(value) < 600
                    case "worker":
                        assert value == "0", "by number, of so many as were asked for"
                    case "le":
                        assert float(value) > 0
                    case _:
                        raise AssertionError(f"{sample.name}: {label} is not documented")


def test_a_push_a_refusal_and_bytes_were_counted(exposed: dict[str, Metric]) -> None:
    push = {s.name: s.value for s in exposed["pylis_xds_push_seconds"].samples if not s.labels}
    assert push["pylis_xds_push_seconds_count"] == 1, "what was refused is no push"
    assert sum(s.value for s in exposed["pylis_xds_nacks"].samples) == 1
    assert {s.labels["type"] for s in exposed["pylis_xds_bytes"].samples} >= {"Cluster", "Listener"}


def tables(exposed: dict[str, Metric], index: dict[str, str]) -> dict[str, str]:
    metrics = ["| metric | type | labels | what |", "| ------ | ---- | ------ | ---- |"]
    for metric in sorted(exposed.values(), key=full_name):
        labels = sorted({f"`{label}`" for s in metric.samples for label in s.labels} - {"`le`"})
        row = (f"`{full_name(metric)}`", metric.type, ", ".join(labels), metric.documentation)
        metrics.append(f"| {' | '.join(row)} |".replace("|  |", "| |"))
    debug = [
        "| page | shows |",
        "| ---- | ----- |",
        *(f"| `{page}` | {shows} |" for page, shows in index.items()),
    ]
    return {"metrics": "\n".join(metrics) + "\n", "debug": "\n".join(debug) + "\n"}


def test_the_page_is_drawn_from_what_is_exposed(
    server: RunningServer, exposed: dict[str, Metric], request: pytest.FixtureRequest
) -> None:
    page = wanted = PAGE.read_text()
    for name, table in tables(exposed, server.client().request("GET", "/debug")["pages"]).items():
        mark = f"<!-- generated: {name} -->\n"
        assert mark in page
        wanted = re.sub(rf"{mark}(?:\|[^\n]*\n)*", lambda _, m=mark, t=table: m + t, wanted, count=1)
    if request.config.getoption("--golden-rewrite", default=False):
        PAGE.write_text(wanted)
        return
    assert page == wanted


def ask(server: RunningServer, path: str, token: str | None = None) -> Any:
    client = server.client()
    return replace(client, token=token or client.token).request("GET", path)


@pytest.mark.parametrize("path", DEBUG)
def test_an_administrator_reads_every_page_and_that_is_on_record(server: RunningServer, path: str) -> None:
    found = ask(server, path)
    assert found
    records = ask(server, "/pylis/v1/audit?after=-1")["items"]
    assert (records[-1]["verb"], records[-1]["resource"]) == ("get", "debug")
    assert records[-1]["name"] == path.partition("?")[0]


@pytest.mark.parametrize("path", DEBUG)
def test_nobody_else_does(server: RunningServer, path: str) -> None:
    body = {"user": "eve", "groups": []}
    eve = server.client().request("POST", "/pylis/v1/apitokens", body)["token"]
    with pytest.raises(Failure, match="cannot get path"):
        ask(server, path, eve)
    with pytest.raises(Failure, match="Unauthorized"):
        ask(server, path, "wrong")


def test_pages_tell_what_they_are_for(server: RunningServer) -> None:
    proxies = ask(server, "/debug/proxies")
    assert proxies["states"] == {"synced": 0, "pending": 0, "nacked": 0, "lost": 1}
    queue = ask(server, "/debug/queue")
    assert queue["streams"] == queue["newcomers"] == queue["behind"] == 0
    assert queue["storeRevision"] >= queue["meshRevision"] > 0
    told = ask(server, f"/debug/snapshot/{NODE}")
    assert {one["type"] for one in told["resources"]} >= {"Cluster", "Listener"}
    tasks = ask(server, "/debug/tasks")
    assert tasks["tasks"] >= 5 and any("Reconciler" in one["where"] for one in tasks["at"])
    assert any(t["name"] == "MainThread" for t in ask(server, "/debug/threads")["threads"])
    assert ask(server, "/debug/memory")["objects"] > 1000
    assert ask(server, "/debug/profile?seconds=0.2")["samples"] > 2


@pytest.mark.parametrize("path", ["/debug/snapshot/no/such", "/debug/nothing"])
def test_what_is_not_there_is_not_found(server: RunningServer, path: str) -> None:
    with pytest.raises(Failure) as refused:
        ask(server, path)
    assert getattr(refused.value, "status", 0) == 404


@pytest.mark.parametrize("seconds", ["0", "31", "nan", "x", "-1"])
def test_a_profile_is_bounded(server: RunningServer, seconds: str) -> None:
    with pytest.raises(Failure, match="at most 30"):
        ask(server, f"/debug/profile?seconds={seconds}")
