"""`pylis proxy status` and `config`: what each sidecar holds and refused, and what it was told."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from controlplane.cli.client import Client, options
from controlplane.cli.output import Exit, Failure, columns, emit, format_option
from controlplane.proxy_config import compare


@click.group()
def proxy() -> None:
    """What each sidecar holds."""


@proxy.command()
@click.argument("name", default="")
@format_option
@options
def status(name: str, output: str, client: Callable[[], Client]) -> None:
    """Show every sidecar: synced, pending, nacked (with Envoy's words) or lost.

    \b
    Example:
      pylis proxy status shop/orders
    """
    answer = client().request("GET", "/pylis/v1/proxies")
    items: list[dict[str, Any]] = [i for i in answer["items"] if name in ("", i["name"])]
    if name and not items:
        raise Failure(f"no sidecar {name} has connected", hint="pylis proxy status shows all", code=Exit.NO)
    emit({"items": items}, output, lambda: _table(items))


@proxy.command()
@click.argument("name")
@click.option("--diff", is_flag=True, help="Against what Envoy says it holds; exit 1 when they differ.")
@click.option("--admin", default="", help="Envoy's admin address: a socket's path, or host:port.")
@format_option
@options
def config(name: str, diff: bool, admin: str, output: str, client: Callable[[], Client]) -> None:
    """Show what a sidecar is told, resource by resource (-o json|yaml: whole).

    \b
    Example:
      pylis proxy config shop/orders -o yaml
      pylis proxy config shop/orders --diff --admin .pylis/agent/run/shop.orders.admin
    """
    if diff and not admin:
        raise Failure(
            "--diff needs --admin", hint="where Envoy's admin interface listens: a path or host:port"
        )
    answer = client().request("GET", f"/pylis/v1/proxyconfigs?name={quote(name, safe='')}")
    if not diff:
        header = ["TYPE", "NAME", "VERSION", "BYTES"]
        rows = [[r["type"], r["name"], r["version"], str(r["bytes"])] for r in answer["resources"]]
        emit(answer, output, lambda: columns(header, rows))
        return
    found = compare(answer["resources"], _dump(admin))
    differences = [{"type": d.type, "name": d.name, "says": d.says} for d in found]
    lines = [f"{d.type}  {d.name}  {d.says}" for d in found] or [f"Envoy holds what {name} was told"]
    emit({"name": name, "differences": differences}, output, lambda: lines)
    if found:
        raise SystemExit(Exit.NO)


def _dump(admin: str) -> dict[str, Any]:
    """Envoy's own account. Raises: Failure."""
    connection = http.client.HTTPConnection("envoy" if "/" in admin else admin, timeout=10)
    try:
        if "/" in admin:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(10)
            connection.sock.connect(admin.removeprefix("unix://"))
        connection.request("GET", "/config_dump?include_eds")
        return json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failure(f"Envoy's admin interface at {admin}: {error}", code=Exit.UNREACHABLE) from error
    finally:
        connection.close()


def _table(items: list[dict[str, Any]]) -> list[str]:
    header = ["PROXY", "IDENTITY", "STATE", "REVISION", "CONFIG", "SVID", "NOTE"]
    return columns(header, [_row(item) for item in items])


def _row(item: dict[str, Any]) -> list[str]:
    synced, offered = item["syncedRevision"], item["revision"]
    state = "NACKED" if item["state"] == "nacked" else item["state"]
    if state == "lost":
        state = f"lost {_ago(item['since'])}"
    return [
        item["name"],
        item["identity"].removeprefix("spiffe://").partition("/")[2],
        state,
        str(offered) if synced == offered else f"{synced}→{offered}",
        f"{item['configBytes'] / 1000:.0f} kB",
        _left(item["svidExpires"]),
        item["note"],
    ]


def _left(expires: str | None) -> str:
    if expires is None:
        return ""
    return f"{max(0, int((datetime.fromisoformat(expires) - datetime.now(UTC)).total_seconds() // 60))} min"


def _ago(since: str) -> str:
    return f"{int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())} s"
