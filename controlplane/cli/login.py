"""`pylis login`: who one is at an OpenID provider is who one is at the policy API."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
import webbrowser
from pathlib import Path
from typing import Any

import click

from controlplane.cli import login_tokens
from controlplane.cli.client import RefusedError, Stranger, place
from controlplane.cli.oidc_flow import Provider, Tokens, by_browser, by_device
from controlplane.cli.output import Exit, Failure, to_json

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--server", default="", envvar="PYLIS_SERVER", help="https://host:port; needs --ca-file.")
@click.option("--ca-file", type=_PATH, envvar="PYLIS_CA_FILE", help="The mesh's trust bundle (PEM).")
@click.option("--kubeconfig", type=_PATH, help="Or: a kubeconfig that names both. Its user is not looked at.")
@click.option("--issuer", default="", help="Which provider, where the server trusts several.")
@click.option(
    "--device", is_flag=True, help="Show a code to type on another machine; without it: a browser here."
)
@click.option("--no-browser", is_flag=True, help="Print the page's address instead of opening it.")
@click.option("--out", type=_PATH, help="The kubeconfig to write.  [default: pylis/kubeconfig in ~/.config]")
@click.option(
    "--credential", type=_PATH, metavar="FILE", help="For kubectl: print the ExecCredential of a login."
)
def login(
    server: str, ca_file: Path | None, kubeconfig: Path | None, issuer: str, device: bool, no_browser: bool,
    out: Path | None, credential: Path | None,
) -> None:  # fmt: skip
    """Log in by an OpenID provider that the server trusts, and write a kubeconfig that comes with it.

    Tokens are kept for you only (mode 0600) and renewed as long as the provider lets them be.

    \b
    Example:
      pylis login --server https://pylis.example.com:15080 --ca-file ca.pem
      kubectl --kubeconfig ~/.config/pylis/kubeconfig get ap -A
    """
    if credential is not None:
        click.echo(json.dumps(login_tokens.exec_credential(login_tokens.current(credential))))
        return
    where = place(kubeconfig, server, ca_file)
    provider = _provider(where.get("/.well-known/pylis-login"), issuer)
    tokens = by_device(provider, _show_code) if device else by_browser(provider, _opener(no_browser))
    who = _who(where, tokens)
    directory = login_tokens.directory()
    name = hashlib.sha256(f"{where.server}\n{provider.issuer}".encode()).hexdigest()[:16]
    cache = directory / f"login-{name}.json"
    login_tokens.keep(cache, provider, tokens)
    path = out or directory / "kubeconfig"
    _write_kubeconfig(path, where, cache)
    groups = [group for group in who.get("groups", []) if group != "system:authenticated"]
    of = f" (groups: {', '.join(groups)})" if groups else ""
    click.echo(f"logged in as {who['username']}{of}")
    click.echo(f"kubeconfig: {path}\n  export KUBECONFIG={path} PYLIS_KUBECONFIG={path}", err=True)
    if not tokens.refresh:
        click.echo("  the provider gave no refresh token: log in again when this one expires", err=True)


def _provider(document: Any, wanted: str) -> Provider:
    found = {str(one["issuer"]): one for one in document.get("issuers", [])}
    if not found:
        hint = "its operator names OpenID providers with pylis server --oidc FILE, or makes you a token"
        raise Failure("the server trusts no OpenID provider", hint=hint, code=Exit.UNREACHABLE)
    if wanted not in found and (wanted or len(found) > 1):
        text = (
            f"{wanted} is none of the server's providers" if wanted else "the server trusts several providers"
        )
        raise Failure(text, hint=f"--issuer {' | '.join(sorted(found))}")
    one = found[wanted] if wanted else next(iter(found.values()))
    return Provider.discover(
        str(one["issuer"]), str(one["clientId"]), tuple(map(str, one["scopes"])), str(one["ca"])
    )


def _opener(no_browser: bool) -> Any:
    def show(page: str) -> None:
        if not no_browser and sys.stdin.isatty() and webbrowser.open(page):
            click.echo("waiting for you to log in in the browser …", err=True)
        else:
            click.echo(f"log in here, in a browser on this machine:\n  {page}", err=True)

    return show


def _show_code(page: str, code: str) -> None:
    click.echo(f"log in here, on any machine:  {page}\n  code  {code}", err=True)


def _who(where: Stranger, tokens: Tokens) -> Any:
    """As the server sees it."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    try:
        return where.with_token(tokens.identity).request("POST", path, body)["status"]["userInfo"]
    except RefusedError as error:
        if error.status != 401:
            raise
        hint = "its log says why (oidc.refused): the audience, a required claim, or a clock"
        raise Failure("the server does not take this ID token", hint=hint, code=Exit.UNREACHABLE) from error


def _write_kubeconfig(path: Path, where: Stranger, cache: Path) -> None:
    from ca.keystore import write_private

    cluster = {
        "server": where.server,
        "certificate-authority-data": base64.b64encode(where.ca_pem.encode()).decode(),
        "tls-server-name": "server.pylis.internal",
    }
    command = shutil.which(sys.argv[0]) or "pylis"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "pylis", "cluster": cluster}],
        "users": [{"name": "login", "user": login_tokens.exec_user(str(Path(command).absolute()), cache)}],
        "contexts": [{"name": "pylis", "context": {"cluster": "pylis", "user": "login"}}],
        "current-context": "pylis",
    }
    try:
        write_private(path.absolute(), to_json(config).encode() + b"\n")
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from error
