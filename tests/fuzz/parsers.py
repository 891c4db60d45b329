"""Coverage-guided fuzzing of the parsers of outside bytes: each ends in a value or in its declared error.

    python tests/fuzz/parsers.py TARGET -max_total_time=60     one target, libFuzzer's options
    python tests/fuzz/parsers.py --minutes 1                   all of them, the time shared out
    (make fuzz MINUTES=1)

What is found is left as crash-* in the working directory, and runs again by TARGET crash-….
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["ca", "jwt"]):
    from ca import bundle as bundles
    from ca import check, jwt_svid, keys, node_codec
    from ca.attest.join_token import JoinToken
    from ca.check import UNREADABLE
    from ca.csr import prove
    from ca.errors import BundleError, CsrError, JwtError, NodeProtocolError, SpiffeIdError, TokenError
    from ca.keystore import MemoryKeystore
    from ca.node_protocol import Authorized, Entry, Hello, Sign
    from ca.service import CertificateAuthority
    from ca.spiffe_id import SpiffeId, TrustDomain
    from ca.verify import svid_problems

from cryptography import x509

from xds import schema
from xds.reflection import Files, NotARequestError, answer

TD = TrustDomain.parse("example.org")
ID = SpiffeId.parse("spiffe://example.org/ns/shop/sa/orders")
NOW = datetime.now(UTC)
AUTHORITY = CertificateAuthority.open(TD, MemoryKeystore())
CSR = keys.csr_for(keys.new_key())
CHAIN = AUTHORITY.issue_id(ID, CSR, timedelta(hours=1), ("orders.shop",)).chain
TOKEN = AUTHORITY.issue_jwt_id(ID, ["db"], timedelta(minutes=5)).token
FILES = Files([], [schema.database()])
ENTRY = Entry("shop/orders", str(ID), ("unix:uid:1",), 3600, (), "")


def spiffe_id(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(SpiffeIdError):
        if str(SpiffeId.parse(text)) != text:
            raise AssertionError("an ID is printed otherwise than it was read")


def csr(data: bytes) -> None:
    with contextlib.suppress(CsrError):
        prove(data)


def certificate(data: bytes) -> None:
    try:
        found = x509.load_der_x509_certificate(data)
    except UNREADABLE:
        return
    check.leaf_problems(found)
    check.authority_problems(found)
    svid_problems([found, x509.load_der_x509_certificate(CHAIN[1])], AUTHORITY.bundle, NOW)


def jwt_token(data: bytes) -> None:
    text = data.decode("latin-1")
    with contextlib.suppress(JwtError):
        jwt_svid.read(text)
    if not jwt_svid.svid_problems(text, AUTHORITY.bundle, ["db"], NOW) and text != TOKEN:
        raise AssertionError("a token that was not minted is valid")


def bundle(data: bytes) -> None:
    with contextlib.suppress(BundleError):
        found = bundles.from_spiffe(TD, data)
        if bundles.from_spiffe(TD, json.dumps(found.to_spiffe())) != found:
            raise AssertionError("a bundle is written otherwise than it was read")
    with contextlib.suppress(BundleError):
        bundles.from_pem(TD, data)


def frames(data: bytes) -> None:
    for read in (node_codec.decode_from_agent, node_codec.decode_from_server):
        with contextlib.suppress(NodeProtocolError):
            read(data)


def join_token(data: bytes) -> None:
    with contextlib.suppress(TokenError):
        JoinToken.decode(data.decode("utf-8", "surrogateescape"))


def reflection(data: bytes) -> None:
    with contextlib.suppress(NotARequestError):
        answer(data, ["envoy.service.discovery.v3.AggregatedDiscoveryService"], FILES)


# target → what it starts from
SEEDS: dict[Callable[[bytes], None], list[bytes]] = {
    spiffe_id: [str(ID).encode(), b"spiffe://a/..", b"spiffe://a:1/b"],
    csr: [CSR],
    certificate: [*CHAIN, AUTHORITY.bundle.x509_authorities[0]],
    jwt_token: [TOKEN.encode()],
    bundle: [json.dumps(AUTHORITY.bundle.to_spiffe()).encode(), AUTHORITY.bundle.to_pem().encode()],
    frames: [
        node_codec.encode([Hello("1"), Sign(1, "a/b", CSR)]),
        node_codec.encode([Authorized((ENTRY,), AUTHORITY.bundle)]),
    ],
    reflection: [b"\x3a\x00", b"\x22\x2eenvoy.service.discovery.v3.DeltaDiscoveryRequest"],
    join_token: [JoinToken("h:1", "h:2", "example.org", "ab" * 32, "one", "secret").encode().encode()],
}
TARGETS: dict[str, Callable[[bytes], None]] = {target.__name__: target for target in SEEDS}


def run_all(minutes: float) -> int:
    """Each target in a process of its own; the number of those that failed."""
    seconds, failed = max(1, round(minutes * 60 / len(TARGETS))), list[str]()
    for name in TARGETS:
        done = subprocess.run(
            [sys.executable, __file__, name, f"-max_total_time={seconds}"], capture_output=True, text=True
        )
        counted = (line.split()[-1] for line in done.stderr.splitlines() if "executed_units" in line)
        print(
            f"{name:<12} {'clean' if done.returncode == 0 else 'FAILED'}, {next(counted, 'no')} runs",
            flush=True,
        )
        if done.returncode != 0:
            failed.append(name)
            print(done.stdout[-2000:] + done.stderr[-4000:], file=sys.stderr)
    return len(failed)


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--minutes"]:
        return run_all(float(arguments[1]))
    target = TARGETS[arguments[0]]
    with tempfile.TemporaryDirectory() as corpus:
        for index, seed in enumerate(SEEDS[target]):
            (Path(corpus) / str(index)).write_bytes(seed)
        files = [] if any(not a.startswith("-") for a in arguments[1:]) else [corpus]
        options: list[Any] = [
            "fuzz",
            "-max_len=8192",
            "-timeout=10",
            "-verbosity=0",
            "-print_final_stats=1",
            *arguments[1:],
            *files,
        ]
        atheris.Setup(options, target)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
