"""Agents against a whole control plane: they join, are banned, evicted, copied; they get what is theirs only.

The agent's side is spoken by hand where a thief would: a stream with a certificate and a hello.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.attest import AttestError, attest
from agent.evidence import EvidenceFiles
from agent.node_identity import NodeIdentity
from ca import keys, node_codec, node_protocol
from ca.attest import x509pop
from ca.attest.join_token import JoinToken
from ca.issue import chain_pem
from ca.node_protocol import (
    Authorized,
    FromAgent,
    Hello,
    Ping,
    Pong,
    Refused,
    RenewAgent,
    Sign,
    Signed,
    SignedJwt,
    SignJwt,
)
from controlplane.cli.client import Client, RefusedError, connect
from controlplane.config import Config
from controlplane.main import run
from policies.workload import MeshSettings

NO_FILES = EvidenceFiles()
REGISTRATIONS = "/apis/pylis.io/v1alpha1/namespaces/default/workloadregistrations"
QUARANTINES = "/apis/pylis.io/v1alpha1/quarantines"
SERVER_NAME = [
    ("grpc.ssl_target_name_override", "server.pylis.internal"),
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass
class Plane:
    data: Path
    api: Client
    xds: str
    streams: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(self.api.request, method, path, body)

    async def token(self, agent: str = "one") -> JoinToken:
        answer = await self.ask("POST", "/pylis/v1/tokens", {"agent": agent})
        return JoinToken.decode(answer["token"])

    async def invitation(self) -> JoinToken:
        return JoinToken.decode((await self.ask("POST", "/pylis/v1/tokens", {}))["token"])

    async def joined(self, agent: str = "one") -> NodeIdentity:
        return await attest(await self.token(agent), NO_FILES)

    async def register(self, name: str, **spec: Any) -> None:
        whole = {"serviceAccount": name, "selectors": ["unix:uid:0"], "agents": ["one"], **spec}
        await self.ask(
            "POST",
            REGISTRATIONS,
            {
                "apiVersion": "pylis.io/v1alpha1",
                "kind": "WorkloadRegistration",
                "metadata": {"name": name, "namespace": "default"},
                "spec": whole,
            },
        )

    async def audited(self, verb: str) -> list[dict[str, Any]]:
        items = (await self.ask("GET", "/pylis/v1/audit?limit=1000"))["items"]
        return [item for item in items if item["verb"] == verb]

    async def stream(self, node: NodeIdentity, instance: str = "a", *, hello: bool = True) -> Stream:
        credentials = grpc.ssl_channel_credentials(
            node.bundle.to_pem().encode(), keys.key_pem(node.key), chain_pem(node.chain).encode()
        )
        channel = await self.streams.enter_async_context(
            grpc.aio.secure_channel(self.xds, credentials, SERVER_NAME)
        )
        one = Stream(channel.stream_stream(node_protocol.SYNC_METHOD)())
        if hello:
            await one.say(Hello("1", instance))
        return one

    async def refusal(self, node: NodeIdentity) -> str:
        """Why it is not even heard: it says nothing, as a write that meets the refusal hides the reason."""
        return await (await self.stream(node, hello=False)).end()


class Stream:
    """The agent's end, which answers only when it is told to."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.heard: list[Any] = []

    async def say(self, *messages: FromAgent) -> None:
        with contextlib.suppress(
            asyncio.InvalidStateError, grpc.aio.AioRpcError
        ):  # refused already: `end` tells
            await self.call.write(node_codec.encode(messages))

    async def hear(self, kind: type[Any]) -> Any:
        async with asyncio.timeout(10):
            while True:
                for message in self.heard:
                    if isinstance(message, kind):
                        self.heard.remove(message)
                        return message
                body = await self.call.read()
                assert body is not grpc.aio.EOF, f"the stream ended: {await self.call.details()}"
                self.heard += node_codec.decode_from_server(body)

    async def told(self) -> list[str]:
        """The names of what it may hold, once there is anything."""
        async with asyncio.timeout(10):
            while not (message := await self.hear(Authorized)).entries:
                pass
        return [entry.name for entry in message.entries]

    async def end(self) -> str:
        """What the server says at the end."""
        async with asyncio.timeout(10):
            with contextlib.suppress(grpc.aio.AioRpcError):
                while (body := await self.call.read()) is not grpc.aio.EOF:
                    self.heard += node_codec.decode_from_server(body)
            assert await self.call.code() is grpc.StatusCode.PERMISSION_DENIED
            return str(await self.call.details())


