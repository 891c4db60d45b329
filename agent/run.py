"""Wires the agent: joins, links, serves the socket, supervises; ends in order on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import signal
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from agent import clock, envoy, node_identity, supervise, workloads
from agent.attest import AttestError, attest
from agent.bootstrap import Sidecar
from agent.docker_engine import DockerEngine
from agent.evidence import EvidenceFiles
from agent.holdings import Holdings
from agent.link import Link
from agent.node_identity import NodeIdentity
from agent.reflection import Reflection
from agent.sds import SecretService
from agent.socket_server import SocketServer
from agent.supervise import Supervisor
from agent.tokens import Tokens
from agent.watch import Watch
from agent.workload_api import WorkloadApi
from agent.workload_attestation import WorkloadAttestation
from agent.workloads import WorkloadsFileError, WorkloadSpec
from ca.attest import supervised
from ca.attest.join_token import JoinToken
from ca.keystore import write_private

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """`envoy` "" finds it; `no_envoy`: identities only. `workloads` None: nothing is started."""

    data_dir: Path
    socket: Path
    token: JoinToken | None
    workloads: Path | None
    no_envoy: bool
    envoy: str
    drain_seconds: float
    evidence: EvidenceFiles
    docker_socket: Path


class Agent:
    def __init__(self, config: AgentConfig, node: NodeIdentity, envoy_path: str) -> None:
        self._config = config
        self._node = node
        self._envoy = envoy_path
        self._holdings = Holdings()
        self._stopping = asyncio.Event()
        self._error: str | None = None
        self._supervisor = Supervisor(
            config.data_dir,
            None if config.no_envoy else self._envoy_command,
            {**supervise.environment(), "SPIFFE_ENDPOINT_SOCKET": f"unix://{config.socket}"},
            self._identity_ready,
            self._processes_changed,
            config.drain_seconds,
        )
        attestation = WorkloadAttestation(
            self._supervisor.workload_of_session, self._holdings.selectors, DockerEngine(config.docker_socket)
        )
        self._watch = Watch(
            self._supervisor.missing, self._is_configured, lambda watched: self._link.readiness(watched)
        )
        self._link = Link(node, self._holdings, self._renewed, self._report, self._attest_again)
        services = [
            SecretService(self._holdings, attestation, self._stopping),
            WorkloadApi(self._holdings, attestation, Tokens(self._holdings, self._link.jwt), self._stopping),
            Reflection(self._stopping),
        ]
        self._socket = SocketServer(services, self._stopping, self._holdings.announce)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; SIGHUP reads the workloads file again."""
        loop, end, again = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end.set)
        loop.add_signal_handler(signal.SIGHUP, again.set)
        await self._socket.listen(self._config.socket)
        again.set()
        applying = asyncio.ensure_future(self._apply_workloads(again))
        tasks = [*map(asyncio.ensure_future, (self._link.run(), self._report_changes())), applying]
        stop = asyncio.ensure_future(end.wait())
        try:
            done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stop}:
                task.result()
        finally:
            applying.cancel()
            await asyncio.wait({applying})
            self._watch.leave()  # callers are told while the sidecars drain
            await self._supervisor.stop()
            await self._watch.stop()
            for task in (stop, *tasks):
                task.cancel()
            await asyncio.wait((stop, *tasks))
            await self._socket.stop()
            self._config.socket.unlink(missing_ok=True)

    async def _apply_workloads(self, again: asyncio.Event) -> None:
        while True:
            await again.wait()
            again.clear()
            if self._config.workloads is None:
                continue
            try:
                specs = workloads.read(self._config.workloads)
                self._watch.follow(specs)  # what is gone is not ready before it stops
                await self._supervisor.apply(specs)
                self._error = None
            except WorkloadsFileError as error:
                self._error = str(error)
                log.error("workloads.unreadable", error=str(error))  # noqa: TRY400 - the text says all
            self._report()

    def _processes_changed(self) -> None:
        self._watch.processes_changed()
        self._report()

    async def _is_configured(self, spec: WorkloadSpec) -> bool:
        if not spec.sidecar or self._config.no_envoy:
            return True
        return await envoy.is_configured(envoy.admin_socket(self._config.data_dir, spec))

    async def _identity_ready(self, spec: WorkloadSpec) -> None:
        """A workload starts when its identity is there: its first request already has one."""
        domain = self._node.bundle.trust_domain
        wanted = {f"{domain.id}/ns/{spec.namespace}/sa/{spec.service_account}"}
        wanted |= supervised.selectors(spec.namespace, spec.name)
        wake = asyncio.Event()
        self._holdings.wait(wake)
        try:
            while not any(
                wanted & {h.entry.spiffe_id, *h.entry.selectors} for h in self._holdings.held.values()
            ):
                await wake.wait()
                wake.clear()
        finally:
            self._holdings.stop_waiting(wake)

    async def _report_changes(self) -> None:
        wake = asyncio.Event()
        self._holdings.wait(wake)
        while True:
            self._report()
            await wake.wait()
            wake.clear()

    def _envoy_command(self, spec: WorkloadSpec) -> list[str]:
        host, _, port = (self._node.sidecars or self._node.xds).rpartition(":")
        sidecar = Sidecar(
            spec.namespace,
            spec.name,
            spec.service_account,
            self._node.bundle.trust_domain.name,
            host.strip("[]"),
            int(port),
            str(self._config.socket),
            str(envoy.admin_socket(self._config.data_dir, spec)),
        )
        return envoy.command(self._envoy, self._config.data_dir, spec, sidecar)

    async def _attest_again(self) -> NodeIdentity | None:
        """With evidence that can be shown twice; a join token cannot."""
        token, evidence = self._config.token, self._config.evidence
        if token is None or token.secret or not evidence.can_attest_again:
            return None
        try:
            node = await attest(token, evidence)
        except AttestError as error:
            log.warning("agent.cannot_join", error=str(error))
            return None
        log.info("agent.joined", agent=node.agent, trust_domain=node.bundle.trust_domain.name)
        return node

    def _renewed(self, node: NodeIdentity) -> None:
        self._node = node
        try:
            node_identity.save(node, self._config.data_dir)
        except OSError as error:  # a restart will need a token; this run does not
            log.warning("identity.not_saved", error=error.strerror)

    def _report(self) -> None:
        status: dict[str, Any] = {
            "agent": self._node.agent,
            "connected": self._link.is_connected,
            "identities": [
                {
                    "registration": h.entry.name,
                    "spiffeId": h.entry.spiffe_id,
                    "notAfter": h.not_after.isoformat(),
                }
                for h in self._holdings.held.values()
            ],
            "workloads": self._supervisor.status(),
            "readiness": dict(self._watch.told),
            "error": self._error or self._link.error,
            "clockBehindSeconds": round(self._link.clock_behind),
            "clock": clock.advice(self._link.clock_behind),
        }
        try:
            write_private(self._config.data_dir / "status.json", json.dumps(status).encode())
        except OSError as error:  # a full disk is no reason to stop
            log.warning("status.not_saved", error=error.strerror)


