"""ADR 0016, measured: a sidecar in its app's network namespace against a proxy outside of it, on a real engine.

    inside   an Envoy a container, in its namespace, known by mark and uid (what Pylis does)
    one      one Envoy outside for all containers, which listens and dials in their namespaces (network_namespace_filepath)
    each     an Envoy outside a container

For each, with the same listeners and the same mutual TLS: memory, what a restart of an app costs and whom, what a
killed proxy takes with it, who can walk round it. Root; `python -m bench.outside`; nothing of it stays.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent import rules
from bench.outside_certificates import write_certificates
from demo.containers import docker
from demo.mesh import DemoError

APPS: Final = 6
PROJECT: Final = "pylis-outside"
IMAGE: Final = "pylis:latest"
ENVOY: Final = "envoyproxy/envoy:v1.40.0"
SECONDS: Final = 60.0
WAYS: Final = ("inside", "one", "each")
_MARKED: Final = [{"level": 1, "name": 36, "int_value": rules.MARK, "state": "STATE_PREBIND"}]
_UNPRIVILEGED: Final = (
    "setpriv", f"--reuid={rules.PROXY_UID}", f"--regid={rules.PROXY_UID}", "--clear-groups", "--no-new-privs",
    "--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", "--bounding-set=-all,+net_raw",
)  # fmt: skip
# the same chains as inside, but for the exemption: nothing in the namespace goes round
_WITHOUT_EXEMPTION: Final = "\n".join(
    line
    for line in rules.container().splitlines()
    if not ("mark" in line and "ct status" not in line) and "skuid" not in line
)
CALL: Final = (
    "import sys,urllib.request as r; print(r.urlopen(f'http://{sys.argv[1]}:8080/', timeout=5).status)"
)
DIAL: Final = """
import os, socket, sys
host, mark, uid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if uid:
    os.setgid(uid); os.setuid(uid)
s = socket.socket(); s.settimeout(4)
try:
    if mark:
        s.setsockopt(socket.SOL_SOCKET, 36, mark)
    s.connect((host, 8080))
    s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    print("BYPASS" if s.recv(100).startswith(b"HTTP/1.1 200") else "closed")
except OSError as error:
    print(type(error).__name__)
"""
TALK: Final = """
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], 8080, timeout=10)
for line in sys.stdin:
    try:
        c.request("GET", "/"); print(c.getresponse().read() and c.sock.getsockname()[1], flush=True)
    except OSError as error:
        print(error, flush=True)