@contextlib.asynccontextmanager
async def serving(config: Config) -> AsyncIterator[Plane]:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(run(config, lambda _api, xds, _sidecars: ready.set_result(xds)))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    one = Plane(config.data_dir, connect(config.data_dir / "kubeconfig"), ready.result())
    async with one.streams:
        yield one
    task.cancel()
    await asyncio.wait({task})


@pytest.fixture
async def plane(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Plane]:
    marker = request.node.get_closest_marker("node_attestation")
    config = Config(
        tmp_path, "memory://", "127.0.0.1:0", "127.0.0.1:0", MeshSettings("example.org"),
        node_attestation=marker.kwargs["settings"](tmp_path) if marker else None,
    )  # fmt: skip
    async with serving(config) as one:
        yield one


async def test_of_fifty_who_bring_one_token_one_joins(plane: Plane) -> None:
    token = await plane.token()
    outcomes = await asyncio.gather(*(attest(token, NO_FILES) for _ in range(50)), return_exceptions=True)
    won = [o for o in outcomes if isinstance(o, NodeIdentity)]
    lost = [o for o in outcomes if isinstance(o, AttestError)]
    assert (len(won), len(lost)) == (1, 49)
    assert all("was used" in str(error) for error in lost)
    assert (len(await plane.audited("attest"))) == 50


async def test_an_agent_obtains_what_is_registered_for_it_and_nothing_else(plane: Plane) -> None:
    await plane.register("own")
    await plane.register("others", agents=["two"])
    stream = await plane.stream(await plane.joined())
    assert await stream.told() == ["default/own"]
    await stream.say(
        Sign(1, "default/own", keys.csr_for(keys.new_key())),
        Sign(2, "default/others", keys.csr_for(keys.new_key())),
        Sign(3, "default/nothing", keys.csr_for(keys.new_key())),
        SignJwt(4, "default/others", ("a",)),
    )
    assert (await stream.hear(Signed)).id == 1
    assert [(await stream.hear(Refused)).id for _ in range(3)] == [2, 3, 4]
    refused = await plane.audited("issue")
    assert [item["decision"] for item in refused] == ["allow", "refuse", "refuse"]
    issued = refused[0]
    assert issued["who"] == "agent one"
    assert set(issued["detail"]) == {"spiffeId", "selectors", "serial", "notAfter", "authority"}


async def test_a_request_that_names_anothers_identity_is_signed_for_the_registered_one(plane: Plane) -> None:
    await plane.register("own")
    stream = await plane.stream(await plane.joined())
    await stream.told()
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://example.org/ns/pay/sa/ledger")]
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ledger")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    request = builder.add_extension(names, critical=True).sign(key, hashes.SHA256())
    await stream.say(Sign(1, "default/own", request.public_bytes(Encoding.DER)))
    leaf = x509.load_der_x509_certificate((await stream.hear(Signed)).chain[0])
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://example.org/ns/default/sa/own"
    ]
    assert not list(leaf.subject)


async def test_one_key_certifies_one_identity(plane: Plane) -> None:
    await plane.register("a")
    await plane.register("b")
    node = await plane.joined()
    stream = await plane.stream(node)
    while len(await stream.told()) < 2:
        pass
    csr = keys.csr_for(keys.new_key())
    await stream.say(Sign(1, "default/a", csr))
    await stream.hear(Signed)
    await stream.say(Sign(2, "default/a", csr), Sign(3, "default/b", csr), RenewAgent(4, csr))
    assert (await stream.hear(Signed)).id == 2
    refused = [await stream.hear(Refused) for _ in range(2)]
    assert [one.id for one in refused] == [3, 4]
    assert all("another identity" in one.reason for one in refused)


