"""A stock gRPC client by xDS. Each line on stdin is `TARGET METHOD`; each line out is the answer or the status."""

from __future__ import annotations

import sys

import grpc

# a service without TLS would be called with these: they trust nobody of the mesh
credentials = grpc.xds_channel_credentials(grpc.ssl_channel_credentials())
channels: dict[str, grpc.Channel] = {}
for line in sys.stdin:
    target, method = line.split()
    channel = channels.setdefault(target, grpc.secure_channel(target, credentials))
    try:
        print(channel.unary_unary(method)(b"you", timeout=5, wait_for_ready=False).decode(), flush=True)
    except grpc.RpcError as error:
        print(error.code().name, flush=True)
