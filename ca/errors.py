"""What can be wrong with what a peer or a user gave the CA.

CaError
├── SpiffeIdError       text that is no SPIFFE ID or trust domain
├── CsrError            a signing request we do not sign
├── RegistrationError   a registration that asks for a name it may not have
├── BundleError         a trust bundle that cannot be read
├── JwkError            a JSON Web Key that is damaged
├── JwtError            a JWT-SVID that is not valid; `reasons` holds every reason
├── TokenError          text that is no join token
├── AttestationError    evidence that does not prove who an agent or a process is
├── NodeProtocolError   bytes that are no message between agent and server
├── KeystoreError       the keystore cannot be read or written
├── AuthorityError      an authority that cannot sign now, or is not in the state for what is asked of it
│   └── NotAcknowledgedError  agents have not acknowledged what has to be known everywhere; `agents` names them
└── ProfileError        a certificate of ours that breaks the SPIFFE profile: our bug, it never leaves
"""

from __future__ import annotations

from collections.abc import Sequence


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


class NotAcknowledgedError(AuthorityError):
    def __init__(self, agents: Sequence[str]) -> None:
        super().__init__(f"not acknowledged yet by {', '.join(agents)}")
        self.agents = tuple(agents)


class BundleError(CaError):
    pass


class JwkError(CaError):
    pass


class JwtError(CaError):
    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


class TokenError(CaError):
    pass


class AttestationError(CaError):
    pass


class NodeProtocolError(CaError):
    pass


class KeystoreError(CaError):
    pass


class ProfileError(CaError):
    pass
