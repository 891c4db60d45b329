"""gRPC health checking for the xDS port: it is serving, for anyone the handshake let in.

The two messages are one field each, so that their bytes stand here. Source: grpc/health/v1/health.proto
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# grpc comes without complete types

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

CHECK: Final = "/grpc.health.v1.Health/Check"
WATCH: Final = "/grpc.health.v1.Health/Watch"
SERVING: Final = b"\x08\x01"  # HealthCheckResponse {status: SERVING}


async def _check(request: bytes, context: Any) -> bytes:
    if (
        request
    ):  # HealthCheckRequest {service}: the server as a whole has no name, and no other service is known
        await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return SERVING


async def _watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
    if request:
        await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    yield SERVING
    await asyncio.Event().wait()  # until the client or the server ends it


def handlers() -> dict[str, Any]:
    return {
        CHECK: grpc.unary_unary_rpc_method_handler(_check),
        WATCH: grpc.unary_stream_rpc_method_handler(_watch),
    }
