"""Whose ID tokens say who a person is, as the operator writes it (`pylis server --oidc FILE`).

issuers:
- issuer: https://login.example.com
  audience: pylis               # the client's ID there, which tokens have to be for
  username: {claim: email}      # default {claim: sub}; people are called oidc:ann@example.com
  groups: {claim: groups}       # default; bind roles to the group oidc:shop-team
  require: {hd: [example.com]}  # claim → patterns, one of which has to fit
  scopes: [openid, email]       # what pylis login asks for; default [openid, profile, email, offline_access]
  ca: issuer-ca.pem             # only for an issuer with a private certificate authority

`prefix` beside a claim is another word than oidc: before the names. It cannot be left out: nobody outside may give
somebody the name of an administrator of this mesh.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controlplane import settings_file
from controlplane.settings_file import ISSUER_FIELDS, SettingsError, object_of, only, string, strings

DEFAULT_PREFIX: Final = "oidc:"
DEFAULT_SCOPES: Final = ("openid", "profile", "email", "offline_access")
_FIELDS: Final = {*ISSUER_FIELDS, "username", "groups", "scopes"}
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,100}[:#/]", re.ASCII)
_RESERVED: Final = ("system:", "pylis:", "spiffe:")


@dataclass(frozen=True, slots=True)
class Naming:
    """Names are `prefix` and the claim's value."""

    claim: str
    prefix: str = DEFAULT_PREFIX


@dataclass(frozen=True, slots=True)
class PeopleIssuer:
    """`ca_pem` "" for issuers whose certificate a public authority signed."""

    issuer: str
    audience: str
    username: Naming = Naming("sub")
    groups: Naming = Naming("groups")
    require: tuple[tuple[str, tuple[str, ...]], ...] = ()
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    ca_pem: str = ""


def load(path: Path) -> tuple[PeopleIssuer, ...]:
    """Raises: SettingsError."""
    top = settings_file.load(path)
    only(top, {"issuers"}, f"{path}")
    entries: Any = top.get("issuers")
    if not isinstance(entries, list) or not entries:
        raise SettingsError(f"{path}: issuers is no list with an entry")
    found = tuple(_issuer(entry, f"issuers[{i}]", path.parent) for i, entry in enumerate(entries))  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType] - checked inside
    if len({one.issuer for one in found}) != len(found):
        raise SettingsError("issuers names an issuer twice")
    return found


def _issuer(entry: Any, where: str, folder: Path) -> PeopleIssuer:
    fields = object_of(entry, where)
    only(fields, _FIELDS, where)
    trusted = settings_file.issuer_of(fields, where, folder)
    scopes = strings(fields.get("scopes", list(DEFAULT_SCOPES)), f"{where}.scopes")
    if "openid" not in scopes:
        raise SettingsError(f"{where}.scopes lacks openid: without it there is no ID token")
    return PeopleIssuer(
        trusted.issuer,
        trusted.audience,
        _naming(fields.get("username", {}), "sub", f"{where}.username"),
        _naming(fields.get("groups", {}), "groups", f"{where}.groups"),
        trusted.require,
        scopes,
        trusted.ca_pem,
    )


def _naming(value: Any, claim: str, where: str) -> Naming:
    fields = object_of(value, where)
    only(fields, {"claim", "prefix"}, where)
    found = Naming(
        string({"claim": claim, **fields}, "claim", where),
        string({"prefix": DEFAULT_PREFIX, **fields}, "prefix", where),
    )
    if not _PREFIX.fullmatch(found.prefix) or found.prefix.lower().startswith(_RESERVED):
        text_ = f"{where}.prefix {found.prefix!r} does not keep these names apart from the mesh's own"
        raise SettingsError(f"{text_}: write a word that ends in : or #, for example {DEFAULT_PREFIX}")
    return found
