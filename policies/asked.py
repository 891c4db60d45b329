"""What a parser asks of a document: the description of a kind that cannot differ from its parser.

`Fields` notes every question in `Document.asked`, where somebody listens. JSON Schemas are made from these
notes (controlplane.resources.schema), so that an editor knows exactly the fields that are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    TEXT = "text"
    TEXTS = "texts"
    TEXT_MAP = "text map"
    WHOLE = "whole number"
    FLAG = "flag"
    CHOICE = "choice"  # of `words`
    OBJECT = "object"
    OBJECTS = "objects"
    ANY = "any"  # read as it stands, not by a typed reader; never noted, found by trying
    ONLY = "only"  # no fields but `words`
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Ask:
    """The field `name` of the object at `path` was read as `form`; `low` and `high` go with WHOLE."""

    path: str
    name: str
    form: Form
    words: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
