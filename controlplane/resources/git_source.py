"""GitSource: a git repository whose files say what there is. What it may write is what its user is bound to:
`pylis:gitsource:NAMESPACE:NAME`.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from policies import codes
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, is_subdomain, read_metadata
from policies.problem import Problem

MIN_SECONDS: Final = 5
MAX_SECONDS: Final = 86_400
DEFAULT_SECONDS: Final = 60
DEFAULT_REF: Final = "HEAD"
_REF: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class GitSource:
    """`ref`: a branch or tag; `path`: the folder that is read; `secret` "" for a repository anybody may read."""

    namespace: str
    name: str
    url: str
    ref: str = DEFAULT_REF
    path: str = "."
    interval_seconds: int = DEFAULT_SECONDS
    prune: bool = True
    suspend: bool = False
    secret: str = ""
    ca_pem: str = ""

    @property
    def user(self) -> str:
        """Whom roles are bound to."""
        return f"pylis:gitsource:{self.namespace}:{self.name}"


def parse(document: Document) -> tuple[GitSource | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    spec = root.child("spec", required=True)
    spec.only("url", "ref", "path", "intervalSeconds", "prune", "suspend", "secretRef", "caBundle")
    url = spec.text("url", required=True)
    if url and not _is_https(url):
        spec.add(
            codes.BAD_FORMAT,
            "url",
            f'"{url}" is no https URL',
            "https://HOST/PATH.git; credentials go into secretRef",
        )
    ref = spec.text("ref", DEFAULT_REF)
    if not _REF.fullmatch(ref) or ".." in ref or ref.endswith(("/", ".", ".lock")) or "//" in ref:
        spec.add(codes.BAD_FORMAT, "ref", f'"{ref}" is no branch or tag', "for example main")
    path = spec.text("path", ".")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or not path.isprintable():
        spec.add(
            codes.BAD_FORMAT,
            "path",
            f'"{path}" leads out of the repository',
            "a folder in it, for example policies",
        )
    seconds = spec.integer("intervalSeconds", low=MIN_SECONDS, high=MAX_SECONDS, default=DEFAULT_SECONDS)
    reference = spec.child("secretRef")
    reference.only("name")
    secret = reference.text("name", required="secretRef" in spec)
    if secret and not is_subdomain(secret):
        reference.add(codes.BAD_NAME, "name", f'"{secret}" is no name', "a Secret of this namespace")
    ca_pem = spec.text("caBundle")
    if ca_pem and not _holds_certificates(ca_pem):
        spec.add(
            codes.BAD_FORMAT, "caBundle", "holds no PEM certificate", "leave it out for public authorities"
        )
    found = GitSource(
        metadata.namespace, metadata.name, url, ref, path, seconds, spec.boolean("prune", default=True),
        spec.boolean("suspend"), secret, ca_pem,
    )  # fmt: skip
    return (None if root.failed else found), root.problems


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        plain = not parts.username and not parts.password and not parts.query and not parts.fragment
        return (
            parts.scheme == "https"
            and bool(parts.hostname)
            and plain
            and parts.port != 0
            and url.isprintable()
        )
    except ValueError:
        return False


def _holds_certificates(pem: str) -> bool:
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        return False
    return True
