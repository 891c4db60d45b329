"""The file of OpenID providers for people: what it says, and every way it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.people_settings import DEFAULT_SCOPES, Naming, load
from controlplane.settings_file import SettingsError

GOOD: dict[str, Any] = {"issuer": "https://login.example", "audience": "pylis"}


def written(folder: Path, *issuers: Any, **more: Any) -> Path:
    path = folder / "people.yaml"
    path.write_text(json.dumps({"issuers": list(issuers), **more}))
    return path


def test_the_least_is_an_issuer_and_an_audience(tmp_path: Path) -> None:
    (one,) = load(written(tmp_path, GOOD))
    assert (one.username, one.groups, one.scopes) == (Naming("sub"), Naming("groups"), DEFAULT_SCOPES)


def test_everything_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("PEM")
    more = {"username": {"claim": "email"}, "groups": {"claim": "roles", "prefix": "kc:"}, "ca": "ca.pem"}
    (one,) = load(written(tmp_path, {**GOOD, **more, "require": {"hd": "x"}, "scopes": ["openid"]}))
    assert (one.username, one.groups) == (Naming("email"), Naming("roles", "kc:"))
    assert (one.require, one.scopes, one.ca_pem) == ((("hd", ("x",)),), ("openid",), "PEM")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "http://login.example"}, "no https URL"),
        ({"issuer": "https://u@login.example"}, "no https URL"),
        ({"issuer": "https://[::1"}, "no https URL"),
        ({"audience": ""}, "is no text"),
        ({"clientSecret": "x"}, "has no clientSecret"),
        ({"scopes": ["email"]}, "lacks openid"),
        ({"ca": "gone.pem"}, "cannot read"),
        ({"username": {"claim": "email", "prefix": ""}}, "is no text"),
        ({"groups": {"prefix": "pylis:"}}, "does not keep these names apart"),
        ({"groups": {"prefix": "system:"}}, "does not keep these names apart"),
        ({"username": {"prefix": "SPIFFE://x/"}}, "does not keep these names apart"),
        ({"username": {"prefix": "x"}}, "does not keep these names apart"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(written(tmp_path, {**GOOD, **change}))


def test_an_issuer_stands_once_and_the_list_is_not_empty(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="twice"):
        load(written(tmp_path, GOOD, GOOD))
    with pytest.raises(SettingsError, match="no list with an entry"):
        load(written(tmp_path))
    with pytest.raises(SettingsError, match="has no more"):
        load(written(tmp_path, GOOD, more=1))
