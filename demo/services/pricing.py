"""A gRPC service, /shop.Pricing/{Quote,SetPrice}: echoes the bytes it is sent."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
# grpc comes without complete types

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


class Methods(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method in ("/shop.Pricing/Quote", "/shop.Pricing/SetPrice"):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"quoted " + request)
        return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Methods(),))
    server.add_insecure_port(f"{arguments.host}:{arguments.port}")
    server.start()
    print(f"pricing listens on {arguments.port}", flush=True)
    server.wait_for_termination()
