"""What docs/reference/xds.md says of the state machines stands in their modules; `make golden` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xds import sotw, stream
from xds.compile import grpc_rules
from xds.services import SERVICES

PAGE = Path(__file__).parents[2] / "docs/reference/xds.md"


def text(module_doc: str | None) -> str:
    assert module_doc is not None
    return f"```text\n{module_doc.strip()}\n```\n"


def services() -> str:
    rows = [
        f"| `{method.lstrip('/')}` | {service.type_url.rpartition('.')[2] or 'all types'} |"
        for method, service in SERVICES.items()
    ]
    return "\n".join(["| method | serves |", "| ------ | ------ |", *rows]) + "\n"


BLOCKS = {
    "services": services(),
    "delta": text(stream.__doc__),
    "sotw": text(sotw.__doc__),
    "grpc": text(grpc_rules.__doc__),
}


def test_the_page_is_drawn_from_the_code(request: pytest.FixtureRequest) -> None:
    page = wanted = PAGE.read_text()
    for name, block in BLOCKS.items():
        mark = f"<!-- generated: {name} -->\n"
        assert mark in page
        wanted = re.sub(
            rf"{mark}(?:```text\n.*?```\n|(?:\|[^\n]*\n)+)?",
            lambda _, m=mark, b=block: m + b,
            wanted,
            count=1,
            flags=re.DOTALL,
        )
    if request.config.getoption("--golden-rewrite", default=False):
        PAGE.write_text(wanted)
        return
    assert page == wanted
