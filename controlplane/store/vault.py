"""Encryption at rest: secret material is sealed before it reaches a disk or another machine.

Envelope: a key-encryption key from outside (file or environment, 32 bytes; or in a PKCS#11 token) wraps one data key
that the store keeps.
A record's text is sealed by AES-256-GCM with the record's key as associated data: a sealed text that was moved to
another name does not open. Changing the outer key rewraps the data key and touches no record.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ca.keystore import write_private
from controlplane.store.envelope_key import WRAPPED_AS, EnvelopeKey, WrongKeyError
from controlplane.store.port import Key, UnusableError

SCHEME: Final = "pkcs11:"
SEALED_RESOURCES: Final = frozenset({"secrets", "authorities.internal", "signingkeys.internal"})
_PREFIX: Final = '{"sealed":"'
_NONCE: Final = 12


class Vault:
    """Make it with `open` or `create`; its repr shows nothing."""

    def __init__(self, data_key: bytes) -> None:
        self._aead = AESGCM(data_key)
        self.audit_key = hmac.new(data_key, b"pylis audit seal", hashlib.sha256).digest()

    @classmethod
    def create(cls, outer: EnvelopeKey) -> tuple[Self, str]:
        """A new data key, and its wrapped form for the store."""
        data_key = AESGCM.generate_key(256)
        return cls(data_key), _wrap(outer, data_key)

    @classmethod
    def open(cls, outer: EnvelopeKey, wrapped: str) -> Self:
        """Raises: UnusableError when `outer` is not the key this store was made with."""
        return cls(_unwrap(outer, wrapped))

    def seal(self, key: Key, text: str) -> str:
        """Only what is secret changes."""
        if key.resource not in SEALED_RESOURCES:
            return text
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._aead.encrypt(nonce, text.encode(), str(key).encode())
        return f'{_PREFIX}{base64.b64encode(sealed).decode()}"}}'

    def unseal(self, key: Key, text: str) -> str:
        """Raises: UnusableError for a text that was changed or moved."""
        if key.resource not in SEALED_RESOURCES:
            return text
        try:
            sealed = base64.b64decode(json.loads(text)["sealed"], validate=True)
            return self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], str(key).encode()).decode()
        except (ValueError, KeyError, TypeError, InvalidTag) as error:
            raise UnusableError(f"{key} cannot be decrypted: the store was changed; restore it") from error


def rewrap(old: EnvelopeKey, new: EnvelopeKey, wrapped: str) -> str:
    """The data key under another outer key. Raises: UnusableError."""
    return _wrap(new, _unwrap(old, wrapped))


def outer_key(path: Path, given: str = "") -> EnvelopeKey:
    """The key-encryption key: `given` (base64 or pkcs11:…), else the file, made when it is missing.

    Raises: UnusableError.
    """
    if given.startswith(SCHEME):
        from controlplane.store.token_envelope import TokenEnvelope

        return TokenEnvelope.open(given)
    try:
        if given:
            return _decode(given, "PYLIS_ENVELOPE_KEY")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(path, base64.b64encode(os.urandom(32)) + b"\n")
        if path.stat().st_mode & 0o077:
            raise UnusableError(f"{path} can be read by others: chmod 600 {path}")
        return _decode(path.read_text("ascii"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"cannot use {path} as envelope key: {error}") from error


def _decode(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise UnusableError(f"{where} holds no envelope key: 32 bytes in base64 (openssl rand -base64 32)")
    return key


def _wrap(outer: EnvelopeKey, data_key: bytes) -> str:
    if isinstance(outer, bytes):
        nonce = os.urandom(_NONCE)
        return base64.b64encode(nonce + AESGCM(outer).encrypt(nonce, data_key, WRAPPED_AS)).decode()
    return base64.b64encode(outer.wrap(data_key)).decode()


def _unwrap(outer: EnvelopeKey, wrapped: str) -> bytes:
    try:
        data = base64.b64decode(wrapped, validate=True)
        if isinstance(outer, bytes):
            return AESGCM(outer).decrypt(data[:_NONCE], data[_NONCE:], WRAPPED_AS)
        return outer.unwrap(data)
    except (ValueError, InvalidTag, WrongKeyError) as error:
        text = "the envelope key is not the one this store was made with; give the right one"
        raise UnusableError(f"{text} (--envelope-key, --envelope-key-file, PYLIS_ENVELOPE_KEY)") from error
