"""Join tokens: one string that lets one agent join once, and tells it whom to trust.

It carries the addresses of the server and the hash of its root, so there is no trust on first use. The server
keeps only a hash of the secret, deletes it on use, and forgets it when it expires.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, Self, cast

from ca.errors import SpiffeIdError, TokenError
from ca.spiffe_id import TrustDomain, agent_id

_PREFIX: Final = "pylis1."
_MAX: Final = 4096
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ADDRESS: Final = re.compile(r"[^\s/@]+:[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class JoinToken:
    """`api`, `xds` and `sidecars` are `host:port`; `root_hash` is SHA-256 hex of the root's DER.

    `sidecars`: where sidecars connect, if not where agents do ("").

    Without `agent` and `secret` it is an invitation: it says where the mesh is and how to know it, and the agent
    proves itself by another method. An invitation is no secret, and can be used by many.
    """

    api: str
    xds: str
    trust_domain: str
    root_hash: str
    agent: str
    secret: str = field(repr=False)
    sidecars: str = ""

    def encode(self) -> str:
        body = [self.api, self.xds, self.trust_domain, self.root_hash, self.agent, self.secret]
        if self.sidecars:
            body.append(self.sidecars)
        text = json.dumps(body, separators=(",", ":")).encode()
        return _PREFIX + base64.urlsafe_b64encode(text).rstrip(b"=").decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Raises: TokenError, which never repeats the text."""
        text = text.strip()
        if not text.startswith(_PREFIX) or len(text) > _MAX:
            raise TokenError("this is no join token: it starts with pylis1. (pylis token create makes one)")
        coded = text.removeprefix(_PREFIX)
        try:
            body: Any = json.loads(
                base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
            )
        except (ValueError, binascii.Error, RecursionError) as error:
            raise TokenError("this join token is damaged: copy it whole") from error
        if not isinstance(body, list) or len(cast("list[Any]", body)) not in (6, 7):
            raise TokenError("this join token is of another version")
        parts = cast("list[Any]", body)
        if not all(isinstance(part, str) for part in parts) or not all(parts[:4]):
            raise TokenError("this join token is damaged: copy it whole")
        token = cls(*cast("list[str]", parts))
        if bool(token.agent) != bool(token.secret):
            raise TokenError("this join token is damaged: copy it whole")
        try:
            agent_id(TrustDomain.parse(token.trust_domain), token.agent or "invited")
        except SpiffeIdError as error:
            raise TokenError(f"this join token is damaged: {error}") from error
        if not (
            _HASH.fullmatch(token.root_hash)
            and _ADDRESS.fullmatch(token.api)
            and _ADDRESS.fullmatch(token.xds)
            and (len(parts) == 6 or _ADDRESS.fullmatch(token.sidecars))
        ):
            raise TokenError("this join token is damaged: copy it whole")
        return token


def secret_hash(secret: str) -> str:
    """What the server keeps. The secret has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
