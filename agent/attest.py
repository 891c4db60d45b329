"""Joining: an HTTPS exchange of evidence for an identity, no trust on first use.

The bundle is fetched without belief; of it only the root whose hash the token names is believed, and with
that root the evidence is sent to the server and to nobody else.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, cast

from cryptography import x509

from agent import server_check
from agent.evidence import EvidenceError, EvidenceFiles
from agent.node_identity import NodeIdentity
from agent.server_check import ForeignServerError
from ca import bundle as bundles
from ca import keys, node_codec, node_protocol
from ca.attest import x509pop
from ca.attest.join_token import JoinToken
from ca.bundle import TrustBundle
from ca.errors import BundleError, NodeProtocolError
from ca.node_protocol import Evidence, KeyEvidence, OidcEvidence, TokenEvidence
from ca.spiffe_id import TrustDomain, server_id

TIMEOUT_SECONDS: Final = 10
MAX_ANSWER: Final = 1 << 20


class AttestError(Exception):
    """Joining failed. `final`: a new attempt with the same token cannot succeed."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


async def attest(token: JoinToken, files: EvidenceFiles) -> NodeIdentity:
    """`token` says where the mesh is; without a secret, the files prove this machine. Raises: AttestError."""
    return await asyncio.to_thread(_attest, token, files)


def _attest(token: JoinToken, files: EvidenceFiles) -> NodeIdentity:
    domain = TrustDomain.parse(token.trust_domain)
    root = _pinned_root(token, domain)
    key = keys.new_key()
    context = ssl.create_default_context(cadata=root.to_pem())
    context.check_hostname = False  # the server's SPIFFE ID is checked instead
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    server_check.leave_times_to_us(context)

    def ask(path: str, body: bytes) -> Any:
        status, answer = _exchange(token.api, context, "POST", path, body, str(server_id(domain)))
        if status != 200:
            text = f"the control plane refused this agent: {_message(answer)}"
            raise AttestError(text, final=400 <= status < 500 and status != 429)
        return answer

    csr = keys.csr_for(key)
    request = node_protocol.Attest(_evidence(token, files, csr, ask), csr)
    body = ask("/pylis/v1/attest", node_codec.encode_attest(request))
    try:
        answer = node_codec.decode_attested(body)
    except NodeProtocolError as error:
        raise AttestError(f"the control plane's answer cannot be read: {error}", final=True) from error
    if not _is_for(key, answer.chain):
        raise AttestError("the control plane's answer is no certificate for this agent's key", final=True)
    return NodeIdentity(answer.agent, token.xds, answer.bundle, key, answer.chain, token.sidecars)


def _evidence(
    token: JoinToken, files: EvidenceFiles, csr: bytes, ask: Callable[[str, bytes], Any]
) -> Evidence:
    """A token's secret goes before files: it was given for this very agent."""
    if token.secret:
        return TokenEvidence(token.secret)
    try:
        machine, id_token = files.machine(), files.token()
    except EvidenceError as error:
        raise AttestError(str(error), final=False) from error
    if machine is not None:
        chain = [base64.b64encode(der).decode() for der in machine.chain]
        given = ask("/pylis/v1/attest/challenge", json.dumps({"chain": chain}).encode())
        try:
            nonce = base64.b64decode(given["nonce"], validate=True)
            text = x509pop.statement(token.trust_domain, nonce, csr)
            return KeyEvidence(str(given["challenge"]), x509pop.sign(machine.key, text))
        except (KeyError, TypeError, ValueError) as error:
            raise AttestError("the control plane's challenge cannot be read", final=True) from error
    if id_token:
        return OidcEvidence(id_token)
    text = "an invitation proves nothing: give --x509pop-cert and --x509pop-key, or --oidc-token-file"
    raise AttestError(text, final=True)


def _pinned_root(token: JoinToken, domain: TrustDomain) -> TrustBundle:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing it answers is believed but what has the token's hash
    status, body = _exchange(token.api, context, "GET", "/.well-known/spiffe/bundle", None, "")
    if status != 200:
        raise AttestError(f"{token.api} serves no trust bundle: {_message(body)}", final=400 <= status < 500)
    try:
        offered = bundles.from_spiffe(domain, json.dumps(body))
    except BundleError as error:
        raise AttestError(f"{token.api} serves no trust bundle: {error}", final=True) from error
    pinned = tuple(
        der for der in offered.x509_authorities if hashlib.sha256(der).hexdigest() == token.root_hash
    )
    if not pinned:
        text = f"{token.api} is not the control plane that made this join token: its root is another"
        raise AttestError(f"{text}; the token was not sent", final=True)
    return TrustBundle(domain, pinned)


def _exchange(
    address: str, context: ssl.SSLContext, method: str, path: str, body: bytes | None, identity: str
) -> tuple[int, Any]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise AttestError(f"{address!r} is no address of a control plane: HOST:PORT", final=True)
    connection = http.client.HTTPSConnection(
        host.strip("[]"), int(port), context=context, timeout=TIMEOUT_SECONDS
    )
    try:
        connection.connect()
        if identity:
            _check_identity(connection, identity)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read(MAX_ANSWER))
    except ssl.SSLError as error:
        raise AttestError(f"{address} could not prove who it is: {error.reason}", final=False) from error
    except OSError as error:
        text = error.strerror or str(error)
        raise AttestError(f"cannot reach the control plane at {address}: {text}", final=False) from error
    except (ValueError, RecursionError, http.client.HTTPException) as error:
        raise AttestError(f"{address} did not answer in JSON", final=False) from error
    finally:
        connection.close()


def _message(body: Any) -> str:
    fields: dict[str, Any] = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    return str(fields.get("message", "it says no reason"))


def _is_for(key: keys.PrivateKey, chain: tuple[bytes, ...]) -> bool:
    try:
        return bool(chain) and x509.load_der_x509_certificate(chain[0]).public_key() == key.public_key()
    except ValueError:
        return False


def _check_identity(connection: http.client.HTTPSConnection, identity: str) -> None:
    sock: Any = connection.sock
    try:
        server_check.check(sock.getpeercert(), identity, datetime.now(UTC))
    except ForeignServerError as error:
        raise AttestError(f"this is not the control plane: {error}", final=True) from error
