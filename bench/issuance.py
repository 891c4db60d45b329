"""Identity goals: I1 X.509-SVIDs and I2 JWT-SVIDs signed in process, I7 taint of an authority to the last stream.

I1 and I2 are CPU per SVID on one core, beside the bare cryptography of the same run: the machine's own speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from spiffe._proto import workload_pb2

from bench.figures import line
from bench.identity import FETCH, HEADER, OWN_UID, REGISTRATIONS, agent, registration
from bench.server_process import server
from ca import keys
from ca.keystore import MemoryKeystore
from ca.registrations import Registration
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain, workload_id
from controlplane.cli.client import connect

AUTHORITIES: Final = "/pylis/v1/authorities"
STREAMS: Final = 100


def _cpu_micros(work: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times * 1e6


def signing(rounds: int = 15, times: int = 200) -> None:
    """I1 and I2 in process."""
    domain = TrustDomain.parse("bench.example")
    authority = CertificateAuthority.open(domain, MemoryKeystore())
    one = Registration(
        "shop/orders", workload_id(domain, "shop", "orders"), frozenset({"unix:uid:1"}), frozenset({"*"})
    )
    requests = iter([keys.csr_for(keys.new_key()) for _ in range(rounds * times)])
    key, text = keys.new_key(), b"x" * 300
    signature = key.sign(text, ec.ECDSA(hashes.SHA256()))

    def floor() -> None:
        """What the signing request and the certificate cost at the least: a check and a signature."""
        key.public_key().verify(signature, text, ec.ECDSA(hashes.SHA256()))
        key.sign(text, ec.ECDSA(hashes.SHA256()))

    x509, jwt, bare = list[float](), list[float](), list[float]()
    for _ in range(rounds):
        bare.append(_cpu_micros(floor, times))
        x509.append(_cpu_micros(lambda: authority.issue(one, next(requests)), times))
        jwt.append(_cpu_micros(lambda: authority.issue_jwt(one, ("ledger",)), times))
    for id_, found, target, peer in (
        ("I1", x509, 250, "Python prototype 210-239"),
        ("I2", jwt, 55.6, "Python prototype 40.9"),
    ):
        lowest = {"best": round(min(found), 1), "floor": round(min(bare), 1)}
        line(id_, found, "µs CPU", target, peer, part="in process", **lowest)


async def taint(rounds: int = 10) -> None:
    """I7: the API is asked to taint → the last of 100 streams holds an SVID of the new authority."""
    taken = list[float]()
    with tempfile.TemporaryDirectory(prefix="pylis-bench-") as temporary:
        data = Path(temporary) / "server"
        data.mkdir()
        async with server(data) as (client, _):
            client.request("POST", REGISTRATIONS, registration("mine", "one", OWN_UID))
            async with agent(client, Path(temporary), "one") as (socket, _), _streams(socket) as latest:
                for _ in range(rounds):
                    old = set(await _all_hold(latest, lambda _: True))
                    await asyncio.to_thread(_step, data, "prepare", {"type": "x509"})
                    await asyncio.to_thread(_act, data, "activate", "prepared")
                    began = time.perf_counter()
                    await asyncio.to_thread(_act, data, "taint", "old")
                    await _all_hold(latest, lambda chain, old=old: chain not in old)
                    taken.append((time.perf_counter() - began) * 1000)
                    await asyncio.to_thread(_act, data, "revoke", "tainted")
    line("I7", taken, "ms", 100, "SPIRE 3,200 ms as shipped, 165 ms at its tightest", streams=STREAMS)


@contextlib.asynccontextmanager
async def _streams(socket: Path) -> Any:
    """What each of the open streams was told last: its certificate chain, b"" for nothing yet."""
    latest = [b""] * STREAMS
    options = [("grpc.use_local_subchannel_pool", 1)]

    async def follow(number: int) -> None:
        while True:
            async with grpc.aio.insecure_channel(f"unix://{socket}", options=options) as channel:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    async for body in channel.unary_stream(FETCH)(b"", metadata=HEADER):
                        latest[number] = workload_pb2.X509SVIDResponse.FromString(body).svids[0].x509_svid
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(follow(n)) for n in range(STREAMS)]
    try:
        yield latest
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _all_hold(latest: list[bytes], wanted: Callable[[bytes], bool]) -> list[bytes]:
    async with asyncio.timeout(60):
        while not all(chain and wanted(chain) for chain in latest):  # noqa: ASYNC110 - another process's progress
            await asyncio.sleep(0.001)
    return list(latest)


def _step(data: Path, step: str, body: dict[str, Any]) -> None:
    connect(data / "kubeconfig").request("POST", f"{AUTHORITIES}/{step}", body)  # its root may have changed


def _act(data: Path, step: str, status: str) -> None:
    """Once everybody has acknowledged."""
    while (found := connect(data / "kubeconfig").request("GET", AUTHORITIES))["waitingFor"]:
        time.sleep(0.005)
    (id_,) = [a["id"] for a in found["x509"] if a["status"] == status]
    _step(data, step, {"id": id_})


def main() -> None:
    signing()
    asyncio.run(taint())


if __name__ == "__main__":
    main()
