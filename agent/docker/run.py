"""Wires the container agent: joins, links, serves sockets to sidecars, keeps every labelled container meshed."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import structlog

from agent import node_identity
from agent.attest import AttestError, attest
from agent.docker import mesher as meshing
from agent.docker.attestation import SidecarAttestation
from agent.docker.engine import Engine, EngineError, EngineReplacedError
from agent.docker.mesher import Mesher
from agent.docker.relay import Relay
from agent.docker.sidecar import RUN, Node
from agent.evidence import EvidenceFiles
from agent.holdings import Holdings
from agent.link import Link
from agent.node_identity import NodeIdentity
from agent.run import alone
from agent.sds import SecretService
from agent.socket_server import SocketServer
from agent.tokens import Tokens
from agent.workload_api import WorkloadApi
from ca.attest.join_token import JoinToken
from ca.errors import TokenError
from ca.keystore import write_private

GATE: Final = Path("/opt/pylis/bin/pylis-gate")
_LONGEST_PAUSE: Final = 5.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """`run` holds the sockets that sidecars see, `gate` the directory the start-up gate is put into.

    `join_socket`: where a join token is asked for; `token`: one given by hand. `mesh`: as in `sidecar.Node`.
    """

    data_dir: Path
    run: Path
    gate: Path
    image: str
    join_socket: Path | None
    token: JoinToken | None
    mesh: str = ""


class DockerAgent:
    def __init__(self, config: DockerConfig, node: NodeIdentity, engine: Engine, volume: str) -> None:
        self._config = config
        self._node = node
        self._holdings = Holdings()
        self._stopping = asyncio.Event()
        self._link = Link(node, self._holdings, self._renewed, self._report, self._attest_again)
        domain = node.bundle.trust_domain.name
        self._mesher = Mesher(
            engine,
            Node(node.agent, domain, config.image, volume, config.mesh),
            self._holdings,
            self._link.report,
            self._report,
        )
        attestation = SidecarAttestation(self._holdings.selectors, self._mesher.selectors_of)
        services = [
            SecretService(self._holdings, attestation, self._stopping),
            WorkloadApi(self._holdings, attestation, Tokens(self._holdings, self._link.jwt), self._stopping),
        ]
        self._socket = SocketServer(services, self._stopping, self._holdings.announce)
        self._relay = Relay(config.run / "xds.sock", lambda: self._node.sidecars or self._node.xds)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Sidecars of running containers stay, and go on. Raises: EngineReplacedError."""
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end.set)
        await self._socket.listen(self._config.run / "agent.sock")
        await self._relay.listen()
        tasks = [asyncio.ensure_future(t) for t in (self._link.run(), self._mesher.run())]
        stop = asyncio.ensure_future(end.wait())
        try:
            done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stop}:
                task.result()
        finally:
            for task in (stop, *tasks):
                task.cancel()
            await asyncio.wait((stop, *tasks))
            await self._mesher.settle()
            await self._relay.close()
            await self._socket.stop()

    def _renewed(self, node: NodeIdentity) -> None:
        self._node = node
        _save(node, self._config.data_dir)

    async def _attest_again(self) -> NodeIdentity | None:
        if self._config.join_socket is None:
            return None
        try:
            return await fresh(self._config)
        except AttestError as error:
            log.warning("agent.cannot_join", error=str(error))
            return None

    def _report(self) -> None:
        status: dict[str, Any] = {
            "agent": self._node.agent,
            "connected": self._link.is_connected,
            "error": self._link.error,
            "clockBehind": round(self._link.clock_behind, 1),
            "version": version("pylis"),
            "notTaken": [{"workload": n.workload, "reason": n.reason} for n in self._link.not_taken],
            **meshing.status(self._mesher),
        }
        try:
            write_private(self._config.data_dir / "status.json", json.dumps(status).encode())
        except OSError as error:  # a full disk is no reason to stop
            log.warning("status.not_saved", error=error.strerror)


def _save(node: NodeIdentity, directory: Path) -> None:
    try:
        node_identity.save(node, directory)
    except OSError as error:
        log.warning("identity.not_saved", error=error.strerror)


async def fresh(config: DockerConfig) -> NodeIdentity:
    """A new identity by a token of the join socket, or the one that was given. Raises: AttestError."""
    token = await ask_join_socket(config.join_socket) if config.join_socket is not None else config.token
    if token is None:
        raise AttestError("this agent has not joined yet: give it --join-socket or a join token", final=True)
    return await attest(token, EvidenceFiles())


async def ask_join_socket(path: Path) -> JoinToken:
    """Raises: AttestError."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_unix_connection(str(path))
            line = await reader.readline()
            writer.close()
        return JoinToken.decode(line.decode())
    except (OSError, TimeoutError, UnicodeDecodeError, TokenError) as error:
        raise AttestError(f"no join token from {path}: {error}", final=False) from error


async def join(config: DockerConfig) -> NodeIdentity:
    known = node_identity.load(config.data_dir)
    if known is not None and not known.is_expired:
        return known
    pause = 0.1
    while True:
        try:
            node = await fresh(config)
        except AttestError as error:
            if error.final and config.join_socket is None:
                raise
            log.warning("agent.cannot_join", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        else:
            _save(node, config.data_dir)
            return node


async def _engine() -> Engine:
    """Waits for one. Raises: EngineReplacedError."""
    while True:
        try:
            engine = await asyncio.to_thread(Engine.connect)
            await asyncio.to_thread(engine.version)
        except EngineReplacedError:
            raise
        except EngineError as error:
            log.warning("engine.failed", error=str(error))
            await asyncio.sleep(1)
        else:
            return engine


def put_gate(directory: Path, gate: Path = GATE) -> None:
    """This version's gate, for containers to mount; a container that runs the old one keeps it."""
    if not gate.exists():
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        copy = directory / f".{gate.name}"
        shutil.copy(gate, copy)
        copy.replace(directory / gate.name)
    except OSError as error:  # no volume is mounted there: nobody asks for a gate
        log.info("gate.not_put", directory=str(directory), error=error.strerror)


async def main(config: DockerConfig) -> None:
    """Raises: AttestError, BusyError, EngineReplacedError, OSError."""
    with alone(config.data_dir):
        put_gate(config.gate)
        engine = await _engine()
        volume = await asyncio.to_thread(engine.run_volume, str(config.run))
        node = await join(config)
        log.info("agent.joined", agent=node.agent, trust_domain=node.bundle.trust_domain.name)
        try:
            await DockerAgent(config, node, engine, volume).run()
        finally:
            engine.close()


DEFAULT_RUN: Final = Path(RUN)
