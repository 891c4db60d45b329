"""`pylis identity`: which processes may be whom (WorkloadRegistration), and cutting an identity off (Quarantine)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

import click

from controlplane.cli.client import Client, RefusedError, collection, member, options
from controlplane.cli.output import Failure, columns, emit, format_option

API: Final = "pylis.io/v1alpha1"
_PLURAL: Final = "workloadregistrations"
_QUARANTINES: Final = "quarantines"
_namespace = click.option("-n", "--namespace", default="default", show_default=True)


@click.group()
def identity() -> None:
    """Registrations: which processes, on which agents, may hold which identity."""


def _many(flag: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(flag, multiple=True, help=text)


@identity.command()
@click.argument("name")
@_namespace
@click.option("--service-account", default="", help="[default: the name]")
@click.option("--path", default="", help="An ID of another shape, below /ns/NAMESPACE/.")
@_many("--selector", "What a process has to be, for example unix:uid:1000; all of them.")
@_many("--agent", 'An agent that may hold it; "*": any.')
@_many("--agent-selector", "Or: what an agent has to be, for example x509pop:subject:cn:web-1.")
@click.option("--x509-ttl", default="", help="[default: 1h]")
@click.option("--jwt-ttl", default="", help="[default: 5m]")
@_many("--dns", "A DNS name for its certificates.")
@_many("--federates-with", "A foreign trust domain it knows.")
@click.option("--hint", default="", help="Tells a workload with several identities which one this is.")
@format_option
@options
def create(
    name: str, namespace: str, service_account: str, path: str, selector: tuple[str, ...], agent: tuple[str, ...],
    agent_selector: tuple[str, ...], x509_ttl: str, jwt_ttl: str, dns: tuple[str, ...],
    federates_with: tuple[str, ...], hint: str, output: str, client: Callable[[], Client],
) -> None:  # fmt: skip
    """Register an identity. Running processes that fit have it milliseconds later.

    \b
    Example:
      pylis identity create orders -n shop --selector unix:user:orders --agent web-1
    """
    given: dict[str, Any] = {
        "serviceAccount": service_account or ("" if path else name), "path": path, "selectors": list(selector),
        "agents": list(agent), "agentSelectors": list(agent_selector), "x509TTL": x509_ttl, "jwtTTL": jwt_ttl,
        "dnsNames": list(dns), "federatesWith": list(federates_with), "hint": hint,
    }  # fmt: skip
    body = {
        "apiVersion": API,
        "kind": "WorkloadRegistration",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {key: value for key, value in given.items() if value},
    }
    answer = client().request("POST", collection(API, _PLURAL, namespace), body)
    emit(answer, output, lambda: [f"workloadregistration/{name} created", f"  {_path(answer)}"])


@identity.command("list")
@_namespace
@click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace.")
@format_option
@options
def list_identities(namespace: str, all_namespaces: bool, output: str, client: Callable[[], Client]) -> None:
    """Show registrations.

    \b
    Example:
      pylis identity list -A
    """
    items = client().list(API, _PLURAL, None if all_namespaces else namespace)

    def table() -> list[str]:
        rows = [
            [
                item["metadata"]["namespace"],
                item["metadata"]["name"],
                _path(item),
                " ".join(item["spec"]["selectors"]),
                _holders(item),
            ]
            for item in items
        ]
        head = ["NAMESPACE", "NAME", "IDENTITY", "SELECTORS", "AGENTS"]
        return columns(head, rows) if rows else ["nothing is registered here"]

    emit({"items": items}, output, table)


@identity.command()
@click.argument("name")
@_namespace
@format_option
@options
def show(name: str, namespace: str, output: str, client: Callable[[], Client]) -> None:
    """Show one registration.

    \b
    Example:
      pylis identity show orders -n shop
    """
    item = client().request("GET", member(API, _PLURAL, namespace, name))
    spec: dict[str, Any] = item["spec"]

    def table() -> list[str]:
        rows = [
            ("identity", _path(item)), ("selectors", " ".join(spec["selectors"])), ("agents", _holders(item)),
            ("X.509 TTL", spec.get("x509TTL", "1h")), ("JWT TTL", spec.get("jwtTTL", "5m")),
            ("DNS names", " ".join(spec.get("dnsNames", []))), ("hint", spec.get("hint", "")),
            ("federates with", " ".join(spec.get("federatesWith", []))),
        ]  # fmt: skip
        return [f"{label:<15}{text}" for label, text in rows if text]

    emit(item, output, table)


@identity.command()
@click.argument("name")
@_namespace
@options
def delete(name: str, namespace: str, client: Callable[[], Client]) -> None:
    """Remove a registration: agents drop the identity at once. SVIDs handed out stay valid: see revoke.

    \b
    Example:
      pylis identity delete orders -n shop
    """
    client().request("DELETE", member(API, _PLURAL, namespace, name))
    click.echo(f"workloadregistration/{name} deleted")


@identity.command()
@click.argument("target")
@click.option("--reason", default="", help="Why; it stands in the Quarantine and in the audit log.")
@format_option
@options
def revoke(target: str, reason: str, output: str, client: Callable[[], Client]) -> None:
    """Cut off an identity (its SPIFFE ID) or one certificate (its serial number), everywhere and at once.

    Live connections are denied with rule "quarantine", nothing is renewed, tokens are refused.

    \b
    Example:
      pylis identity revoke spiffe://example.org/ns/shop/sa/orders --reason "laptop stolen"
      pylis identity revoke 7f:3a:…
    """
    spec = _target(target)
    name = _quarantine_name(spec)
    body: dict[str, Any] = {
        "apiVersion": API,
        "kind": "Quarantine",
        "metadata": {"name": name},
        "spec": {**spec, **({"reason": reason} if reason else {})},
    }
    try:
        answer = client().request("POST", collection(API, _QUARANTINES), body)
        done = "revoked"
    except RefusedError as error:
        if error.status != 409:
            raise
        answer, done = client().request("GET", member(API, _QUARANTINES, None, name)), "revoked already"
    undo = f"undo: pylis delete quarantine {name}"
    emit(answer, output, lambda: [f"{target} {done}", f"  {undo}"])


def _target(text: str) -> dict[str, list[str]]:
    """Raises: Failure."""
    from ca.revocation import read_serial

    if text.startswith("spiffe://"):
        return {"spiffeIDs": [text]}
    serial = read_serial(text)
    if serial is None:
        hint = "pylis svid show FILE prints both"
        raise Failure(f'"{text}" is neither a SPIFFE ID nor a serial number', hint=hint)
    return {"serials": [serial]}


def _quarantine_name(spec: dict[str, list[str]]) -> str:
    """The same for the same target, so that revoking twice is revoking once."""
    (values,) = spec.values()
    return f"revoked-{hashlib.sha256(values[0].encode()).hexdigest()[:16]}"


def _path(item: dict[str, Any]) -> str:
    spec, namespace = item["spec"], item["metadata"]["namespace"]
    return str(spec.get("path") or f"/ns/{namespace}/sa/{spec.get('serviceAccount', '')}")


def _holders(item: dict[str, Any]) -> str:
    spec = item["spec"]
    return " ".join([*spec.get("agents", []), *spec.get("agentSelectors", [])])
