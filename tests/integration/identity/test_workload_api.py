"""The agent's socket, asked by py-spiffe and by bare gRPC: what SPIFFE wants of a Workload API server.

Source: SPIFFE_Workload_Endpoint, SPIFFE_Workload_API.
"""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from spiffe import TrustDomain, WorkloadApiClient

from agent.reflection import SERVICES
from agent.workload_schema import SERVICE, message

Plane = Any
HEADER = (("workload.spiffe.io", "true"),)
TD = TrustDomain("example.org")


@contextmanager
def channel(agent: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"unix://{agent.socket}") as opened:
        yield opened


def first(agent: Any, method: str, body: bytes = b"", metadata: Any = HEADER) -> bytes:
    """The first message of a stream, or the answer. Raises: grpc.RpcError."""
    with channel(agent) as opened:
        if method in ("FetchJWTSVID", "ValidateJWTSVID"):
            return opened.unary_unary(SERVICE + method)(body, metadata=metadata, timeout=30)
        return next(iter(opened.unary_stream(SERVICE + method)(body, metadata=metadata, timeout=30)))


def refusal(agent: Any, method: str, body: bytes = b"", metadata: Any = HEADER) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as refused:
        first(agent, method, body, metadata)
    return refused.value.code()  # type: ignore[attr-defined] - grpc's errors are calls, too


