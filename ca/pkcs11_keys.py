"""Private keys in a PKCS#11 module, as `cryptography` knows keys: they sign, and nothing else.

What is signed goes into the module, the signature comes out; asking for the key itself is an error.
Source: PKCS#11 v2.40 §2.3.1 (ECDSA), §2.1.6 (RSA with SHA-256)
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# python-pkcs11 comes without complete types

from __future__ import annotations

import threading
from typing import Any, Final, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

_NEVER: Final = "this key is in a hardware module and never leaves it"


class TokenEcKey(ec.EllipticCurvePrivateKey):
    def __init__(self, held: Any, public: ec.EllipticCurvePublicKey, lock: threading.Lock) -> None:
        self._held = held
        self._public = public
        self._lock = lock

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        from pkcs11 import Mechanism

        algorithm = signature_algorithm.algorithm
        if not isinstance(algorithm, hashes.HashAlgorithm):
            raise NotImplementedError("only whole messages are signed here")
        digest = hashes.Hash(algorithm)
        digest.update(data)
        with self._lock:
            pair: bytes = self._held.sign(digest.finalize(), mechanism=Mechanism.ECDSA)
        half = len(pair) // 2
        return encode_dss_signature(int.from_bytes(pair[:half], "big"), int.from_bytes(pair[half:], "big"))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        raise NotImplementedError(_NEVER)

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        raise NotImplementedError(_NEVER)

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> bytes:
        raise NotImplementedError(_NEVER)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> Self:
        return self


class TokenRsaKey(rsa.RSAPrivateKey):
    def __init__(self, held: Any, public: rsa.RSAPublicKey, lock: threading.Lock) -> None:
        self._held = held
        self._public = public
        self._lock = lock

    def sign(self, data: Any, padding: Any, algorithm: Any) -> bytes:
        from pkcs11 import Mechanism

        if not _is_plain(padding) or not isinstance(algorithm, hashes.SHA256):
            raise NotImplementedError("only PKCS#1 v1.5 with SHA-256 is signed here")
        with self._lock:
            signature: bytes = self._held.sign(bytes(data), mechanism=Mechanism.SHA256_RSA_PKCS)
        return signature

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def decrypt(self, ciphertext: Any, padding: Any) -> bytes:
        raise NotImplementedError(_NEVER)

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        raise NotImplementedError(_NEVER)

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> bytes:
        raise NotImplementedError(_NEVER)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> Self:
        return self


def _is_plain(one: Any) -> bool:
    return isinstance(one, padding.PKCS1v15)
