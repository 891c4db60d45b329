"""`pylis federation`: what is known of foreign trust domains. They are declared as FederatedTrustDomain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from controlplane.cli.client import Client, options
from controlplane.cli.output import columns, emit, format_option


@click.group()
def federation() -> None:
    """Foreign trust domains: whose bundles are held, and how fresh they are."""


@federation.command("list")
@format_option
@options
def list_(output: str, client: Callable[[], Client]) -> None:
    """List the foreign trust domains.

    \b
    Example:  pylis federation list
    """
    answer = client().request("GET", "/pylis/v1/federation")
    emit(answer, output, lambda: _lines(answer["items"]))


@federation.command()
@click.argument("trust_domain")
@options
def refresh(trust_domain: str, client: Callable[[], Client]) -> None:
    """Fetch the bundle of TRUST_DOMAIN now.

    \b
    Example:  pylis federation refresh partner.example
    """
    client().request("POST", "/pylis/v1/federation/refresh", {"trustDomain": trust_domain})
    click.echo("asked; pylis federation list says what came of it", err=True)


def _lines(items: list[dict[str, Any]]) -> list[str]:
    rows = [
        [
            one["trustDomain"],
            one["profile"] or "given",
            "-" if one["sequence"] is None else str(one["sequence"]),
            f"{one['x509Authorities']} x509, {one['jwtAuthorities']} jwt",
            one["fetched"] or "-",
            one["error"] or "",
        ]
        for one in items
    ]
    return columns(["TRUST DOMAIN", "BY", "SEQUENCE", "AUTHORITIES", "FETCHED", "ERROR"], rows)
