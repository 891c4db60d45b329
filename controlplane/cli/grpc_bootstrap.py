"""`pylis grpc-bootstrap`: how a gRPC process without a sidecar finds the control plane and its certificates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from controlplane.cli.client import Client, options


@click.command("grpc-bootstrap")
@click.argument("node")
@click.option(
    "--svid-dir",
    required=True,
    type=click.Path(path_type=Path),
    help="Where svid.pem, key.pem and bundle.pem are; whoever renews them replaces them by rename.",
)
@click.option("--xds", default="", help="host:port of the control plane  [default: what the API says]")
@click.option("--refresh-seconds", default=5, show_default=True, type=click.IntRange(1, 3600))
@options
def grpc_bootstrap(
    node: str, svid_dir: Path, xds: str, refresh_seconds: int, client: Callable[[], Client]
) -> None:  # fmt: skip
    """Print a bootstrap for the WorkloadEntry NODE (namespace/name), whose annotation says "proxyless": true.

    Put it into a file that GRPC_XDS_BOOTSTRAP names, before the process starts. Then channels to xds:///host:port
    and servers made with xds=True follow the mesh. Use grpc.xds_channel_credentials and
    grpc.xds_server_credentials with a fallback that refuses: anything else speaks plaintext.

    \b
    Example:
      pylis grpc-bootstrap shop/orders-1 --svid-dir /run/svid > bootstrap.json
    """
    from xds.compile.proxyless import PROVIDER
    from xds.names import GRPC_SERVER_TEMPLATE

    where = xds or str(client().request("GET", "/pylis/v1/addresses")["xds"])
    directory = svid_dir.absolute()
    files: dict[str, Any] = {
        "certificate_file": str(directory / "svid.pem"),
        "private_key_file": str(directory / "key.pem"),
        "ca_certificate_file": str(directory / "bundle.pem"),
        "refresh_interval": f"{refresh_seconds}s",
    }
    server = {
        "server_uri": where, "server_features": ["xds_v3"], "channel_creds": [{"type": "tls", "config": files}],
    }  # fmt: skip
    bootstrap = {
        "xds_servers": [server],
        "node": {"id": node, "cluster": node.partition("/")[0]},
        "certificate_providers": {PROVIDER: {"plugin_name": "file_watcher", "config": files}},
        "server_listener_resource_name_template": GRPC_SERVER_TEMPLATE,
    }
    click.echo(json.dumps(bootstrap, indent=2))
