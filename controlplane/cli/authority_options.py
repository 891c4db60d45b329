"""The options of `pylis server` that say how its authority is kept and who signs it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ca.keys import KeyType
from ca.profile import ROOT_TTL
from controlplane.authority_config import AuthorityConfig, NestedBelow, PemFiles
from controlplane.cli.output import Failure
from controlplane.resources.workload_registration import duration

_FILE = click.Path(path_type=Path, dir_okay=False)


def authority_options(command: Callable[..., object]) -> Callable[..., object]:
    """As one parameter `authority`. Each can be set in the environment: --ca-key-type as PYLIS_CA_KEY_TYPE."""

    @click.option(
        "--keystore",
        default="file",
        show_default=True,
        envvar="PYLIS_KEYSTORE",
        metavar="file|memory|pkcs11:…",
        help="Where the authority's keys are; pkcs11:token=T?module-path=M&pin-source=file:F.",
    )
    @click.option(
        "--keystore-passphrase-file",
        type=_FILE,
        envvar="PYLIS_KEYSTORE_PASSPHRASE_FILE",
        help="Encrypts key files.",
    )
    @click.option(
        "--ca-key-type",
        type=click.Choice([str(kind) for kind in KeyType]),
        default="ec-p256",
        show_default=True,
        envvar="PYLIS_CA_KEY_TYPE",
        help="What new authorities sign with.",
    )
    @click.option(
        "--ca-ttl", default="", envvar="PYLIS_CA_TTL", help="How long a new root lives.  [default: 10 years]"
    )
    @click.option(
        "--upstream-cert", type=_FILE, envvar="PYLIS_UPSTREAM_CERT", help="PEM: a CA that signs ours."
    )
    @click.option("--upstream-key", type=_FILE, envvar="PYLIS_UPSTREAM_KEY", help="PEM: its key.")
    @click.option(
        "--upstream-roots", type=_FILE, envvar="PYLIS_UPSTREAM_ROOTS", help="PEM: the roots above it."
    )
    @click.option(
        "--upstream-server",
        envvar="PYLIS_UPSTREAM_SERVER",
        help="The Pylis above this one: https://host:port",
    )
    @click.option(
        "--upstream-token-file", type=_FILE, envvar="PYLIS_UPSTREAM_TOKEN_FILE", help="A token for it."
    )
    @click.option(
        "--upstream-ca-file", type=_FILE, envvar="PYLIS_UPSTREAM_CA_FILE", help="PEM that vouches for it."
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        keystore: str,
        keystore_passphrase_file: Path | None,
        ca_key_type: str,
        ca_ttl: str,
        upstream_cert: Path | None,
        upstream_key: Path | None,
        upstream_roots: Path | None,
        upstream_server: str | None,
        upstream_token_file: Path | None,
        upstream_ca_file: Path | None,
        **rest: Any,
    ) -> object:
        if keystore not in ("file", "memory") and not keystore.startswith("pkcs11:"):
            raise Failure(f'--keystore "{keystore}" is none of file, memory, pkcs11:…')
        if keystore_passphrase_file and keystore != "file":
            raise Failure("--keystore-passphrase-file is for --keystore file")
        pem = _pem(upstream_cert, upstream_key, upstream_roots)
        below = _below(upstream_server, upstream_token_file, upstream_ca_file)
        if pem and below:
            raise Failure("one upstream authority, please: --upstream-cert or --upstream-server")
        ttl = duration(ca_ttl) if ca_ttl else ROOT_TTL
        if not ttl:
            raise Failure(f'--ca-ttl "{ca_ttl}" is no time', hint="for example 720h")
        config = AuthorityConfig(keystore, keystore_passphrase_file, KeyType(ca_key_type), ttl, pem or below)
        return command(*args, authority=config, **rest)

    return wrapped


def _pem(cert: Path | None, key: Path | None, roots: Path | None) -> PemFiles | None:
    if cert and key:
        return PemFiles(cert, key, roots)
    if cert or key or roots:
        raise Failure("an upstream authority on disk needs --upstream-cert and --upstream-key")
    return None


def _below(server: str | None, token_file: Path | None, ca_file: Path | None) -> NestedBelow | None:
    if server and token_file and ca_file:
        if not server.startswith("https://"):
            raise Failure(
                f'--upstream-server "{server}" is no https URL', hint="for example https://10.0.0.1:15080"
            )
        return NestedBelow(server, token_file, ca_file)
    if server or token_file or ca_file:
        raise Failure("a Pylis above needs --upstream-server, --upstream-token-file and --upstream-ca-file")
    return None
