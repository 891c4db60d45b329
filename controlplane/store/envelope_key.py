"""The envelope key that wraps a store's data key: its bytes, or something that holds it and wraps for us."""

from __future__ import annotations

from typing import Final, Protocol

WRAPPED_AS: Final = b"pylis data key"  # authenticated with what is wrapped


class WrongKeyError(Exception):
    """What is to be unwrapped was wrapped by another key."""


class HeldKey(Protocol):
    """An envelope key that others hold."""

    def wrap(self, data_key: bytes) -> bytes: ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """Raises: WrongKeyError."""
        ...


EnvelopeKey = bytes | HeldKey
