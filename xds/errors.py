"""What can go wrong with a peer of the xDS server, as exceptions.

XdsError
├── SchemaError         a message type or field that envoy-data-plane does not have
├── SnapshotError       a snapshot that contradicts itself: our caller's fault
├── ProtocolError       the peer broke the xDS protocol: its stream ends (INVALID_ARGUMENT)
└── NotAuthorizedError  the stream's SVID may not claim that node (PERMISSION_DENIED)
"""

from __future__ import annotations


class XdsError(Exception):
    """The root of this folder's errors."""


class SchemaError(XdsError):
    pass


class SnapshotError(XdsError):
    pass


class ProtocolError(XdsError):
    pass


class NotAuthorizedError(XdsError):
    pass