async def join(config: AgentConfig) -> NodeIdentity:
    """The identity of an earlier run, or a new one for the token. Raises: AttestError."""
    known = node_identity.load(config.data_dir)
    if known is not None and not known.is_expired and _is_same_mesh(known, config.token):
        return known
    if config.token is None:
        text = "this agent's identity has expired" if known else "this agent has not joined yet"
        raise AttestError(f"{text}: give it a join token (pylis token create)", final=True)
    pause = 0.1
    while True:
        try:
            node = await attest(config.token, config.evidence)
        except AttestError as error:
            if error.final:
                raise
            log.warning("agent.cannot_join", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)
        else:
            node_identity.save(node, config.data_dir)
            return node


def _is_same_mesh(known: NodeIdentity, token: JoinToken | None) -> bool:
    """A token for another control plane, or another name, is an order to move."""
    if token is None:
        return True
    return token.root_hash in known.bundle.root_hashes and token.agent in ("", known.agent)


class BusyError(Exception):
    """Another agent uses this data directory."""


@contextlib.contextmanager
def alone(directory: Path) -> Generator[None]:
    """Two agents would take each other's children over. Raises: BusyError."""
    with (directory / "agent.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"another agent runs in {directory}: stop it, or give another --data-dir"
            ) from error
        yield


async def main(config: AgentConfig, envoy_path: str) -> None:
    """Raises: AttestError, BusyError, OSError."""
    with alone(config.data_dir):
        node = await join(config)
        log.info("agent.joined", agent=node.agent, trust_domain=node.bundle.trust_domain.name)
        await Agent(config, node, envoy_path).run()
