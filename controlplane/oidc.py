"""What lets anybody who speaks OpenID Connect verify JWT-SVIDs: the discovery document, and the keys. Pure.

Source: OpenID Connect Discovery 1.0 §3 and §4; RFC 7517 §4.2 to §4.5
"""

from __future__ import annotations

from typing import Any

from ca.bundle import TrustBundle
from ca.jwt_svid import algorithm_of


def discovery(issuer: str, bundle: TrustBundle) -> dict[str, Any]:
    """`issuer` is an https URL: this document is served at it + /.well-known/openid-configuration."""
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/keys",
        "authorization_endpoint": "",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted(
            {algorithm_of(key.key) for key in bundle.jwt_authorities}
        ),
    }


def keys(bundle: TrustBundle) -> dict[str, Any]:
    """A plain JWK set: `use` as OpenID Connect names it, and the algorithm each key signs with."""
    return {
        "keys": [
            {**key.to_jwk(), "use": "sig", "alg": algorithm_of(key.key)} for key in bundle.jwt_authorities
        ]
    }
