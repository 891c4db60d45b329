"""Files → documents; a file with ten mistakes is answered with ten lines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from controlplane.resources.read import MAX_BYTES, check, read_paths
from policies import codes
from policies.problem import Problem

TEN = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: Orders, namespace: shop}
spec:
  acton: ALLOW
  rules:
  - to:
    - operation:
        method: [GET]
        ports: [8080]
  - when:
    - key: source.namespce
      values: [a]
---
apiVersion: v1
kind: Namspace
metadata: {name: shop}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: []
  ports:
  - {number: 70000, name: tcp, protocol: TPC}
  workloadSelector: {labels: {app: db}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.shop]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  workloadSelector: {labels: {app: db}}
"""


def a_namespace(name: str = "shop") -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n"


def mistakes(text: str, path: Path) -> list[Problem]:
    path.write_text(text)
    documents, unreadable = read_paths([path])
    return [*unreadable, *check(documents)[1]]


def test_ten_mistakes_are_ten_lines(tmp_path: Path) -> None:
    found = mistakes(TEN, tmp_path / "ten.yaml")
    assert sorted((p.origin.line, p.path, p.code) for p in found) == [
        (3, "metadata.name", codes.BAD_NAME),
        (5, "spec.acton", codes.UNKNOWN_FIELD),
        (9, "spec.rules[0].to[0].operation.method", codes.UNKNOWN_FIELD),
        (10, "spec.rules[0].to[0].operation.ports[0]", codes.WRONG_TYPE),
        (12, "spec.rules[1].when[0].key", codes.UNKNOWN_ATTRIBUTE),
        (16, "kind", codes.UNKNOWN_KIND),
        (23, "spec.hosts", codes.EMPTY_LIST),
        (25, "spec.ports[0].number", codes.OUT_OF_RANGE),
        (25, "spec.ports[0].protocol", codes.NOT_A_CHOICE),
        (30, "metadata.name", codes.DEFINED_TWICE),
    ]
    assert all(p.origin.file == str(tmp_path / "ten.yaml") for p in found)


def test_a_second_definition_names_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(a_namespace())
    (tmp_path / "b.yaml").write_text(a_namespace())
    _, (problem,) = check(read_paths([tmp_path])[0])
    assert problem.message == f"shop is already defined in {tmp_path / 'a.yaml'}:4"
    assert str(problem.origin) == f"{tmp_path / 'b.yaml'}:4"


def test_no_namespace_and_default_are_the_same(tmp_path: Path) -> None:
    head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a"
    found = mistakes(f"{head}}}\n---\n{head}, namespace: default}}\n", tmp_path / "a.yaml")
    assert [p.message for p in found] == [f"default/a is already defined in {tmp_path / 'a.yaml'}:3"]


def test_a_directory_is_read_in_order_and_other_files_are_left(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c.json", "d.txt"):
        (tmp_path / name).write_text(f"kind: {name[0]}" if name != "c.json" else '{"kind": "c"}')
    documents, problems = read_paths([tmp_path])
    assert ([d.kind for d in documents], problems) == (["a", "b", "c"], [])


def test_a_dash_is_standard_input() -> None:
    with CliRunner().isolation(input=a_namespace()):
        documents, _ = read_paths(["-"])
    assert [str(d.origin("kind")) for d in documents] == ["-:2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"\xff\xfe\xff", "not UTF-8"), (b" " * (MAX_BYTES + 1), "larger than")],
)
def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "a.yaml"
    if content is not None:
        file.write_bytes(content)
    documents, (problem,) = read_paths([file])
    assert (documents, problem.code, problem.origin.file) == ([], codes.UNREADABLE, str(file))
    assert words in problem.message


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + a_namespace().encode())
    assert read_paths([tmp_path])[0][0].kind == "Namespace"


def test_a_directory_named_like_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").mkdir()
    _, (problem,) = read_paths([tmp_path])
    assert problem.message == f"cannot be read: {os.strerror(21)}"
