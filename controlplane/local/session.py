"""Running a local mesh: one control plane, one agent, and what the agent supervises; all ended in order.

Everything is in the state directory: keys, store, logs, and `mesh.json`, which says what runs where.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ca.keystore import write_private
from controlplane.cli.apply import apply_all
from controlplane.cli.client import Client, UnreachableError, connect
from controlplane.cli.output import Exit, Failure, fail_with
from controlplane.local import layout
from controlplane.local.directories import entries, remove, socket_directory
from controlplane.local.layout import Placed
from controlplane.local.mesh_file import MeshFile
from controlplane.local.ports import answers, free_ports, is_free
from controlplane.local.running import MESH_FILE, STEP_SECONDS, STOP_SECONDS, refuse_second
from controlplane.resources.kinds import KINDS, Kind
from controlplane.resources.read import check, read_paths
from policies.document import Document

START_SECONDS: Final = 60.0
DEFAULT_PORTS: Final = (15080, 15012)

Say = Callable[[str, str], None]  # (step, detail)


@dataclass
class Session:
    """A context manager: entering starts the mesh, leaving ends it and removes what it made."""

    mesh: MeshFile
    mesh_path: Path
    state_dir: Path
    say: Say
    access_log: str = "denied"
    client: Client | None = None
    placed: tuple[Placed, ...] = ()
    _children: list[tuple[str, subprocess.Popen[bytes]]] = field(
        default_factory=list[tuple[str, "subprocess.Popen[bytes]"]]
    )
    _arguments: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    _before: frozenset[Path] | None = None  # what stood in the state directory; None: it is not ours to clear
    _owned: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])

    @property
    def logs(self) -> Path:
        return self.state_dir / "logs"

    def __enter__(self) -> Session:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        refuse_second(self.state_dir)
        self.policy_documents()  # a mistake in a policy is said before anything is started
        before = frozenset(entries(self.state_dir))
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.logs.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            hint = "choose another place with --state-dir DIR"
            raise Failure(f"cannot use {self.state_dir} for the mesh's state: {why}", hint=hint) from error
        self._before = before
        self._write_mesh(ready=False)
        started = time.monotonic()
        self._start_server()
        self.say("control plane", f"ready  {time.monotonic() - started:.1f} s")
        socket_dir = socket_directory(self.state_dir)
        ports = free_ports(layout.ports_needed(self.mesh))
        self.placed = layout.place(self.mesh, iter(ports), str(socket_dir))
        connected = self.client = connect(self.state_dir / "kubeconfig")
        registry = [_with_kind(value) for value in layout.resources(self.placed)]
        apply_all(connected, registry)
        self.apply_policies()
        self._start_agent()
        self._wait_until_synced(started)
        self._write_mesh(ready=True)

    def policy_documents(self) -> list[tuple[Kind, Document]]:
        """Raises: Failure with every problem."""
        paths = [self.mesh_path.parent / p for p in self.mesh.policies]
        documents, unreadable = read_paths(paths)
        accepted, problems = check(documents)
        errors = [p for p in (*unreadable, *problems) if p.is_error]
        if errors:
            raise fail_with(errors, "nothing was applied.")
        return accepted

    def apply_policies(self) -> list[str]:
        """Applies the policies as they are on disk; what was removed from the files is deleted. Raises: Failure."""
        client = self.client
        if client is None:
            raise Failure("the mesh is not running")
        accepted = self.policy_documents()
        lines = apply_all(client, accepted)
        wanted = {(k.resource, d.namespace or "default", d.name) for k, d in accepted}
        for resource, namespace, name in self._owned - wanted:
            kind = next(k for k in KINDS if k.resource == resource)
            client.request("DELETE", f"/apis/{kind.api_version}/namespaces/{namespace}/{kind.plural}/{name}")
            lines.append(f"{kind.singular}/{namespace}/{name} deleted")
        self._owned = wanted
        return lines

    def check_alive(self) -> None:
        """Raises: Failure when the control plane or the agent has ended by itself."""
        for name, child in self._children:
            if child.poll() is not None:
                log = self.logs / f"{name}.log"
                raise Failure(
                    f"the {name} ended with exit code {child.returncode}{_tail(log)}", hint=f"its log: {log}"
                )

    def revive(self) -> None:
        """Starts the control plane or the agent again when one was killed: sidecars kept serving meanwhile."""
        for index, (name, child) in enumerate(self._children):
            if child.poll() is not None:
                self.say(name, f"ended with exit code {child.returncode}; it is started again")
                del self._children[index]
                self._spawn(name, self._arguments[name], {})
                self._write_mesh(ready=True)
                return

    def close(self) -> None:
        """Agent first, so that sidecars end in order; then the control plane. Leaves no process and no socket."""
        for _, child in reversed(self._children):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                try:
                    child.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
        self._children.clear()
        if self._before is not None:
            (self.state_dir / MESH_FILE).unlink(missing_ok=True)
            for path in entries(self.state_dir):
                if path not in self._before:
                    remove(path)
            remove(socket_directory(self.state_dir, make=False))

    def _start_server(self) -> None:
        api, xds = (f"127.0.0.1:{port if is_free(port) else 0}" for port in DEFAULT_PORTS)
        is_usual = not (api.endswith(":0") or xds.endswith(":0"))
        try:
            if is_usual:
                self._serve(api, xds)
        except Failure:
            if "cannot listen on" not in (self.logs / "server.log").read_text(errors="replace"):
                raise
            is_usual = False  # somebody was faster
            self._children.pop()
        if not is_usual:
            self.say("note", "15080 or 15012 is taken: other ports are used")
            self._serve("127.0.0.1:0", "127.0.0.1:0")

    def _serve(self, api: str, xds: str) -> None:
        arguments = ["--data-dir", str(self.state_dir), "--api", api, "--xds", xds]
        arguments += ["--trust-domain", self.mesh.trust_domain, "--access-log", self.access_log]
        if self.mesh.mesh_config:
            file = self.state_dir / "mesh-config.json"
            file.write_text(json.dumps(dict(self.mesh.mesh_config)))
            arguments += ["--mesh-config", str(file)]
        self._spawn("server", ["server", *arguments], {})
        log = self.logs / "server.log"
        self._until(lambda: "ready  api" in log.read_text(errors="replace"), "the control plane to be ready")
        # once started again it must be found where sidecars and the agent know it
        words = next(text for text in log.read_text().splitlines() if text.startswith("ready")).split()
        where = ["--api", words[2].removeprefix("https://"), "--xds", words[4]]
        self._arguments["server"] = ["server", *arguments, *where]

    def _start_agent(self) -> None:
        client = self.client
        if client is None:
            raise Failure("the mesh is not running")
        token = client.request("POST", "/pylis/v1/tokens", {"agent": layout.AGENT, "ttlSeconds": 60})["token"]
        directory = self.state_dir.absolute() / "agent"
        directory.mkdir(exist_ok=True, mode=0o700)
        body = layout.workloads_file(
            self.placed, sys.executable, str(self.mesh_path.parent.absolute()), str(self.logs.absolute())
        )
        write_private(directory / "workloads.json", json.dumps(body).encode())
        with contextlib.suppress(FileNotFoundError):
            (directory / "node.json").unlink()  # of an earlier mesh
        arguments = [
            "agent",
            "run",
            "--data-dir",
            str(directory),
            "--workloads",
            str(directory / "workloads.json"),
        ]
        self._spawn("agent", [*arguments, "--drain-seconds", "0.2"], {"PYLIS_AGENT_TOKEN": token})

    def _spawn(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        how = os.O_APPEND if name in self._arguments else os.O_TRUNC
        self._arguments[name] = arguments
        log = os.open(self.logs / f"{name}.log", os.O_WRONLY | os.O_CREAT | how, 0o600)
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "controlplane.cli", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **env}, start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(log)
        self._children.append((name, child))
        self._write_mesh(ready=False)

    def _wait_until_synced(self, started: float) -> None:
        wanted = {p.workload.full_name for p in self.placed}

        def identities() -> bool:
            return len(self.agent_status().get("identities", [])) >= len(wanted)

        def synced() -> bool:
            self._workloads_alive()
            items = self.proxies()
            return wanted <= {i["name"] for i in items if i["state"] == "synced"}

        self._until(identities, "the identities to be issued")
        domain = f"spiffe://{self.mesh.trust_domain}/…"
        self.say(
            "identities",
            f"{len(wanted)} issued  {time.monotonic() - started:.1f} s   {domain}   keys never left their agent",
        )
        self._until(synced, "the sidecars to be in sync")
        self._until(self._applications_listen, "the workloads to listen on their ports")
        self.say("sidecars", f"{len(wanted)} synced  {time.monotonic() - started:.1f} s")

    def agent_status(self) -> dict[str, Any]:
        try:
            return json.loads((self.state_dir / "agent" / "status.json").read_text())
        except (OSError, ValueError):
            return {}

    def proxies(self) -> list[dict[str, Any]]:
        return self.client.request("GET", "/pylis/v1/proxies")["items"] if self.client else []

    def _workloads_alive(self) -> None:
        """Raises: Failure for a command that exits at once."""
        for workload in self.agent_status().get("workloads", []):
            app = workload.get("app", {})
            if app.get("restarts", 0) >= 2 or app.get("state") in ("failed", "ended"):
                name = f"{workload['namespace']}/{workload['name']}"
                hint = f"mend its command in {self.mesh_path}, then run pylis up again"
                raise Failure(
                    f"workload {name} does not stay up: {app.get('detail', '')}", hint=hint, code=Exit.INVALID
                )

    def _applications_listen(self) -> bool:
        self._workloads_alive()
        return all(answers(address) for p in self.placed for address in p.app.values())

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while not self._holds(condition, end):
            self.check_alive()
            if time.monotonic() > end:
                raise Failure(f"waited {START_SECONDS:.0f} s for {what}", hint=f"the logs are in {self.logs}")
            time.sleep(STEP_SECONDS)

    def _holds(self, condition: Callable[[], bool], end: float) -> bool:
        """A control plane that cannot be reached is asked again: if it has ended, `check_alive` says so and why."""
        try:
            return condition()
        except UnreachableError:
            if time.monotonic() > end:
                raise
            return False

    def _write_mesh(self, *, ready: bool) -> None:
        body = {
            "pid": os.getpid(),
            "children": {name: child.pid for name, child in self._children},
            "ready": ready,
            "trustDomain": self.mesh.trust_domain,
            "workloads": {
                p.workload.full_name: {
                    "httpProxy": f"127.0.0.1:{p.http_proxy}",
                    "inbound": {n: f"127.0.0.1:{port}" for n, port in p.inbound.items()},
                    "upstreams": {n: f"127.0.0.1:{port}" for n, port in p.upstreams.items()},
                    "accessLog": str(
                        self.logs.absolute() / f"{p.workload.namespace}-{p.workload.name}.access.log"
                    ),
                }
                for p in self.placed
            },
        }
        write_private(self.state_dir / MESH_FILE, json.dumps(body, indent=1).encode())


def _with_kind(value: dict[str, Any]) -> tuple[Kind, Document]:
    from controlplane.resources.kinds import by_api_version

    kind = by_api_version(value["apiVersion"], value["kind"])
    if kind is None:
        raise ValueError(f"{value['kind']} is in the kind table")
    return kind, Document(value)


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()[-5:]
        return "".join(f"\n    {line}" for line in lines)
    return ""
