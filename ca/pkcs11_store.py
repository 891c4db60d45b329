"""A keystore whose private keys are in a PKCS#11 token; the journal is in files beside it.

The token is named by a URI as PKCS#11 programs know it:

    pkcs11:token=pylis?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pylis/pin

Source: RFC 7512; python-pkcs11 (`pip install pylis[pkcs11]`)
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# python-pkcs11 comes without complete types

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ca.errors import KeystoreError
from ca.keys import KeyType, PrivateKey
from ca.keystore import FileKeystore
from ca.pkcs11_keys import TokenEcKey, TokenRsaKey

SCHEME: Final = "pkcs11:"
_KNOWN: Final = frozenset({"token", "module-path", "pin-source", "pin-value"})
_LABEL: Final = "pylis "  # before the names of our keys: a token may hold others


@dataclass(frozen=True, slots=True)
class TokenUri:
    token: str
    module: str
    pin: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the PIN from its file. Raises: KeystoreError, which never repeats the PIN."""
        path, _, query = text.removeprefix(SCHEME).partition("?")
        parts = [part for part in (*path.split(";"), *query.split("&")) if part]
        found = {name: unquote(value) for name, _, value in (part.partition("=") for part in parts)}
        if unknown := sorted(set(found) - _KNOWN):
            raise KeystoreError(f"the pkcs11 URI has {unknown[0]!r}; known are {', '.join(sorted(_KNOWN))}")
        for name in ("token", "module-path"):
            if not found.get(name):
                raise KeystoreError(f"the pkcs11 URI names no {name}")
        source = found.get("pin-source", "").removeprefix("file:")
        if bool(source) == ("pin-value" in found):
            raise KeystoreError("the pkcs11 URI needs pin-source=file:PATH or pin-value, one of them")
        try:
            pin = Path(source).read_text().strip() if source else found["pin-value"]
        except (OSError, UnicodeDecodeError) as error:
            raise KeystoreError(f"cannot read the PIN in {source}") from error
        return cls(found["token"], found["module-path"], pin)


def open_session(uri: TokenUri, package: str) -> Any:
    """A session that is logged in. Raises: KeystoreError when the module, the token or the PIN is wrong.

    `package`: what needs it, for whoever lacks python-pkcs11.
    """
    try:
        import pkcs11
    except ImportError as error:
        raise KeystoreError(
            f"{package} in a PKCS#11 module need one more package: pip install 'pylis[pkcs11]'"
        ) from error
    try:
        token: Any = pkcs11.lib(uri.module).get_token(token_label=uri.token)
        try:
            return token.open(user_pin=uri.pin, rw=True)
        except pkcs11.UserAlreadyLoggedIn:  # by another session of this process, whose login holds for all
            return token.open(rw=True)
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        raise KeystoreError(f"cannot use token {uri.token} of {uri.module}: {_why(error)}") from error


class Pkcs11Keystore(FileKeystore):
    """One session, used by one thread at a time."""

    def __init__(self, uri: TokenUri, directory: Path) -> None:
        """Raises: KeystoreError when the module, the token or the PIN is wrong."""
        super().__init__(directory)
        self._lock = threading.Lock()
        self._where = f"token {uri.token} of {uri.module}"
        self._session = open_session(uri, "keys")

    def create_key(self, name: str, kind: KeyType) -> PrivateKey:
        from pkcs11 import PKCS11Error

        self.forget_key(name)
        try:
            with self._lock:
                self._generate(_LABEL + name, kind)
        except PKCS11Error as error:
            raise KeystoreError(f"{self._where} made no {kind} key: {_why(error)}") from error
        made = self.key(name)
        if made is None:
            raise KeystoreError(f"{self._where} does not hold the key it has just made")
        return made

    def key(self, name: str) -> PrivateKey | None:
        from pkcs11 import MultipleObjectsReturned, NoSuchKey, ObjectClass, PKCS11Error

        try:
            with self._lock:
                held: Any = self._session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=_LABEL + name)
                public: Any = self._session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=_LABEL + name)
                return self._known(held, load_der_public_key(_spki(public)))
        except NoSuchKey:
            return None
        except (PKCS11Error, MultipleObjectsReturned) as error:
            raise KeystoreError(f"{self._where}: the key {name} cannot be used: {_why(error)}") from error

    def forget_key(self, name: str) -> None:
        from pkcs11 import Attribute, PKCS11Error

        try:
            with self._lock:
                for one in list(self._session.get_objects({Attribute.LABEL: _LABEL + name})):
                    one.destroy()
        except PKCS11Error as error:
            raise KeystoreError(f"{self._where}: the key {name} cannot be removed: {_why(error)}") from error

    def close(self) -> None:
        self._session.close()

    def _generate(self, label: str, kind: KeyType) -> None:
        import pkcs11
        from pkcs11.util.ec import encode_named_curve_parameters

        capabilities = pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY
        match kind:
            case KeyType.RSA_2048:
                self._session.generate_keypair(
                    pkcs11.KeyType.RSA, 2048, label=label, store=True, capabilities=capabilities
                )
            case KeyType.EC_P256 | KeyType.EC_P384:
                curve = "secp256r1" if kind is KeyType.EC_P256 else "secp384r1"
                parameters = self._session.create_domain_parameters(
                    pkcs11.KeyType.EC,
                    {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)},
                    local=True,
                )
                parameters.generate_keypair(label=label, store=True, capabilities=capabilities)

    def _known(self, held: Any, public: Any) -> PrivateKey:
        match public:
            case ec.EllipticCurvePublicKey():
                return TokenEcKey(held, public, self._lock)
            case rsa.RSAPublicKey():
                return TokenRsaKey(held, public, self._lock)
            case _:
                raise KeystoreError(f"{self._where} holds a key of another kind")


def _spki(public: Any) -> bytes:
    import pkcs11
    from pkcs11.util.ec import encode_ec_public_key
    from pkcs11.util.rsa import encode_rsa_public_key

    if public.key_type is pkcs11.KeyType.RSA:
        return encode_rsa_public_key(public)
    return encode_ec_public_key(public)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
