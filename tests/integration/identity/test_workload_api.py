"""The agent's socket, asked by SPIFFE's own Python client, and by one that breaks the rules."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from spiffe import SpiffeId, TrustDomain, WorkloadApiClient, X509Source
from spiffe._proto import workload_pb2

Plane = Any
DOMAIN = TrustDomain("example.org")
SERVICE = "/SpiffeWorkloadAPI/"
QUARANTINE = {"apiVersion": "pylis.io/v1alpha1", "kind": "Quarantine"}


@pytest.fixture(scope="module")
def control_plane(shared_control_plane: Plane) -> Plane:
    return shared_control_plane


@pytest.fixture(scope="module")
def agent(control_plane: Plane) -> Any:
    control_plane.register("orders", hint="main")
    return control_plane.join("one")


@pytest.fixture
def registered(control_plane: Plane) -> Iterator[Callable[..., None]]:
    """Registers; whatever the test does, it is gone afterwards."""
    made: list[str] = []

    def register(account: str, **spec: Any) -> None:
        control_plane.register(account, **spec)
        made.append(account)

    yield register
    for account in made:
        control_plane.run("delete", "workloadregistration", account, "-n", "default")


@pytest.fixture
def client(agent: Any) -> Iterator[WorkloadApiClient]:
    one = WorkloadApiClient(f"unix://{agent.socket}")
    yield one
    one.close()


def ids(svids: list[Any]) -> list[str]:
    return [str(svid.spiffe_id) for svid in svids]


def name(account: str) -> str:
    return f"spiffe://example.org/ns/default/sa/{account}"


def until_held(control_plane: Plane, client: WorkloadApiClient, *accounts: str) -> None:
    wanted = [name(account) for account in accounts]
    control_plane.until(lambda: _held(client) == wanted, f"never held {wanted}")


def _held(client: WorkloadApiClient) -> list[str]:
    try:
        return ids(client.fetch_x509_svids(timeout=10))
    except Exception:  # not registered yet, being issued
        return []


def test_each_call_answers_as_the_client_expects(control_plane: Plane, client: WorkloadApiClient) -> None:
    until_held(control_plane, client, "orders")
    svid = client.fetch_x509_svid(timeout=10)
    assert (str(svid.spiffe_id), len(svid.cert_chain)) == (name("orders"), 2)
    context = client.fetch_x509_context(timeout=10)
    assert context.default_svid.spiffe_id == svid.spiffe_id
    authorities = client.fetch_x509_bundles(timeout=10).get_bundle_for_trust_domain(DOMAIN).x509_authorities
    assert len(authorities) == 1
    token = client.fetch_jwt_svid({"db", "web"}, timeout=10)
    assert (str(token.spiffe_id), set(token.audience)) == (name("orders"), {"db", "web"})
    assert 0 < token.expiry - datetime.now(UTC).timestamp() <= 300
    keys = client.fetch_jwt_bundles(timeout=10).get_bundle_for_trust_domain(DOMAIN).jwt_authorities
    assert len(keys) == 1
    checked = client.validate_jwt_svid(token.token, "db", timeout=10)
    assert checked.spiffe_id == token.spiffe_id


def test_a_token_for_somebody_else_or_of_another_identity_is_refused(
    control_plane: Plane, client: WorkloadApiClient
) -> None:
    until_held(control_plane, client, "orders")
    token = client.fetch_jwt_svid({"db"}, timeout=10).token
    with pytest.raises(Exception, match="is for db, not for web"):
        client.validate_jwt_svid(token, "web", timeout=10)
    with pytest.raises(Exception, match="signature is wrong"):
        client.validate_jwt_svid(f"{token[:-8]}AAAAAAAA", "db", timeout=10)
    with pytest.raises(Exception, match="not the caller's"):
        client.fetch_jwt_svid({"db"}, SpiffeId(name("ledger")), timeout=10)
    assert str(client.fetch_jwt_svid({"db"}, SpiffeId(name("orders")), timeout=10).spiffe_id) == name(
        "orders"
    )


def test_several_identities_come_in_order_with_their_hints_and_leave_one_by_one(
    control_plane: Plane, agent: Any, client: WorkloadApiClient, registered: Callable[..., None]
) -> None:
    until_held(control_plane, client, "orders")
    seen: list[list[str]] = []
    news = threading.Condition()

    def on_success(context: Any) -> None:
        with news:
            seen.append(ids(context.x509_svids))
            news.notify_all()

    def waits_for(*wanted: str) -> None:
        with news:
            assert news.wait_for(lambda: seen and seen[-1] == list(wanted), 60), seen

    stream = client.stream_x509_contexts(on_success, lambda _: None)
    first, second = name("orders"), name("second")
    waits_for(first)
    registered("second", hint="batch")
    waits_for(first, second)
    assert ids(client.fetch_jwt_svids({"db"}, timeout=10)) == [first, second]
    answer: Any = workload_pb2.X509SVIDResponse.FromString(first_answer(agent.socket, "FetchX509SVID"))
    assert [svid.hint for svid in answer.svids] == ["main", "batch"]
    control_plane.run("delete", "workloadregistration", "second", "-n", "default")
    waits_for(first)
    stream.cancel()


def test_a_source_follows_a_rotation_without_being_asked_again(
    control_plane: Plane, agent: Any, client: WorkloadApiClient
) -> None:
    until_held(control_plane, client, "orders")
    with X509Source(socket_path=f"unix://{agent.socket}", timeout_in_seconds=20) as source:

        def serial() -> int:
            return int(source.get_x509_context().default_svid.leaf.serial_number)

        before = serial()
        control_plane.register("orders", hint="main", x509TTL="2h")  # another certificate
        control_plane.until(lambda: serial() != before, "the source kept the old SVID")


def test_who_is_cut_off_loses_stream_and_tokens_until_it_is_lifted(
    control_plane: Plane, client: WorkloadApiClient, registered: Callable[..., None]
) -> None:
    registered("db")
    until_held(control_plane, client, "db", "orders")
    token = client.fetch_jwt_svid({"web"}, SpiffeId(name("orders")), timeout=10).token
    spec = {"spiffeIDs": [name("orders")]}
    control_plane.apply({**QUARANTINE, "metadata": {"name": "q"}, "spec": spec})
    until_held(control_plane, client, "db")
    with pytest.raises(Exception, match="quarantine"):
        client.validate_jwt_svid(token, "web", timeout=10)
    with pytest.raises(Exception, match="not the caller's"):
        client.fetch_jwt_svid({"web"}, SpiffeId(name("orders")), timeout=10)
    control_plane.run("delete", "quarantine", "q")
    until_held(control_plane, client, "db", "orders")
    assert client.validate_jwt_svid(token, "web", timeout=10)


def test_nobody_is_told_at_once_that_he_is_nobody(
    new_control_plane: Callable[..., Plane],
) -> None:
    other = new_control_plane()
    other.register("others", selectors=[f"unix:uid:{os.getuid() + 1}"])
    agent = other.join("one")
    client = WorkloadApiClient(f"unix://{agent.socket}")
    with pytest.raises(Exception, match="no identity issued"):
        client.fetch_x509_svid(timeout=10)
    with pytest.raises(Exception, match="no identity issued"):
        client.fetch_jwt_svid({"db"}, timeout=10)
    client.close()


Metadata = list[tuple[str, str]]
GOOD: Metadata = [("workload.spiffe.io", "true")]


def first_answer(socket: Path, method: str, body: bytes = b"", metadata: Metadata = GOOD) -> bytes:
    with grpc.insecure_channel(
        f"unix://{socket}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        call: Callable[..., Any] = channel.unary_stream(f"{SERVICE}{method}")
        found: bytes = next(call(body, metadata=metadata, timeout=20))
        return found


def raw(socket: Path, method: str, body: bytes, metadata: Metadata) -> grpc.StatusCode:
    try:
        first_answer(socket, method, body, metadata)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


@pytest.mark.parametrize(
    "method",
    ["FetchX509SVID", "FetchX509Bundles", "FetchJWTSVID", "FetchJWTBundles", "ValidateJWTSVID"],
)
def test_the_header_is_asked_for_before_anything_else(agent: Any, method: str) -> None:
    for metadata in ([], [("workload.spiffe.io", "false")], [("workload.spiffe.io", "True")], [*GOOD, *GOOD]):
        assert raw(agent.socket, method, b"", metadata) is grpc.StatusCode.INVALID_ARGUMENT


def test_what_a_request_lacks_is_said_as_invalid(
    control_plane: Plane, agent: Any, client: WorkloadApiClient
) -> None:
    until_held(control_plane, client, "orders")
    jwt_request: Any = workload_pb2.JWTSVIDRequest
    validate: Any = workload_pb2.ValidateJWTSVIDRequest
    bodies = [
        ("FetchJWTSVID", b""),
        ("FetchJWTSVID", jwt_request(audience=[""]).SerializeToString()),
        ("FetchJWTSVID", jwt_request(audience=["a"], spiffe_id="nonsense").SerializeToString()),
        ("FetchJWTSVID", b"\xff\xff"),
        ("ValidateJWTSVID", b""),
        ("ValidateJWTSVID", validate(audience="a").SerializeToString()),
        ("ValidateJWTSVID", validate(svid="a.b.c").SerializeToString()),
        ("ValidateJWTSVID", validate(audience="a", svid="a.b.c").SerializeToString()),
    ]
    for method, body in bodies:
        assert raw(agent.socket, method, body, GOOD) is grpc.StatusCode.INVALID_ARGUMENT, (method, body)
    for method in ("FetchWITSVID", "FetchWITBundles"):
        assert raw(agent.socket, method, b"", GOOD) is grpc.StatusCode.UNIMPLEMENTED


def test_a_large_message_is_refused_and_the_connection_goes_on(agent: Any) -> None:
    with grpc.insecure_channel(f"unix://{agent.socket}") as channel:
        call: Any = channel.unary_stream(f"{SERVICE}FetchX509SVID")
        with pytest.raises(grpc.RpcError) as refused:
            next(call(b"\x00" * (2 << 20), metadata=GOOD, timeout=20))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert next(call(b"", metadata=GOOD, timeout=20))
