"""The workers' processes, from the server (an edge): started, watched, replaced; each reserved the same port.

Their proxies are on the server's desk like any others. `start`, then `run` until cancelled, then `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import structlog

from xds.desk import MeshDesk
from xds.errors import WorkersError
from xds.peer import Peer
from xds.serve import AddressInUseError
from xds.workers.channel import Certified, Channel

START_SECONDS: Final = 60.0
LEAVE_SECONDS: Final = 3.0  # for a worker to end its streams, before it is killed
_PORT_SECONDS: Final = 3.0  # for the workers of a server that has just gone
_FIRST_DELAY: Final = 0.1
_MOST_DELAY: Final = 30.0
_STEADY_SECONDS: Final = 60.0  # who lived that long begins anew with the first delay
_KEPT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")

log = structlog.get_logger()


class WorkerPool:
    """`certify` signs a worker's CSR; `prove` says whose a certificate chain is, None: nobody's that is believed."""

    def __init__(
        self,
        address: str,
        count: int,
        desk: MeshDesk,
        certify: Callable[[bytes], Certified],
        prove: Callable[[bytes], Peer | None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._host, _, port = address.rpartition(":")
        self.port = int(port)
        self._count = count
        self._desk = desk
        self._certify = certify
        self._prove = prove
        self._now = now
        self._held: socket.socket | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._channels: dict[int, Channel] = {}
        self._changed = asyncio.Event()
        self._failure = ""

    async def start(self) -> None:
        """Until all of them listen. Raises: AddressInUseError, WorkersError."""
        self._held = await reserve(self._host.strip("[]"), self.port, _PORT_SECONDS)
        self.port = self._held.getsockname()[1]
        self._keeping = asyncio.create_task(self._keep_all())
        try:
            async with asyncio.timeout(START_SECONDS):
                while self.listening < self._count and not self._failure:
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            self._failure = f"they do not listen after {START_SECONDS:.0f} s"
        if self.listening < self._count:
            await self.stop()
            raise WorkersError(f"the xDS workers did not start: {self._failure}; the log above says more")

    async def run(self) -> None:
        """Until cancelled. What goes wrong in here is raised here."""
        if self._keeping is not None:
            await asyncio.shield(self._keeping)

    async def stop(self) -> None:
        """Workers end their streams and leave; who does not is killed."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        if self._held is not None:
            self._held.close()

    async def refresh_identity(self) -> None:
        """Afterwards every worker presents a new certificate and believes the authorities of now.

        Raises: OSError, TimeoutError; who did not keeps what it has.
        """
        async with asyncio.TaskGroup() as tasks:
            for channel in [c for c in self._channels.values() if c.is_listening]:
                tasks.create_task(channel.renew())

    @property
    def listening(self) -> int:
        return sum(channel.is_listening for channel in self._channels.values())

    def lines(self) -> Iterator[str]:
        """Prometheus text."""
        yield "# HELP pylis_xds_workers Worker processes that listen for sidecars."
        yield "# TYPE pylis_xds_workers gauge"
        yield f"pylis_xds_workers {self.listening}"
        yield "# HELP pylis_xds_worker_streams Open streams of each worker process."
        yield "# TYPE pylis_xds_worker_streams gauge"
        for place, channel in sorted(self._channels.items()):
            yield f'pylis_xds_worker_streams{{worker="{place}"}} {channel.streams}'

    async def _keep_all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for place in range(self._count):
                tasks.create_task(self._keep(place))

    async def _keep(self, place: int) -> None:
        loop, delay = asyncio.get_running_loop(), _FIRST_DELAY
        while True:
            began = loop.time()
            why = await self._live(place)
            if loop.time() - began > _STEADY_SECONDS:
                delay = _FIRST_DELAY
            log.error("xds.worker_ended", worker=place, why=why, again_in_seconds=delay)
            self._failure = self._failure or why
            self._changed.set()
            await asyncio.sleep(delay)
            delay = min(delay * 2, _MOST_DELAY)

    async def _live(self, place: int) -> str:
        """One process, from its start to its end; says why it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            # not by the event loop: that forks, and grpc's threads do not like it
            process = await asyncio.to_thread(
                subprocess.Popen,
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "xds.workers",
                    str(theirs.fileno()),
                    f"{self._host}:{self.port}",
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        channel = Channel(writer, self._desk, self._certify, self._prove, self._now, self._changed.set)
        self._channels[place] = channel
        log.info("xds.worker_started", worker=place, pid=process.pid)
        try:
            why = await channel.serve(reader)
        finally:
            del self._channels[place]
            writer.close()
            await asyncio.to_thread(_reap, process)
        return why or f"exit code {process.returncode}"


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """No setting of the server's, and so no secret."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


async def reserve(host: str, port: int, patience_seconds: float) -> socket.socket:
    """A port that is ours as long as the socket is open; it never listens. Raises: AddressInUseError."""
    loop = asyncio.get_running_loop()
    late = loop.time() + patience_seconds
    while True:
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, where = found[0]
            with socket.socket(family, kind, protocol) as alone:  # fails where anybody listens
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(where)
            held = socket.socket(family, kind, protocol)
            try:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                held.bind(where)
            except OSError:
                held.close()
                raise
        except OSError as error:
            if loop.time() >= late:
                raise AddressInUseError(f"{host}:{port}") from error
            await asyncio.sleep(0.1)
        else:
            return held
