"""The envelope key in a PKCS#11 token: it wraps and unwraps there, and never leaves it.

AES-256, made in the token when it is missing (sensitive, not extractable), AES-GCM. The token is needed when a server
starts, and not after: only the data key is ever wrapped.
Source: PKCS#11 v2.40 §2.12 (AES-GCM)
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# python-pkcs11 comes without complete types

from __future__ import annotations

import os
import threading
from typing import Any, Final

from ca.errors import KeystoreError
from ca.pkcs11_store import TokenUri, open_session
from controlplane.store.envelope_key import WRAPPED_AS, WrongKeyError
from controlplane.store.port import UnusableError

LABEL: Final = "pylis envelope"
_NONCE: Final = 12
_lock = threading.Lock()  # a session is one thread's


class TokenEnvelope:
    """Make it with `open`."""

    def __init__(self, session: Any, where: str) -> None:
        """Raises: KeystoreError."""
        self._session = session
        self._key = _key(session)
        self._where = where

    @classmethod
    def open(cls, uri: str) -> TokenEnvelope:
        """Raises: UnusableError when the module, the token or the PIN is wrong."""
        try:
            named = TokenUri.parse(uri)
            return cls(open_session(named, "envelope keys"), f"token {named.token} of {named.module}")
        except KeystoreError as error:
            raise UnusableError(str(error)) from error

    def close(self) -> None:
        self._session.close()

    def wrap(self, data_key: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._run("encrypt", nonce, data_key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Raises: WrongKeyError for what another key wrapped."""
        return self._run("decrypt", wrapped[:_NONCE], wrapped[_NONCE:])

    def _run(self, what: str, nonce: bytes, data: bytes) -> bytes:
        from pkcs11 import GCMParams, Mechanism, PKCS11Error

        try:
            with _lock:
                run = getattr(self._key, what)
                return bytes(
                    run(data, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, WRAPPED_AS, 128))
                )
        except PKCS11Error as error:
            raise WrongKeyError(f"{self._where}: {str(error) or type(error).__name__}") from error


def _key(session: Any) -> Any:
    """Raises: KeystoreError."""
    import pkcs11

    try:
        return session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=LABEL)
    except pkcs11.NoSuchKey:
        pass
    except (pkcs11.PKCS11Error, pkcs11.MultipleObjectsReturned) as error:
        raise KeystoreError(f"the key {LABEL!r} of the token cannot be used: {error}") from error
    template = {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False}
    uses = pkcs11.MechanismFlag.ENCRYPT | pkcs11.MechanismFlag.DECRYPT
    try:
        return session.generate_key(
            pkcs11.KeyType.AES, 256, label=LABEL, store=True, capabilities=uses, template=template
        )
    except pkcs11.PKCS11Error as error:
        raise KeystoreError(f"the token made no AES key: {error}") from error