"""


@dataclass(frozen=True, slots=True)
class App:
    name: str

    @property
    def pid(self) -> int:
        return int(docker("inspect", "-f", "{{.State.Pid}}", self.name))

    @property
    def ip(self) -> str:
        found = json.loads(docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", self.name))
        return str(found[PROJECT]["IPAddress"])

    def load(self, text: str) -> None:
        command = ["nsenter", f"--net=/proc/{self.pid}/ns/net", "nft", "-f", "-"]
        subprocess.run(command, input=text, text=True, check=True, capture_output=True)

    def calls(self, other: str) -> str:
        with contextlib.suppress(DemoError):
            return docker("exec", self.name, "python3", "-c", CALL, other).strip()
        return "failed"


def listeners(app: App, *, outside: bool) -> list[dict[str, Any]]:
    where = {"network_namespace_filepath": f"/proc/{app.pid}/ns/net"} if outside else {}
    found: list[dict[str, Any]] = []
    for name, host, port in (("out", "127.0.0.1", 15001), ("in", "0.0.0.0", 15006)):
        chain: dict[str, Any] = {"filters": [_proxy(f"{name}-{app.name}")]}
        if name == "in":
            chain["transport_socket"] = _tls("Downstream", require_client_certificate=True)
        found.append(
            {
                "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
                "name": f"{name}-{app.name}-{app.pid}",
                "address": {"socket_address": {"address": host, "port_value": port, **where}},
                "listener_filters": [_original_destination()],
                "filter_chains": [chain],
            }
        )
    return found


def clusters(app: App, *, outside: bool) -> list[dict[str, Any]]:
    common = {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "2s",
    }  # fmt: skip
    dial: dict[str, Any] = {}
    if outside:
        path = f"/proc/{app.pid}/ns/net"
        source = {"address": "0.0.0.0", "port_value": 0, "network_namespace_filepath": path}
        dial = {"upstream_bind_config": {"source_address": source}}
    return [
        {**common, "name": f"out-{app.name}", "transport_socket": _tls("Upstream")},
        {**common, "name": f"in-{app.name}", **dial},
    ]


def _proxy(cluster: str) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {"@type": kind, "stat_prefix": cluster, "cluster": cluster},
    }


def _original_destination() -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
    return {"name": "envoy.filters.listener.original_dst", "typed_config": {"@type": kind}}


def _tls(side: str, **more: Any) -> dict[str, Any]:
    files = {"certificate_chain": {"filename": "/x/svid.pem"}, "private_key": {"filename": "/x/key.pem"}}
    context = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [files],
        "validation_context": {"trusted_ca": {"filename": "/x/ca.pem"}},
    }
    kind = f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext"
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": kind, "common_tls_context": context, **more},
    }


class Way:
    """One of WAYS: its proxies, by container, over the same apps."""

    def __init__(self, name: str, apps: list[App], files: Path) -> None:
        self.name, self.apps, self.files = name, apps, files
        self.outside = name != "inside"
        self.groups = [apps] if name == "one" else [[app] for app in apps]

    def __enter__(self) -> Way:
        for app in self.apps:
            app.load(_WITHOUT_EXEMPTION if self.outside else rules.container())
        for group in self.groups:
            self.write(group)
            self.start(group)
        until(
            lambda: all(a.calls(b.ip) == "200" for a, b in zip(self.apps, self.apps[1:], strict=False)),
            self.name,
        )
        return self

    def __exit__(self, *_: object) -> None:
        for group in self.groups:
            docker("rm", "-f", "-v", self.proxy(group), quiet=True)

    def proxy(self, group: list[App]) -> str:
        return f"{PROJECT}-{self.name}-{group[0].name}"

    def of(self, app: App) -> list[App]:
        return next(group for group in self.groups if app in group)

    def write(self, group: list[App]) -> None:
        """The files that the proxy follows: replaced, so that it sees them change."""
        place = self.files / self.proxy(group)
        place.mkdir(exist_ok=True)
        place.chmod(0o755)
        found = (("lds", listeners), ("cds", clusters))
        for file, make in found:
            text = json.dumps(
                {"resources": [one for app in group for one in make(app, outside=self.outside)]}
            )
            beside = place / f".{file}.json"
            beside.write_text(text)
            beside.replace(place / f"{file}.json")
        marked = (
            {} if self.outside else {"cluster_manager": {"upstream_bind_config": {"socket_options": _MARKED}}}
        )
        source = {
            f"{k}_config": {"path_config_source": _path(k), "resource_api_version": "V3"}
            for k in ("lds", "cds")
        }
        bootstrap = {"node": {"id": "x", "cluster": "x"}, **marked, "dynamic_resources": source}
        (place / "envoy.json").write_text(json.dumps(bootstrap))

    def start(self, group: list[App]) -> None:
        name = self.proxy(group)
        docker("rm", "-f", "-v", name, quiet=True)
        rights = ["--network", f"container:{group[0].name}", "--cap-add", "NET_RAW", "--cap-add", "SETPCAP"]
        command: list[str] = [*_UNPRIVILEGED]
        if self.outside:  # to enter others' namespaces; less was refused by the kernel
            rights, command = (
                ["--network", "host", "--pid", "host", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE"],
                [],
            )
        docker(
            "run", "-d", "--name", name, *rights, "--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID",
            "-v", f"{self.files}:/x:ro", "-v", f"{self.files / name}:/c:ro", "--user", "0:0", "--entrypoint", "",
            ENVOY, *command, "envoy", "-c", "/c/envoy.json", "--concurrency", "1", "--disable-hot-restart",
            "--drain-time-s", "5", "--drain-strategy", "immediate", "--log-level", "warning",
        )  # fmt: skip

    def renew(self, app: App) -> None:
        """What is to be done when an app has a new namespace."""
        app.load(_WITHOUT_EXEMPTION if self.outside else rules.container())
        group = self.of(app)
        self.write(group)
        if not self.outside:
            self.start(group)


def _path(kind: str) -> dict[str, Any]:
    return {"path": f"/c/{kind}.json", "watched_directory": {"path": "/c"}}


def memory(way: Way) -> dict[str, float]:
    found = {"resident": 0.0, "own": 0.0, "proportional": 0.0}
    for group in way.groups:
        pid = docker("inspect", "-f", "{{.State.Pid}}", way.proxy(group)).strip()
        rollup = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        )
        sizes = {key: int(text.split()[0]) / 1024 for key, text in rollup.items()}
        found["resident"] += sizes["Rss"]
        found["own"] += sizes["Private_Dirty"]
        found["proportional"] += sizes["Pss"]
    return {key: round(value, 1) for key, value in found.items()}


def restart(way: Way) -> dict[str, Any]:
    """Of one app: until it is reached by mutual TLS again, and whether a connection between two others lives on."""
    first, second, third, *_ = way.apps
    with talking(first, third.ip) as ask:
        before = ask()
        docker("restart", "-t", "0", second.name)
        began = time.monotonic()
        way.renew(second)
        until(lambda: first.calls(second.ip) == "200", f"{way.name}: after a restart")
        took = time.monotonic() - began
        return {"seconds": round(took, 2), "others_connection_lives": ask() == before}


def killed(way: Way) -> int:
    """How many apps are without service when one proxy dies."""
    docker("kill", way.proxy(way.of(way.apps[1])))
    try:
        return sum(app.calls(way.apps[0].ip) != "200" for app in way.apps[1:])
    finally:
        way.start(way.of(way.apps[1]))


def bypasses(way: Way, plain: str) -> dict[str, str]:
    """An app dials a server in plain text that is not in the mesh: only who walks round the proxy is answered."""
    cases = {
        "root": ([], 0, 0),
        "root, the mark": ([], rules.MARK, 0),
        "root without NET_RAW, the mark": (["--cap-drop", "NET_RAW"], rules.MARK, 0),
        "the proxy's uid": ([], 0, rules.PROXY_UID),
        "uid 1000, the mark": (["--user", "1000"], rules.MARK, 0),
    }
    return {
        what: docker(
            "run", "--rm", "--network", f"container:{way.apps[0].name}", "--no-healthcheck", "--user", "0", *options,
            "--entrypoint", "python3", IMAGE, "-c", DIAL, plain, str(mark), str(uid),
        ).strip()
        for what, (options, mark, uid) in cases.items()
    }  # fmt: skip


@contextlib.contextmanager
def talking(app: App, other: str) -> Iterator[Any]:
    """One keep-alive connection; a call gives its local port, or what went wrong."""
    command = ["docker", "exec", "-i", app.name, "python3", "-c", TALK, other]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask() -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        try:
            yield ask
        finally:
            process.kill()


def until(ask: Any, what: str) -> None:
    end = time.monotonic() + SECONDS
    while not ask():
        if time.monotonic() > end:
            raise SystemExit(f"not within {SECONDS:.0f} s: {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def containers() -> Iterator[tuple[list[App], App]]:
    web = ["-m", "demo.services.web", "--name", "x", "--host", "0.0.0.0", "--port", "8080"]
    names = [f"{PROJECT}-{n}" for n in range(APPS + 1)]
    docker("network", "create", PROJECT)
    try:
        for name in names:
            docker(
                "run", "-d", "--name", name, "--network", PROJECT, "--no-healthcheck", "--entrypoint", "python3", IMAGE, *web
            )  # fmt: skip
        *apps, plain = map(App, names)
        yield apps, plain
    finally:
        docker("rm", "-f", "-v", *names, quiet=True)
        docker("network", "rm", PROJECT, quiet=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, containers() as (apps, plain):
        files = Path(directory)
        files.chmod(0o755)
        write_certificates(files)
        for name in WAYS:
            with Way(name, apps, files) as way:
                line = {
                    "id": "ADR16", "way": name, "apps": APPS, "memory_mb": memory(way), "restart": restart(way),
                    "killed": killed(way), "bypass": bypasses(way, plain.ip),
                }  # fmt: skip
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
