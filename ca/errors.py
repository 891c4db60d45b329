"""What can be wrong with what a peer or a user gave the CA.

CaError
├── SpiffeIdError       text that is no SPIFFE ID or trust domain
├── CsrError            a signing request we do not sign
├── RegistrationError   a registration that asks for a name it may not have
├── BundleError         a trust bundle that cannot be read
├── TokenError          text that is no join token
├── NodeProtocolError   bytes that are no message between agent and server
├── KeystoreError       the keystore cannot be read or written
├── AuthorityError      an authority that cannot sign now: it has expired, or is not valid yet
└── ProfileError        a certificate of ours that breaks the SPIFFE profile: our bug, it never leaves
"""

from __future__ import annotations


class CaError(Exception):
    """The root of this folder's errors."""


class SpiffeIdError(CaError):
    pass


class CsrError(CaError):
    pass


class RegistrationError(CaError):
    pass


class AuthorityError(CaError):
    pass


class BundleError(CaError):
    pass


class TokenError(CaError):
    pass


class NodeProtocolError(CaError):
    pass


class KeystoreError(CaError):
    pass


class ProfileError(CaError):
    pass
