"""A stock xDS-enabled gRPC server: says "hello" to whoever may call. Argument: the address."""

from __future__ import annotations

import os
import sys
import time
from concurrent import futures
from pathlib import Path

import grpc


class Hello(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, _: b"hello " + request)


server = grpc.server(futures.ThreadPoolExecutor(4), xds=True)
server.add_generic_rpc_handlers((Hello(),))
own = Path(os.environ["GRPC_XDS_BOOTSTRAP"]).parent
key, chain, roots = ((own / name).read_bytes() for name in ("key.pem", "svid.pem", "bundle.pem"))
# a listener without TLS would be served with these: still no plaintext
refusing = grpc.ssl_server_credentials([(key, chain)], roots, require_client_auth=True)
server.add_secure_port(sys.argv[1], grpc.xds_server_credentials(refusing))
server.start()
print("started", flush=True)
time.sleep(120)
