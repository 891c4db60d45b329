"""Identity goal I4: the API has accepted a Quarantine → each of 20 sidecars denies the thief on an open connection.

The thief holds a connection to each sidecar and asks them in turn, over and over; who denied is not asked again. The
services behind answer at once and do nothing, so that the asking costs little; `askingAllOnceMs` is how long one
turn takes when nothing changes, and so the resolution. One machine runs the control plane, 20 Envoys, 20 services
and the thief.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from bench import fixed_answer
from bench.figures import line
from controlplane.cli.client import connect
from demo.mesh import DemoMesh

QUARANTINES: Final = "/apis/pylis.io/v1alpha1/quarantines"
SIDECARS: Final = 20


class Asking:
    """An open mTLS connection of the thief."""

    def __init__(self, address: str, name: str, context: ssl.SSLContext) -> None:
        host, _, port = address.rpartition(":")
        self._socket = context.wrap_socket(socket.create_connection((host, int(port)), 10))
        self._request = f"GET / HTTP/1.1\r\nhost: {name}\r\n\r\n".encode()

    def status(self) -> int:
        """Of one request; the connection stays open. Raises: OSError."""
        self._socket.sendall(self._request)
        answer = b""
        while not _is_whole(answer):
            read = self._socket.recv(65536)
            if not read:
                raise ConnectionResetError("closed")
            answer += read
        return int(answer[9:12])

    def close(self) -> None:
        self._socket.close()


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = next(
        v for k, _, v in (h.partition(b": ") for h in head.split(b"\r\n")) if k == b"content-length"
    )
    return len(body) >= int(length)


@contextlib.contextmanager
def sidecars(directory: Path, count: int) -> Iterator[DemoMesh]:
    """A mesh of `count` HTTP services behind real Envoys, and the identity that is going to be stolen."""
    web = [sys.executable, fixed_answer.__file__, "{port}"]
    services = {f"w{n}": {"namespace": "shop", "command": web, "ports": {"http": 8080}} for n in range(count)}
    thief = {"namespace": "shop", "command": [sys.executable, "-c", "import time; time.sleep(1e6)"]}
    file = directory / "mesh.yaml"
    file.write_text(
        yaml.safe_dump({"trustDomain": "shop.example", "workloads": {**services, "thief": thief}})
    )
    with DemoMesh(directory / "state", file, quiet=True) as mesh:
        yield mesh


def quarantine(rounds: int = 12) -> None:
    all_of, last, turns = list[float](), list[float](), list[float]()
    with (
        tempfile.TemporaryDirectory(prefix="pylis-bench-") as temporary,
        sidecars(Path(temporary), SIDECARS) as mesh,
    ):
        client = connect(mesh.kubeconfig)
        context = mesh.credentials("shop/thief").context()
        body = {
            "apiVersion": "pylis.io/v1alpha1", "kind": "Quarantine", "metadata": {"name": "thief"},
            "spec": {"spiffeIDs": [f"spiffe://{mesh.info['trustDomain']}/ns/shop/sa/thief"]},
        }  # fmt: skip
        for _ in range(rounds):
            live = [_until_allowed(mesh, f"w{n}", context) for n in range(SIDECARS)]
            began = time.perf_counter()
            for one in live:
                one.status()
            turns.append((time.perf_counter() - began) * 1000)
            client.request("POST", QUARANTINES, body)
            taken = _until_denied(live)
            all_of += taken
            last.append(max(taken))
            client.request("DELETE", f"{QUARANTINES}/thief")
            for one in live:
                one.close()
    asked = round(sorted(turns)[len(turns) // 2], 3)
    baseline = "none has it"
    line("I4", all_of, "ms", 30, baseline, sidecars=SIDECARS, askingAllOnceMs=asked)
    line("I4", [max(last)], "ms", 100, baseline, part="slowest of all", sidecars=SIDECARS,
         medianOfSlowest=round(sorted(last)[len(last) // 2], 3))  # fmt: skip


def _until_allowed(mesh: DemoMesh, name: str, context: ssl.SSLContext) -> Asking:
    address: Any = mesh.workload(f"shop/{name}")["inbound"]["http"]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            one = Asking(address, f"{name}.shop:8080", context)
            if one.status() == 200:
                return one
            one.close()
        time.sleep(0.01)
    raise RuntimeError("never served")


def _until_denied(live: list[Asking]) -> list[float]:
    """Milliseconds from now, one a connection."""
    began, waiting, taken = time.perf_counter(), list(live), list[float]()
    while waiting:
        for one in list(waiting):
            if one.status() == 403:
                taken.append((time.perf_counter() - began) * 1000)
                waiting.remove(one)
    return taken


def main() -> None:
    quarantine()


if __name__ == "__main__":
    main()