def listening_tcp(pid: int) -> set[str]:
    """Inodes of the process's listening TCP sockets."""
    tables = (Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    listening = {
        f"socket:[{line.split()[9]}]" for table in tables for line in table if line.split()[3] == "0A"
    }
    return listening & {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}


@pytest.fixture
def agent(control_plane: Plane) -> Any:
    control_plane.register("orders", hint="main")
    one = control_plane.join("one")
    control_plane.until(lambda: one.status.get("identities"))
    return one


@pytest.mark.spiffe(
    "E-01", "E-02", "E-03", "E-04", "E-05", "E-08", "E-13", "E-15", "E-21", "A-01", "A-26", "A-28"
)
def test_a_workload_gets_everything_by_asking_on_the_socket(agent: Any) -> None:
    assert stat.S_ISSOCK(agent.socket.stat().st_mode)
    assert not listening_tcp(agent.process.pid)
    with WorkloadApiClient(f"unix://{agent.socket}") as client:
        svid = client.fetch_x509_svid()
        token = client.fetch_jwt_svid(audience={"db", "cache"})
        assert str(svid.spiffe_id) == str(token.spiffe_id) == "spiffe://example.org/ns/default/sa/orders"
        assert set(token.audience) == {"db", "cache"}
        assert client.fetch_x509_bundles().get_bundle_for_trust_domain(TD)
        assert client.fetch_jwt_bundles().get_bundle_for_trust_domain(TD)
    with channel(agent) as opened:
        assert set(ProtoReflectionDescriptorDatabase(opened).get_services()) == set(SERVICES)


@pytest.mark.spiffe("E-07")
@pytest.mark.parametrize("metadata", [(), (("workload.spiffe.io", "True"),), (*HEADER, *HEADER)])
def test_without_the_header_nothing_is_said(agent: Any, metadata: Any) -> None:
    for method in ("FetchX509SVID", "FetchX509Bundles", "FetchJWTSVID", "FetchJWTBundles", "ValidateJWTSVID"):
        assert refusal(agent, method, metadata=metadata) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.spiffe("E-14", "E-18", "A-19", "A-24", "A-30", "A-34")
def test_a_process_that_is_not_registered_is_told_so_at_once(control_plane: Plane) -> None:
    control_plane.register("other", selectors=["unix:uid:4294967294"])
    agent = control_plane.join("one")
    body = message("JWTSVIDRequest")(audience=["db"]).SerializeToString()
    for method in ("FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles"):
        assert refusal(agent, method) is grpc.StatusCode.PERMISSION_DENIED
    assert refusal(agent, "FetchJWTSVID", body) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.spiffe("A-27", "A-30")
def test_a_token_for_each_identity_or_for_the_one_that_is_asked_for(control_plane: Plane) -> None:
    for name in ("orders", "audit"):
        control_plane.register(name)
    agent = control_plane.join("one")
    control_plane.until(lambda: len(agent.status.get("identities", [])) == 2)

    def ids(spiffe_id: str = "") -> list[str]:
        body = message("JWTSVIDRequest")(audience=["db"], spiffe_id=spiffe_id).SerializeToString()
        return [
            s.spiffe_id
            for s in message("JWTSVIDResponse").FromString(first(agent, "FetchJWTSVID", body)).svids
        ]

    assert len(ids()) == 2
    (wanted, _) = ids()
    assert ids(wanted) == [wanted]
    body = message("JWTSVIDRequest")(
        audience=["db"], spiffe_id="spiffe://example.org/ns/x/sa/y"
    ).SerializeToString()
    assert refusal(agent, "FetchJWTSVID", body) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.spiffe("A-11", "A-38")
def test_what_is_mandatory_in_a_request_must_be_there(agent: Any) -> None:
    half = [message("ValidateJWTSVIDRequest")(audience="db"), message("ValidateJWTSVIDRequest")(svid="x")]
    for method, body in (("FetchJWTSVID", b""), *(("ValidateJWTSVID", h.SerializeToString()) for h in half)):
        assert refusal(agent, method, body) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.spiffe("A-36", "A-37", "A-38")
def test_the_agent_validates_tokens_and_gives_their_claims(agent: Any) -> None:
    with WorkloadApiClient(f"unix://{agent.socket}") as client:
        token = client.fetch_jwt_svid(audience={"db"}).token
    body = message("ValidateJWTSVIDRequest")(audience="db", svid=token).SerializeToString()
    answer = message("ValidateJWTSVIDResponse").FromString(first(agent, "ValidateJWTSVID", body))
    assert answer.spiffe_id == "spiffe://example.org/ns/default/sa/orders"
    assert b"aud" in answer.claims
    for audience, svid in (("web", token), ("db", token[:-4] + "AAAA"), ("db", "x.y")):
        body = message("ValidateJWTSVIDRequest")(audience=audience, svid=svid).SerializeToString()
        assert refusal(agent, "ValidateJWTSVID", body) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.spiffe("A-41", "A-02", "E-20")
def test_what_is_not_the_workload_api_is_unimplemented(agent: Any) -> None:
    for method in ("FetchWITSVID", "FetchWITBundles", "Anything"):
        assert refusal(agent, method) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.spiffe("A-05", "A-06", "A-52")
def test_a_stream_speaks_at_once_and_at_every_change(control_plane: Plane, agent: Any) -> None:
    seen: list[set[str]] = []
    came = threading.Condition()
    with channel(agent) as opened:
        call = opened.unary_stream(f"{SERVICE}FetchX509SVID")(b"", metadata=HEADER)

        def read() -> None:
            try:
                for body in call:
                    with came:
                        seen.append(
                            {svid.spiffe_id for svid in message("X509SVIDResponse").FromString(body).svids}
                        )
                        came.notify_all()
            except grpc.RpcError:
                return

        reader = threading.Thread(target=read)
        reader.start()
        with came:
            assert came.wait_for(lambda: seen, 60)
        control_plane.register("audit", hint="a" * 64)
        with came:
            assert came.wait_for(lambda: len(seen[-1]) == 2, 60)
        call.cancel()
        reader.join(60)


@pytest.mark.spiffe("E-17")
def test_an_agent_that_does_not_know_yet_says_that_it_may_pass(control_plane: Plane, agent: Any) -> None:
    agent.process.terminate()
    agent.process.communicate(timeout=60)
    control_plane.process.terminate()
    control_plane.process.communicate(timeout=60)
    arguments = [
        "agent",
        "run",
        "--data-dir",
        str(agent.data_dir),
        "--socket",
        str(agent.socket),
        "--no-envoy",
    ]
    agent.process = subprocess.Popen(
        [sys.executable, "-m", "controlplane.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        with socket.socket(socket.AF_UNIX) as one:
            return one.connect_ex(str(agent.socket)) == 0

    control_plane.until(listens)
    assert refusal(agent, "FetchX509SVID") is grpc.StatusCode.UNAVAILABLE
    control_plane.start()
    control_plane.until(lambda: agent.status.get("identities"))
