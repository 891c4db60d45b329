"""`pylis proxy status`: what each sidecar holds, and what it refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from controlplane.cli.client import Client, options
from controlplane.cli.output import Exit, Failure, columns, emit, format_option


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
