"""Quarantine: identities and certificates that are cut off at once, wherever they are. Deleting it lifts it.

It belongs to the whole mesh: it has no namespace, so that no team can cut off another's workloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ca.errors import SpiffeIdError
from ca.revocation import Revocations, read_serial
from ca.spiffe_id import SpiffeId
from policies import codes
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, is_subdomain
from policies.problem import Problem
from policies.program import LATEST

MAX_REASON = 1024


@dataclass(frozen=True, slots=True)
class Quarantine:
    """`serials` are lower-case hex without leading zeros."""

    name: str
    spiffe_ids: tuple[str, ...]
    serials: tuple[str, ...]
    reason: str


def revocations(quarantines: Iterable[Quarantine]) -> Revocations:
    """`quarantines`: oldest first."""
    newest_first = list(quarantines)[::-1]
    identities = tuple(dict.fromkeys(i for q in newest_first for i in q.spiffe_ids))
    serials = tuple(dict.fromkeys(s for q in newest_first for s in q.serials))
    return Revocations(frozenset(identities), frozenset(serials), identities[:LATEST], serials[:LATEST])


def parse(document: Document) -> tuple[Quarantine | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = root.child("metadata", required=True)
    name = metadata.text("name", required=True)
    if name and not is_subdomain(name):
        metadata.add(
            codes.BAD_NAME, "name", f'"{name}" is no name', "lower case letters, digits, - and . only"
        )
    if "namespace" in metadata:
        metadata.add(codes.UNKNOWN_FIELD, "namespace", "this kind has no namespace", "remove it")
    spec = root.child("spec", required=True)
    spec.only("spiffeIDs", "serials", "reason")
    identities, serials = _identities(spec), _serials(spec)
    if not spec.failed and not identities and not serials:
        spec.add(codes.EMPTY_LIST, "", "names nobody", "give spiffeIDs, serials, or both")
    reason = spec.text("reason")
    if len(reason) > MAX_REASON:
        spec.add(codes.TOO_LONG, "reason", f"is longer than {MAX_REASON} characters")
    found = Quarantine(name, identities, serials, reason)
    return (None if root.failed else found), root.problems


def _identities(spec: Fields) -> tuple[str, ...]:
    found = spec.texts("spiffeIDs")
    for index, text in enumerate(found):
        try:
            identity = SpiffeId.parse(text)
        except SpiffeIdError as error:
            spec.add(codes.BAD_FORMAT, f"spiffeIDs[{index}]", f'"{text}" is no SPIFFE ID: {error}')
            continue
        if not identity.path:
            hint = "name workloads one by one"
            spec.add(codes.BAD_FORMAT, f"spiffeIDs[{index}]", f'"{text}" is a whole trust domain', hint)
        elif identity.is_reserved:
            hint = "an agent is cut off by pylis agent ban"
            spec.add(codes.RESERVED, f"spiffeIDs[{index}]", f'"{text}" belongs to the control plane', hint)
    return tuple(dict.fromkeys(found))


def _serials(spec: Fields) -> tuple[str, ...]:
    found: list[str] = []
    for index, text in enumerate(spec.texts("serials")):
        serial = read_serial(text)
        if serial is None:
            hint = "hex, as pylis svid show prints it"
            spec.add(codes.BAD_FORMAT, f"serials[{index}]", f'"{text}" is no serial number', hint)
        else:
            found.append(serial)
    return tuple(dict.fromkeys(found))
