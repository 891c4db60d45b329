"""Tables of the reference are made from the code; `make golden` writes them anew. Lint's examples are run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from controlplane import cli
from controlplane.cli import policy
from controlplane.cli.mesh_source import mesh_of
from controlplane.cli.policy_lint import world_of
from controlplane.resources import kinds
from controlplane.resources.yaml_text import read_text
from policies import policy_test
from policies.attributes import ROWS
from policies.codes import CODES
from policies.fields import Fields
from policies.judge import run
from policies.lint import lint
from policies.lint.world import SEVERITIES
from policies.mesh_settings import read_settings

REFERENCE = Path(__file__).parents[2] / "docs/reference"
_BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("-" * len(cell) for cell in header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def attributes() -> str:
    rows = [
        (f"`{a}`", str(row.transport), str(row.form), "mutual TLS" if row.needs_identity else "a token" if row.needs_token else "")
        for a, row in ROWS.items()
    ]  # fmt: skip
    return table(("attribute", "transport", "values", "needs"), rows)


TABLES = {
    "codes.md": (
        "codes",
        table(("code", "meaning"), [(f"[{c}](lint.md#{c.lower()})" if c in SEVERITIES else c, t) for c, t in CODES.items()]),
    ),
    "lint.md": (
        "lint codes",
        table(
            ("code", "severity", "what"),
            [(f"[{c}](#{c.lower()})", str(s), CODES[c].removeprefix("lint: ")) for c, s in SEVERITIES.items()],
        ),
    ),
    "policy-tools.md": ("attributes", attributes()),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_made_from_the_code(name: str, request: pytest.FixtureRequest) -> None:
    file, (mark, wanted) = REFERENCE / name, TABLES[name]
    before, found, rest = file.read_text().partition(f"<!-- generated: {mark} -->\n")
    assert found
    written, end, after = rest.partition("<!-- end -->")
    assert end
    if request.config.getoption("--golden-rewrite"):
        file.write_text(f"{before}{found}{wanted}{end}{after}")
        return
    assert written == wanted, "run make golden"


def sections() -> dict[str, str]:
    parts = re.split(r"^## (PYL\d{4})\n", (REFERENCE / "lint.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def found_in(text: str) -> set[str]:
    documents, problems = read_text(text, "example.yaml")
    settings = None
    if "kind" not in documents[0].value and "workloads" not in documents[0].value:
        fields = Fields.of(documents.pop(0))
        settings = read_settings(fields)
        assert not fields.problems
    return {problem.code for problem in lint(world_of(mesh_of(documents, problems, settings=settings)))}


@pytest.mark.parametrize("code", list(SEVERITIES))
def test_each_lint_code_has_an_example_that_fails_and_one_that_passes(code: str) -> None:
    flagged, clean = _BLOCK.findall(sections()[code])
    assert code in found_in(flagged)
    assert code not in found_in(clean)


def test_the_example_of_the_policy_tools_holds() -> None:
    text = (REFERENCE / "policy-tools.md").read_text()
    (block,) = _BLOCK.findall(text)
    (document,), problems = read_text(block, "example.yaml")
    assert not problems
    test, wrong = policy_test.parse(document)
    assert test is not None, wrong
    results = run(test, now=0.0)
    assert len(results) == 2
    assert all(result.ok for result in results)


def test_every_command_of_the_policy_tools_is_there() -> None:
    text = (REFERENCE / "policy-tools.md").read_text()
    for verb in re.findall(r"pylis policy (\w+)", text):
        assert verb in policy.COMMANDS
    for verb in re.findall(r"`pylis (\w+)", text):
        assert verb in cli.COMMANDS


def test_hooks_name_commands_that_exist() -> None:
    for hook in yaml.safe_load((REFERENCE.parents[1] / ".pre-commit-hooks.yaml").read_text()):
        program, verb, *rest = hook["entry"].split()
        assert program == "pylis"
        assert verb in cli.COMMANDS
        assert not rest or rest[0] in policy.COMMANDS


def test_what_the_traffic_page_shows_is_taken() -> None:
    blocks = _BLOCK.findall((REFERENCE / "traffic.md").read_text())
    assert len(blocks) == 2
    for block in blocks:
        documents, problems = read_text(block, "traffic.md")
        assert [kinds.parse(document)[1] for document in documents] == [[]]
        assert not problems