@pytest.mark.parametrize("csr", [b"", b"\x30\x03abc", b"\x00" * 20_000], ids=["empty", "no request", "large"])
async def test_what_is_no_signing_request_is_refused(plane: Plane, csr: bytes) -> None:
    await plane.register("own")
    stream = await plane.stream(await plane.joined())
    await stream.told()
    if csr:
        await stream.say(Sign(1, "default/own", csr))
        assert (await stream.hear(Refused)).id == 1
    await stream.say(Sign(2, "default/own", keys.csr_for(keys.new_key())))
    assert (await stream.hear(Signed)).id == 2


async def test_one_identity_is_not_signed_over_and_over(plane: Plane) -> None:
    await plane.register("own")
    await plane.register("other")
    stream = await plane.stream(await plane.joined())
    while len(await stream.told()) < 2:
        pass
    await stream.say(*(Sign(i, "default/own", keys.csr_for(keys.new_key())) for i in range(1, 40)))
    refused = await stream.hear(Refused)
    assert "too many requests: try again in" in refused.reason
    await stream.say(Sign(99, "default/other", keys.csr_for(keys.new_key())))
    while (await stream.hear(Signed)).id != 99:
        pass


async def test_a_banned_agent_loses_its_stream_and_cannot_come_back_until_it_is_evicted(plane: Plane) -> None:
    node = await plane.joined()
    stream = await plane.stream(node)
    await stream.hear(Authorized)
    listed = (await plane.ask("GET", "/pylis/v1/agents"))["items"]
    assert [(one["name"], one["state"], one["method"]) for one in listed] == [
        ("one", "connected", "join-token")
    ]
    await plane.ask("POST", "/pylis/v1/agents/ban", {"agent": "one", "reason": "stolen"})
    assert await stream.end() == "banned: stolen"
    assert await plane.refusal(node) == "banned: stolen"
    with pytest.raises(AttestError, match="banned: stolen"):
        await plane.joined()
    await plane.ask("POST", "/pylis/v1/agents/evict", {"agent": "one"})
    assert (await plane.refusal(node)).startswith("attest again")
    await (await plane.stream(await plane.joined())).hear(Authorized)
    assert [item["who"] for item in await plane.audited("ban")] == ["admin"]
    with pytest.raises(RefusedError, match="not found"):
        await plane.ask("POST", "/pylis/v1/agents/ban", {"agent": "nobody"})


async def test_an_evicted_agent_loses_its_stream_at_once(plane: Plane) -> None:
    stream = await plane.stream(await plane.joined())
    await stream.hear(Authorized)
    await plane.ask("POST", "/pylis/v1/agents/evict", {"agent": "one"})
    assert (await stream.end()).startswith("attest again")


async def test_a_copied_key_is_found_out_while_both_are_there(plane: Plane) -> None:
    await plane.register("own")
    node = await plane.joined()
    owner = await plane.stream(node, "owner")
    await owner.hear(Authorized)
    thief = await plane.stream(node, "thief")
    ping: Ping = await owner.hear(Ping)
    await owner.say(Pong(ping.id))
    assert "two machines" in await thief.end()
    assert "two machines" in await owner.end()
    assert thief.heard == []  # not even what is registered
    assert [item["decision"] for item in await plane.audited("evict")] == ["refuse"]
    assert (await plane.refusal(node)).startswith("attest again")
    await (await plane.stream(await plane.joined(), "owner")).hear(Authorized)


async def test_a_restarted_agent_takes_over_from_a_stream_that_does_not_answer(plane: Plane) -> None:
    node = await plane.joined()
    old = await plane.stream(node, "before")
    await old.hear(Authorized)
    new = await plane.stream(node, "after")
    await new.hear(Authorized)
    assert "took over" in await old.end()


