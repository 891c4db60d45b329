"""What can go wrong with a peer of the xDS server, as exceptions.

XdsError
├── SchemaError         a message type or field that envoy-data-plane does not have
├── SnapshotError       a snapshot that contradicts itself: our caller's fault
├── ProtocolError       the peer broke the xDS protocol: its stream ends (INVALID_ARGUMENT)
├── FrameError          the server, or one of its workers, said what the other cannot read: the worker ends
├── NotAuthorizedError  the stream's SVID may not claim that node (PERMISSION_DENIED)
├── WorkersError        the processes that hold sidecars' connections did not start
└── RefusedError        a stream is not opened: says which gRPC status it ends with, and why
"""

from __future__ import annotations

from enum import StrEnum


class XdsError(Exception):
    """The root of this folder's errors."""


class SchemaError(XdsError):
    pass


class SnapshotError(XdsError):
    pass


class ProtocolError(XdsError):
    pass


class FrameError(XdsError):
    pass


class NotAuthorizedError(XdsError):
    pass


class WorkersError(XdsError):
    """The text says why, and where to look."""


class Refusal(StrEnum):
    """Statuses of gRPC, by its names."""

    PERMISSION_DENIED = "PERMISSION_DENIED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"


class RefusedError(XdsError):
    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal
