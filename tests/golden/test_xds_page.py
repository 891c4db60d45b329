"""What docs/reference/xds.md and insight.md say of the code stands in its modules; `make golden` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controlplane import otel
from xds import sotw, stream
from xds.compile import grpc_rules
from xds.services import SERVICES

REFERENCE = Path(__file__).parents[2] / "docs/reference"


def text(module_doc: str | None) -> str:
    assert module_doc is not None
    return f"```text\n{module_doc.strip()}\n```\n"


def services() -> str:
    rows = [
        f"| `{method.lstrip('/')}` | {service.type_url.rpartition('.')[2] or 'all types'} |"
        for method, service in SERVICES.items()
    ]
    return "\n".join(["| method | serves |", "| ------ | ------ |", *rows]) + "\n"


PAGES = {
    "xds.md": {
        "services": services(),
        "delta": text(stream.__doc__),
        "sotw": text(sotw.__doc__),
        "grpc": text(grpc_rules.__doc__),
    },
    "insight.md": {"traces": text(otel.__doc__)},
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_drawn_from_the_code(name: str, request: pytest.FixtureRequest) -> None:
    file = REFERENCE / name
    page = wanted = file.read_text()
    for block_name, block in PAGES[name].items():
        mark = f"<!-- generated: {block_name} -->\n"
        assert mark in page
        wanted = re.sub(
            rf"{mark}(?:```text\n.*?```\n|(?:\|[^\n]*\n)+)?",
            lambda _, m=mark, b=block: m + b,
            wanted,
            count=1,
            flags=re.DOTALL,
        )
    if request.config.getoption("--golden-rewrite", default=False):
        file.write_text(wanted)
        return
    assert page == wanted
