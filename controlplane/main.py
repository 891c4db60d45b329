"""Wires the control plane: the only file that knows every piece.

`run` serves until it is cancelled; what it tells the outside (addresses, the administrator's token, a kubeconfig)
stands in the data directory, mode 0600, before it is ready.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ca.service import CertificateAuthority, utc_now
from ca.spiffe_id import SpiffeId, TrustDomain
from controlplane import attestation_settings, first_start, oidc, people_settings
from controlplane.access import Attributes, Caller
from controlplane.acknowledged_everywhere import AcknowledgedEverywhere
from controlplane.acknowledgements import Acknowledgements
from controlplane.addresses import join, server_names, split
from controlplane.agent_operations import AgentOperations
from controlplane.agents import AgentRegistry
from controlplane.api.app import Api, ApiDependencies
from controlplane.api.authorization import Authorization
from controlplane.api.callers import Authentication
from controlplane.api.metrics import Metrics
from controlplane.api.tokens import Tokens
from controlplane.api.writes import Writes
from controlplane.attestation_settings import AttestationSettings
from controlplane.authority_operations import AuthorityOperations
from controlplane.authority_watch import AuthorityWatch
from controlplane.client_status import ClientStatus
from controlplane.collector import Collector
from controlplane.config import Config
from controlplane.debugging import Debugging
from controlplane.docker.registrar import Registrar
from controlplane.downstream_operations import DownstreamOperations
from controlplane.federation.federator import Federator
from controlplane.federation.operations import FederationOperations
from controlplane.gitops.sources import GitSources
from controlplane.join_socket import JoinSocket
from controlplane.key_fetcher import KeyFetcher
from controlplane.leaving import Leaving
from controlplane.mesh.live import Affected
from controlplane.node_attestation import NodeAttestation
from controlplane.node_service import NodeService
from controlplane.oidc_keys import ProviderKeys
from controlplane.opening import open_authority, open_shared, open_store
from controlplane.operations import Operations
from controlplane.otel import Tracing
from controlplane.people import People
from controlplane.port_reflection import PortReflection
from controlplane.presences import Presences, Watched
from controlplane.reconcile import Reconciler
from controlplane.server_identity import OwnCertificate
from controlplane.shared_authority import follow_authority, turn
from controlplane.state import MeshState
from controlplane.status import StatusWriter
from controlplane.store import vault
from controlplane.store.port import Store, UnavailableError, UnusableError
from controlplane.svid_callers import SvidCallers
from controlplane.tallies import Tallies
from controlplane.trials import Trials
from xds.ledger import Ledger
from xds.serve import AddressInUseError, XdsServer

if TYPE_CHECKING:  # a server alone loads no PostgreSQL
    from controlplane.store.shared_keystore import SharedKeystore
    from xds.workers.pool import WorkerPool

VERSION: Final = "0.1.0"


class PortTakenError(Exception):
    """An address that cannot be listened on; the text says which and what to do."""


async def run(config: Config, ready: Callable[[str, str, str], None]) -> None:
    """Calls `ready(api, xds, sidecars)` with the bound addresses; the last is "" where sidecars have none of their own.

    Raises: PortTakenError, KeystoreError, UnusableError, SettingsError, WorkersError when it cannot start; nothing is left behind then.
    """
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        text = f"cannot use {config.data_dir} as data directory: {why}; check the directory, or name another with --data-dir"
        raise UnusableError(text) from error
    outer = vault.outer_key(config.envelope_key_file or config.data_dir / "envelope.key", config.envelope_key)
    store = await open_store(config, outer)
    shared = await open_shared(config, outer)
    try:
        await _serve(config, store, shared, ready)
    finally:
        if shared is not None:
            await shared.close()
        await store.close()


async def _serve(
    config: Config, store: Store, shared: SharedKeystore | None, ready: Callable[[str, str, str], None]
) -> None:
    domain = TrustDomain.parse(config.settings.trust_domain)
    authority = await asyncio.to_thread(open_authority, config, domain, shared)
    api_host, api_port = split(config.api)
    xds_host, _ = split(config.xds)
    sidecars_host = split(config.sidecars)[0] if config.xds_workers else ""
    names, addresses = server_names({api_host, xds_host, config.advertise} - {""})
    own = OwnCertificate(authority, names, addresses)
    state, ledger = MeshState(config.settings, config.access_log), Ledger()
    agents = AgentRegistry(store, lambda name: nodes.standing_changed(name))
    acknowledgements = Acknowledgements(utc_now, agents.names)
    everywhere = AcknowledgedEverywhere(
        store, acknowledgements, lambda: authority.authorities.sequence, agents.names, utc_now
    )
    authority.unacknowledged = acknowledgements.behind if shared is None else everywhere.behind
    if shared is not None:
        authority.turn = lambda: turn(store, shared, authority)
        authority.watch(everywhere.look)
    federator = Federator(store, lambda: authority.bundle, lambda: nodes.changed())
    authorization = Authorization(store, config.settings.root_namespace)
    writes = Writes(store, authorization)
    registrar = Registrar(store, writes, config.container_agents)

    def watched(agent: str, workloads: Watched) -> None:
        presences.said(agent, workloads)

    nodes = NodeService(
        authority,
        state,
        agents,
        store,
        acknowledgements,
        registrar.reported,
        watched,
        foreign=lambda: federator.bundles,
    )

    def is_revoked(identity: SpiffeId, serial: str) -> bool:
        return state.revocations.covers(identity, serial)

    async def allowed(caller: Caller, wanted: Attributes) -> bool:
        return (await authorization.decide(caller, wanted)).allowed

    svids = SvidCallers(authority, is_revoked)
    client_status = ClientStatus(ledger, lambda peer: svids.caller(peer.identity, peer.serial), allowed)
    reflected = PortReflection(lambda peer: not is_revoked(peer.identity, peer.serial))
    presences = Presences(store, lambda: nodes.connected, config.agent_grace_seconds)
    xds = XdsServer(
        config.xds,
        own.identity,
        state,
        ledger,
        [nodes.handler(), client_status.handler(), reflected.handler()],
        is_revoked=lambda peer: state.revocations.covers(peer.identity, peer.serial),
    )

    tracing = Tracing.of(os.environ, VERSION)
    journeys = tracing.journeys if tracing is not None else None
    xds.desk.watcher = journeys

    def keys_learned(source: str, jwks: str) -> None:
        affected = state.learn_keys(source, jwks)
        ledger.advance(state.revision, affected.nodes)
        xds.publish(affected.nodes)

    workers = _workers(config, xds, authority, svids)

    keys = KeyFetcher(lambda: state.key_sources, keys_learned)

    leaving = Leaving(ledger, xds.publish)

    def changed(affected: Affected, revision: int) -> None:
        keys.look_again()
        ledger.advance(revision, affected.nodes)
        if journeys is not None:
            told = xds.desk.connected(affected.nodes - affected.gone)
            journeys.in_force(revision, len(affected.nodes), told)
        xds.publish(affected.nodes - affected.gone, reconciler.since)
        if affected.gone:
            leaving.begin(affected.gone, affected.nodes - affected.gone, revision)
        if affected.agents:
            xds.end_revoked()
            nodes.changed(affected.agents)

    tokens = Tokens(store)
    await first_start.put_objects(store, config.settings.root_namespace)
    await registrar.prepare()
    token = await first_start.admin_token(tokens, config.data_dir)
    reconciler = Reconciler(store, state, changed)
    await reconciler.once()
    await agents.load()
    await federator.load()
    bound = {"api": 0}

    def reachable() -> tuple[str, str, str]:
        return (
            join(config.advertise or api_host, bound["api"]),
            join(config.advertise or xds_host, xds.port),
            join(config.advertise or sidecars_host, workers.port) if workers else "",
        )

    def write_kubeconfig() -> None:
        bundle = authority.bundle.to_pem()
        first_start.write_kubeconfig(config.data_dir, reachable()[0], bundle, token, domain.name)

    def authorities_changed() -> None:
        write_kubeconfig()
        nodes.changed()

    async def ready_check() -> None:
        await store.check()
        if not authority.bundle.certificates:
            raise UnavailableError("the authority has no root")
        if workers is not None and not workers.listening:
            raise UnavailableError("no xDS worker listens")

    authorities = AuthorityWatch(authority, xds, authorities_changed, workers)
    settings = (
        attestation_settings.load(config.node_attestation)
        if config.node_attestation
        else AttestationSettings()
    )
    attestation = NodeAttestation(store, authority, agents, settings, asyncio.get_running_loop().time)
    general = Operations(store, authority, ledger, reachable, tokens, state.snapshot, is_revoked)
    operations = {
        **general.table(),
        **FederationOperations(federator).table(),
        **DownstreamOperations(store, authority).table(),
        **AuthorityOperations(store, authority, authorities.in_force).table(),
        **AgentOperations(agents, nodes, attestation).table(),
    }
    issuers = people_settings.load(config.people) if config.people else ()
    people = People(issuers, ProviderKeys(asyncio.get_running_loop().time))
    tallies = Tallies(store, ledger)
    collector = Collector(store, writes, [tokens.drop_expired, tallies.forget_gone])
    status = StatusWriter(store, writes, tallies.look, state)
    debugging = Debugging(ledger, xds.desk, state.snapshot, lambda: (store.revision, state.revision))
    metrics = Metrics()
    metrics.section(xds.meter.lines)
    if workers is not None:
        metrics.section(workers.lines)
    api = Api(
        ApiDependencies(
            store, Authentication([tokens, svids, people], svids), authorization, writes, operations, _documents(authority, people),
            VERSION, ready_check, Trials(state, lambda: store.revision).lines, metrics=metrics, debug=debugging.pages(), journeys=journeys,
        )
    )  # fmt: skip
    try:
        await xds.start()
    except AddressInUseError as error:
        raise _taken("xDS", config.xds, "--xds") from error
    try:
        if workers is not None:
            try:
                await workers.start()
            except AddressInUseError as error:
                raise _taken("sidecars' xDS", config.sidecars, "--sidecars") from error
        async with AsyncExitStack() as serving:
            try:
                bound["api"] = await serving.enter_async_context(api.listen(api_host, api_port, own.context))
            except OSError as error:
                raise _taken("API", config.api, "--api") from error
            authority.jwt_issuer = config.jwt_issuer or f"https://{reachable()[0]}"
            write_kubeconfig()
            if config.join_socket is not None:
                await serving.enter_async_context(_door(config.join_socket, config, general))
            ready(*reachable())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(reconciler.run())
                tasks.create_task(agents.run())
                tasks.create_task(registrar.run())
                tasks.create_task(federator.run())
                tasks.create_task(presences.run())
                tasks.create_task(authority.run(lambda: store.leading))
                if shared is not None:
                    tasks.create_task(follow_authority(store, authority))
                    tasks.create_task(everywhere.run())
                    tasks.create_task(tallies.run())
                tasks.create_task(authorities.run())
                tasks.create_task(own.run())
                tasks.create_task(collector.run())
                tasks.create_task(status.run())
                tasks.create_task(GitSources(store, writes, authorization).run())
                tasks.create_task(keys.run())
                if tracing is not None:
                    tasks.create_task(tracing.run())
                if workers is not None:
                    tasks.create_task(workers.run())
    finally:
        await xds.stop()
        if workers is not None:
            await workers.stop()
        if tracing is not None:
            await tracing.stop()


def _workers(
    config: Config, xds: XdsServer, authority: CertificateAuthority, svids: SvidCallers
) -> WorkerPool | None:
    if not config.xds_workers:
        return None
    from ca.rotation import Lifetime, renew_at
    from xds.workers.channel import Certified
    from xds.workers.pool import WorkerPool

    def certify(csr: bytes) -> Certified:
        svid = authority.issue_xds(csr)
        when = renew_at(Lifetime(svid.not_before, svid.not_after), 0.5)
        return Certified(svid.chain_pem.encode(), authority.bundle.to_pem(), when)

    return WorkerPool(config.sidecars, config.xds_workers, xds.desk, certify, svids.peer)


def _door(path: Path, config: Config, operations: Operations) -> JoinSocket:
    """Through it the one container agent there is joins."""
    agent = next(iter(config.container_agents))

    async def token() -> str:
        made = await operations.create_token({"agent": agent, "ttlSeconds": 60}, None)
        return str(made["token"])

    return JoinSocket(path, token)


def _documents(authority: CertificateAuthority, people: People) -> dict[str, Callable[[], dict[str, Any]]]:
    return {
        "/.well-known/spiffe/bundle": lambda: authority.bundle.to_spiffe(),
        "/.well-known/openid-configuration": lambda: oidc.discovery(authority.jwt_issuer, authority.bundle),
        "/keys": lambda: oidc.keys(authority.bundle),
        "/.well-known/pylis-login": people.how_to_log_in,
    }


def _taken(what: str, address: str, option: str) -> PortTakenError:
    return PortTakenError(f"the {what} cannot listen on {address}: it is taken, or no address of this machine; "
                          f"stop what uses it, or choose another with {option} 127.0.0.1:0")  # fmt: skip
