"""The arguments and options of every command that asks about one request: `check`, `explain`, `suggest`."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from controlplane.cli.client import Client, options
from controlplane.cli.explain_answer import Answer, answer
from controlplane.cli.explain_question import Words, ask, read_headers
from controlplane.cli.mesh_source import fetch_mesh, mesh_config_option, read_mesh
from controlplane.cli.output import Failure
from policies.document import Json
from policies.evaluate import Outside

_OPTIONS = (
    click.argument("caller", metavar="FROM"),
    click.argument("target", metavar="TO"),
    click.option("--method", default="", help="HTTP method.  [default: GET]"),
    click.option("--path", default="", help="Path as sent, query and all.  [default: /]"),
    click.option("--host", default="", help="Host header.  [default: the service's]"),
    click.option(
        "--header", "headers", multiple=True, metavar="K=V", help="A request header; may be repeated."
    ),
    click.option(
        "--port", default=0, type=click.IntRange(0, 65535), help="Service port.  [default: its first]"
    ),
    click.option("--source-ip", default="", help="The caller's address.  [default: the workload's]"),
    click.option("--remote-ip", default="", help="The client's, as trusted proxies name it."),
    click.option("--sni", default="", help="Server name of the TLS handshake."),
    click.option(
        "--claims", default="", metavar="JSON", help="Payload of a token that was verified already."
    ),
    click.option(
        "--authorizer",
        "authorizers",
        multiple=True,
        metavar="NAME=allow|deny",
        help="What an external authorizer answers; one that is not named denies.",
    ),
    click.option(
        "-f", "--file", "files", multiple=True, type=click.Path(exists=True), help="Ask files, not a server."
    ),
    click.option("--trust-domain", default="", help="Of the mesh in the files.  [default: cluster.local]"),
    mesh_config_option,
    options,
)


def asking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `function` the `answer` to what was typed, and the `asked` words to ask again."""

    @functools.wraps(function)
    def wrapped(
        caller: str,
        target: str,
        headers: Sequence[str],
        claims: str,
        authorizers: Sequence[str],
        files: Sequence[str],
        trust_domain: str,
        mesh_config: Path | None,
        client: Callable[[], Client],
        **more: Any,
    ) -> Any:
        names = ("method", "path", "host", "port", "source_ip", "remote_ip", "sni")
        typed = {name: more.pop(name) for name in names}
        words = Words(caller, target, headers=read_headers(headers), claims=_read_claims(claims), **typed)
        mesh = (
            read_mesh(files, trust_domain, "nothing was asked.", mesh_config)
            if files
            else fetch_mesh(client, trust_domain, mesh_config)
        )
        outside = Outside(now=time.time(), authorizers=_read_authorizers(authorizers))
        found: Answer = answer(mesh, ask(mesh, words), outside)
        return function(answer=found, words=words, **more)

    decorated: Callable[..., Any] = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _read_claims(text: str) -> dict[str, Json] | None:
    """Raises: Failure."""
    if not text:
        return None
    try:
        value: Json = json.loads(text)
    except ValueError as error:
        raise Failure(f"--claims is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Failure(
            "--claims is no JSON object", hint='for example {"iss": "https://idp.example", "sub": "alice"}'
        )
    return value


def _read_authorizers(texts: Sequence[str]) -> dict[str, bool]:
    """Raises: Failure."""
    found = dict[str, bool]()
    for text in texts:
        name, equals, word = text.partition("=")
        if not name or not equals or word not in ("allow", "deny"):
            raise Failure(f'"{text}" says nothing of an authorizer', hint="write NAME=allow or NAME=deny")
        found[name] = word == "allow"
    return found