async def test_the_same_agent_that_connects_again_waits_for_nothing(plane: Plane) -> None:
    node = await plane.joined()
    old = await plane.stream(node, "same")
    await old.hear(Authorized)
    await (await plane.stream(node, "same")).hear(Authorized)
    assert "took over" in await old.end()
    assert not [message for message in old.heard if isinstance(message, Ping)]


async def test_a_renewed_certificate_shuts_the_old_one_out_when_it_is_used(plane: Plane) -> None:
    node = await plane.joined()
    stream = await plane.stream(node)
    key = keys.new_key()
    await stream.say(RenewAgent(1, keys.csr_for(key)))
    renewed = node.renewed((await stream.hear(Signed)).chain, key)
    await (await plane.stream(node)).hear(Authorized)  # the answer could have been lost
    await (await plane.stream(renewed)).hear(Authorized)
    assert "replaced by a newer one" in await plane.refusal(node)


async def test_a_stream_that_does_not_begin_with_hello_is_told_nothing(plane: Plane) -> None:
    await plane.register("own")
    stream = await plane.stream(await plane.joined(), hello=False)
    await stream.say(Sign(1, "default/own", keys.csr_for(keys.new_key())))
    assert await stream.call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_workload_is_no_agent(plane: Plane) -> None:
    await plane.register("own")
    node = await plane.joined()
    stream = await plane.stream(node)
    await stream.told()
    key = keys.new_key()
    await stream.say(Sign(1, "default/own", keys.csr_for(key)))
    workload = replace(node, key=key, chain=(await stream.hear(Signed)).chain)
    assert await plane.refusal(workload) == "only agents may ask this"


async def test_what_is_quarantined_is_not_signed_and_every_agent_knows_whose_tokens_to_refuse(
    plane: Plane,
) -> None:
    await plane.register("own")
    stream = await plane.stream(await plane.joined())
    await stream.told()
    identity = "spiffe://example.org/ns/default/sa/own"
    body = {"apiVersion": "pylis.io/v1alpha1", "kind": "Quarantine", "metadata": {"name": "own"}}
    await plane.ask("POST", QUARANTINES, {**body, "spec": {"spiffeIDs": [identity]}})
    told: Authorized = await stream.hear(Authorized)
    assert (told.entries, told.cut_off) == ((), (identity,))
    await stream.say(Sign(1, "default/own", keys.csr_for(keys.new_key())), SignJwt(2, "default/own", ("a",)))
    assert [(await stream.hear(Refused)).id for _ in range(2)] == [1, 2]
    await plane.ask("DELETE", f"{QUARANTINES}/own")
    told = await stream.hear(Authorized)
    assert (len(told.entries), told.cut_off) == (1, ())
    await stream.say(SignJwt(3, "default/own", ("a",)))
    assert (await stream.hear(SignedJwt)).id == 3


