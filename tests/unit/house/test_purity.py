"""Pure modules stay pure: no async, clock, randomness, logging, files or sockets. Edges are named here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EDGES = (
    "ca/keys.py", "ca/keystore.py", "ca/service.py", "xds/port_credentials.py", "xds/health.py", "xds/serve.py", "xds/desk.py", "xds/schema/derive.py",
    "xds/turns.py", "xds/poller.py", "xds/allocator.py", "controlplane/otel.py", "controlplane/debugging.py", "controlplane/port_reflection.py",
    "xds/workers/channel.py", "xds/workers/desk.py", "xds/workers/pool.py", "xds/workers/process.py", "xds/workers/confine.py",
    "controlplane/api/", "controlplane/cli/", "controlplane/store/", "controlplane/local/session.py", "controlplane/local/running.py",
    "controlplane/local/ports.py", "controlplane/local/directories.py", "controlplane/local/watched_files.py",
    "controlplane/main.py", "controlplane/key_fetcher.py", "controlplane/reconcile.py", "controlplane/node_service.py", "controlplane/operations.py",
    "controlplane/server_identity.py", "controlplane/resources/read.py", "controlplane/authority_watch.py",
    "controlplane/client_status.py", "controlplane/join_socket.py", "controlplane/docker/registrar.py",
    "controlplane/authority_operations.py", "controlplane/federation/fetch.py",
    "controlplane/authority_config.py", "controlplane/downstream_operations.py", "controlplane/nested.py",
    "ca/pkcs11_keys.py", "ca/pkcs11_store.py",
    "controlplane/federation/federator.py", "controlplane/federation/operations.py",
    "controlplane/load/fleet.py", "controlplane/load/installation.py", "controlplane/load/measure.py",
    "controlplane/load/command.py",
    "controlplane/agents.py", "controlplane/presences.py", "controlplane/agent_operations.py", "controlplane/node_attestation.py",
    "controlplane/oidc_keys.py",
    "controlplane/authority_operations.py", "controlplane/svid_callers.py", "controlplane/collector.py", "controlplane/status.py",
    "controlplane/first_start.py", "controlplane/tallies.py",
    "controlplane/acknowledged_everywhere.py", "controlplane/leaving.py",
    "controlplane/stopping.py", "controlplane/opening.py", "controlplane/shared_authority.py",
    "controlplane/addresses.py", "controlplane/people.py", "controlplane/gitops/", "controlplane/trials.py",
)  # fmt: skip
FORBIDDEN = frozenset(
    {
        "asyncio",
        "logging",
        "random",
        "secrets",
        "socket",
        "structlog",
        "subprocess",
        "threading",
        "time",
        "uuid",
        "os",
    }
)
PURE = sorted(
    path
    for folder in ("ca", "policies", "xds", "controlplane")
    for path in (ROOT / folder).rglob("*.py")
    if not str(path.relative_to(ROOT)).startswith(EDGES)
)


@pytest.mark.parametrize("path", PURE, ids=lambda p: str(p.relative_to(ROOT)))
def test_is_pure(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = [
        f"line {node.lineno}: {what}"
        for node in ast.walk(tree)
        if (what := _impure(node)) is not None and hasattr(node, "lineno")
    ]
    assert not found


def _impure(node: ast.AST) -> str | None:
    match node:
        case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
            return "async"
        case ast.Import(names=names):
            return next((f"imports {n.name}" for n in names if n.name.partition(".")[0] in FORBIDDEN), None)
        case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in FORBIDDEN:
            return f"imports {module}"
        case ast.Call(func=ast.Attribute(attr="now" | "utcnow" | "today" as name)):
            return f"asks the clock ({name})"
        case ast.Call(func=ast.Name(id="open" | "print" | "input" as name)):
            return name
        case _:
            return None


def test_no_file_has_a_name_that_says_nothing() -> None:
    names = {"utils", "helpers", "common", "base", "manager"}
    found = [
        p
        for f in ("ca", "policies", "xds", "controlplane", "agent", "demo", "tests", "bench")
        for p in (ROOT / f).rglob("*.py")
        if p.stem in names
    ]
    assert not found
