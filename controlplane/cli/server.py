"""`pylis server`: the control plane in the foreground."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from controlplane.authority_config import AuthorityConfig
from controlplane.cli.authority_options import authority_options
from controlplane.cli.output import Failure
from policies.fields import is_label

if TYPE_CHECKING:
    from policies.workload import MeshSettings


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path(".pylis"),
    show_default=True,
    envvar="PYLIS_DATA_DIR",
    help="Keys, store, administrator's token.",
)
@click.option(
    "--store",
    default="",
    envvar="PYLIS_STORE",
    help="sqlite:///PATH, postgresql://… or memory://  [default: a file in the data directory]",
)
@click.option(
    "--api",
    default="127.0.0.1:15080",
    show_default=True,
    envvar="PYLIS_API",
    help="Where the policy API listens.",
)
@click.option(
    "--xds",
    default="127.0.0.1:15012",
    show_default=True,
    envvar="PYLIS_XDS",
    help="Where sidecars and agents connect.",
)
@click.option(
    "--xds-workers",
    default=0,
    show_default=True,
    type=click.IntRange(0, 64),
    envvar="PYLIS_XDS_WORKERS",
    help="So many processes hold the sidecars' connections, at an address of their own (--sidecars).",
)
@click.option(
    "--sidecars",
    default="",
    envvar="PYLIS_SIDECARS",
    help="Where sidecars connect when there are workers; agents stay at --xds.  [default: the port after --xds]",
)
@click.option("--trust-domain", default="cluster.local", show_default=True, envvar="PYLIS_TRUST_DOMAIN")
@click.option(
    "--root-namespace",
    default="istio-system",
    show_default=True,
    envvar="PYLIS_ROOT_NAMESPACE",
    help="Policies there hold for the whole mesh.",
)
@click.option(
    "--path-normalization",
    type=click.Choice(["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]),
    default="MERGE_SLASHES",
    show_default=True,
    envvar="PYLIS_PATH_NORMALIZATION",
)
@click.option(
    "--mesh-config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PYLIS_MESH_CONFIG",
    help="A YAML file by Istio's MeshConfig: trustDomainAliases, extensionProviders, numTrustedProxies, explainDenials, … "
    "What it says goes before the options here.",
)
@click.option(
    "--access-log",
    type=click.Choice(["off", "denied", "all"]),
    default="denied",
    show_default=True,
    envvar="PYLIS_ACCESS_LOG",
    help="Which requests sidecars log.",
)
@click.option(
    "--advertise",
    default="",
    envvar="PYLIS_ADVERTISE",
    help="The host agents reach this server by, if not the one it listens on.",
)
@click.option(
    "--jwt-issuer",
    default="",
    envvar="PYLIS_JWT_ISSUER",
    help="The https URL that JWT-SVIDs name as their issuer (OpenID Connect).  [default: the API's]",
)
@click.option(
    "--node-attestation",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PYLIS_NODE_ATTESTATION",
    help="A YAML file: certificate authorities (x509pop) and OpenID providers that vouch for agents.",
)
@click.option(
    "--oidc",
    "people",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PYLIS_OIDC",
    help="A YAML file: OpenID providers whose ID tokens say who asks the API (pylis login).",
)
@click.option(
    "--container-agent",
    "container_agents",
    multiple=True,
    envvar="PYLIS_CONTAINER_AGENT",
    help="NAME=NAMESPACE,…: this agent may register the containers it finds, in these namespaces only.",
)
@click.option(
    "--join-socket",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PYLIS_JOIN_SOCKET",
    help="A Unix socket through which the container agent joins without a token; whoever opens it is that agent.",
)
@click.option(
    "--envelope-key",
    default="",
    envvar="PYLIS_ENVELOPE_KEY",
    metavar="pkcs11:…",
    help="Seals secrets in the store by a key in a module: pkcs11:token=T?module-path=M&pin-source=file:F.",
)
@click.option(
    "--envelope-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PYLIS_ENVELOPE_KEY_FILE",
    help="Seals secrets in the store: 32 bytes in base64 (or PYLIS_ENVELOPE_KEY). Servers on one store share it."
    "  [default: a file in the data directory]",
)
@authority_options
def server(
    data_dir: Path, store: str, api: str, xds: str, xds_workers: int, sidecars: str, trust_domain: str, root_namespace: str,
    path_normalization: str, mesh_config: Path | None, access_log: str, advertise: str, jwt_issuer: str,
    node_attestation: Path | None, people: Path | None,
    container_agents: tuple[str, ...], join_socket: Path | None, envelope_key: str, envelope_key_file: Path | None,
    authority: AuthorityConfig,
) -> None:  # fmt: skip
    """Run the control plane: the policy API, the CA, and xDS for the sidecars.

    \b
    Example:
      pylis server --data-dir /var/lib/pylis --trust-domain example.org
    """
    import structlog

    from ca.errors import AuthorityError, KeystoreError, SpiffeIdError
    from ca.spiffe_id import TrustDomain
    from controlplane import main
    from controlplane.config import MEMORY_STORE, Config
    from controlplane.settings_file import SettingsError
    from controlplane.store.port import UnusableError
    from policies.workload import MeshSettings, PathNormalization
    from xds.errors import WorkersError
    from xds.plan import AccessLog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    settings = MeshSettings(trust_domain, (), root_namespace, PathNormalization(path_normalization))
    if mesh_config is not None:
        settings = _with_file(settings, mesh_config)
    for domain in (settings.trust_domain, *settings.trust_domain_aliases):
        try:
            TrustDomain.parse(domain)
        except SpiffeIdError as error:
            raise Failure(f"trust domain {domain!r}: {error}") from error
    if sidecars and not xds_workers:
        raise Failure("--sidecars is where workers listen", hint="add --xds-workers 2, or leave it out")
    for option, address in (
        ("--api", api),
        ("--xds", xds),
        *((("--sidecars", sidecars),) if sidecars else ()),
    ):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise Failure(
                f"{option} {address!r} is no host:port", hint=f"for example {option} 127.0.0.1:15080"
            )
    if jwt_issuer and not _is_issuer(jwt_issuer):
        text = f"--jwt-issuer {jwt_issuer!r} is no https URL without query, fragment or slash at its end"
        raise Failure(text, hint="for example https://oidc.example.org")
    if xds_workers and not sidecars:
        host, _, port = xds.rpartition(":")
        sidecars = f"{host}:{int(port) + 1 if int(port) else 0}"
    store = store or f"sqlite:///{data_dir / 'store.db'}"
    if store != MEMORY_STORE and not store.startswith(("sqlite:///", "postgresql://", "postgres://")):
        text = f"--store {store.partition(':')[0]}:… is not served"
        raise Failure(text, hint="use sqlite:///PATH, postgresql://USER@HOST/DATABASE or memory://")
    granted = _granted(container_agents, settings.root_namespace)
    if join_socket is not None and len(granted) != 1:
        raise Failure(
            "--join-socket needs one --container-agent", hint="for example --container-agent docker=shop"
        )
    config = Config(
        data_dir,
        store,
        api,
        xds,
        settings,
        AccessLog(access_log),
        advertise,
        jwt_issuer,
        node_attestation,
        granted,
        join_socket,
        authority,
        envelope_key,
        envelope_key_file,
        people,
        xds_workers=xds_workers,
        sidecars=sidecars,
    )

    def ready(api_address: str, xds_address: str, sidecars_address: str) -> None:
        where = f"xds {xds_address}" + (f"  sidecars {sidecars_address}" if sidecars_address else "")
        click.echo(f"ready  api https://{api_address}  {where}  trust domain {settings.trust_domain}")
        click.echo(f"kubeconfig and admin token: {data_dir}", err=True)
        sys.stdout.flush()

    try:
        _run(main.run(config, ready))
    except (
        main.PortTakenError,
        SettingsError,
        AuthorityError,
        KeystoreError,
        UnusableError,
        WorkersError,
    ) as error:
        raise Failure(str(error)) from error


def _granted(given: tuple[str, ...], root_namespace: str) -> dict[str, frozenset[str]]:
    granted: dict[str, frozenset[str]] = {}
    for text in given:
        agent, _, listed = text.partition("=")
        namespaces = frozenset(listed.split(","))
        if not is_label(agent) or not all(map(is_label, namespaces)):
            raise Failure(
                f"--container-agent {text!r} is no NAME=NAMESPACE,…", hint="for example docker=shop,pay"
            )
        if root_namespace in namespaces:
            hint = "policies there hold for the whole mesh"
            raise Failure(f"--container-agent may not register in {root_namespace}", hint=hint)
        granted[agent] = granted.get(agent, frozenset()) | namespaces
    return granted


def _is_issuer(url: str) -> bool:
    """Source: OpenID Connect Discovery 1.0 §2 (issuer identifier)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = not parts.query and not parts.fragment and "?" not in url and "#" not in url
    return parts.scheme == "https" and bool(parts.hostname) and plain and not url.endswith("/")


def _with_file(settings: MeshSettings, file: Path) -> MeshSettings:
    """The settings, with what the file says instead. Raises: Failure with every problem of the file."""
    from controlplane.cli.output import fail_with
    from controlplane.resources.yaml_text import read_text
    from policies.fields import Fields
    from policies.mesh_settings import read_settings

    try:
        documents, problems = read_text(file.read_text(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"--mesh-config {file}: {error}") from error
    if problems or not documents:
        raise fail_with(problems, "the server does not start.")
    root = Fields.of(documents[0])
    found = read_settings(root, defaults=settings)
    if root.failed:
        raise fail_with(root.problems, "the server does not start.")
    return found


def _run(serving: Coroutine[Any, Any, None]) -> None:
    """Until SIGINT or SIGTERM; both end it in order."""
    import uvloop

    from controlplane.stopping import Stopping

    stopping = Stopping()

    async def until_stopped() -> None:
        task = asyncio.ensure_future(serving)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stopping.begin, task)
        try:
            await task
        except asyncio.CancelledError:
            return

    uvloop.run(until_stopped())