def device_authority(directory: Path) -> Path:
    """A settings file, and in `directory` an authority for machines with one machine's certificate."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)

    def certificate(name: str, public: Any, authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "devices")]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
        )
        return builder.sign(key, hashes.SHA256())

    root = certificate("devices", key.public_key(), authority=True)
    (directory / "roots.pem").write_bytes(root.public_bytes(Encoding.PEM))
    for name in ("host-7", "host-8"):
        own = keys.new_key()
        leaf = certificate(name, own.public_key(), authority=False)
        (directory / f"{name}.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
        (directory / f"{name}.key").write_bytes(keys.key_pem(own))
    settings = directory / "attestation.yaml"
    settings.write_text("x509pop: {roots: roots.pem}\n")
    return settings


def machine(plane: Plane, name: str, key: str = "") -> EvidenceFiles:
    return EvidenceFiles(plane.data / f"{name}.pem", plane.data / f"{key or name}.key")


@pytest.mark.node_attestation(settings=device_authority)
async def test_a_machine_joins_by_its_certificate_again_and_again_and_its_selectors_count(
    plane: Plane,
) -> None:
    await plane.register("own", agents=[], agentSelectors=["x509pop:subject:cn:host-7"])
    invitation = await plane.invitation()
    first = await attest(invitation, machine(plane, "host-7"))
    again = await attest(invitation, machine(plane, "host-7"))
    other = await attest(invitation, machine(plane, "host-8"))
    assert first.agent == again.agent != other.agent
    assert first.agent.startswith("x509pop.")
    assert await (await plane.stream(again)).told() == ["default/own"]
    assert not (await (await plane.stream(other)).hear(Authorized)).entries
    assert (await plane.refusal(first)).startswith("attest again")


async def refused_from(plane: Plane) -> list[str]:
    """Where the attempts came from that the audit log says were refused."""
    return [item["source"] for item in await plane.audited("attest") if item["decision"] != "allow"]


@pytest.mark.node_attestation(settings=device_authority)
async def test_a_certificate_without_its_key_proves_nothing(plane: Plane) -> None:
    with pytest.raises(AttestError, match="does not prove possession"):
        await attest(await plane.invitation(), machine(plane, "host-7", key="host-8"))
    assert await refused_from(plane) == ["127.0.0.1"]


@pytest.mark.node_attestation(settings=device_authority)
async def test_a_challenge_is_good_once(plane: Plane) -> None:
    """Whoever records a whole exchange and plays it again gets nothing."""
    chain = [x509.load_pem_x509_certificate((plane.data / "host-7.pem").read_bytes())]
    key = keys.load_key((plane.data / "host-7.key").read_bytes())
    encoded = base64.b64encode(chain[0].public_bytes(Encoding.DER)).decode()
    given = await plane.ask("POST", "/pylis/v1/attest/challenge", {"chain": [encoded]})
    csr = keys.csr_for(keys.new_key())
    text = x509pop.statement("example.org", base64.b64decode(given["nonce"]), csr)
    message = node_protocol.Attest(
        node_protocol.KeyEvidence(given["challenge"], x509pop.sign(key, text)), csr
    )
    body = json.loads(node_codec.encode_attest(message))
    assert (await plane.ask("POST", "/pylis/v1/attest", body))["agent"].startswith("x509pop.")
    with pytest.raises(RefusedError, match="was answered"):
        await plane.ask("POST", "/pylis/v1/attest", body)


async def test_no_authority_vouches_where_none_is_named(plane: Plane) -> None:
    device_authority(plane.data)
    with pytest.raises(AttestError, match="no authority that may vouch"):
        await attest(await plane.invitation(), machine(plane, "host-7"))
    assert await refused_from(plane) == ["127.0.0.1"]


async def test_an_invitation_alone_proves_nothing(plane: Plane) -> None:
    with pytest.raises(AttestError, match="an invitation proves nothing"):
        await attest(await plane.invitation(), NO_FILES)


async def test_what_an_administrator_hands_out_is_on_record_and_nobody_cut_off_is_served(
    plane: Plane,
) -> None:
    identity = "spiffe://example.org/ns/default/sa/own"
    await plane.token("one")
    csr = base64.b64encode(keys.csr_for(keys.new_key())).decode()
    await plane.ask("POST", "/pylis/v1/svids", {"spiffeId": identity, "csr": csr})
    await plane.ask("POST", "/pylis/v1/jwt-svids", {"spiffeId": identity, "audience": ["db"]})
    minted = await plane.audited("mint")
    assert [(item["resource"], item["name"], item["who"]) for item in minted] == [
        ("svids", identity, "admin"), ("jwt-svids", identity, "admin"),
    ]  # fmt: skip
    tokens = [item["name"] for item in await plane.audited("create") if item["resource"] == "jointokens"]
    assert tokens == ["one"]
    body = {"apiVersion": "pylis.io/v1alpha1", "kind": "Quarantine", "metadata": {"name": "own"}}
    await plane.ask("POST", QUARANTINES, {**body, "spec": {"spiffeIDs": [identity]}})
    with pytest.raises(RefusedError, match="quarantine"):
        while True:  # until the edit is in force
            await plane.ask("POST", "/pylis/v1/jwt-svids", {"spiffeId": identity, "audience": ["db"]})
