from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent import workloads
from agent.workloads import WorkloadsFileError

WHOLE = {
    "namespace": "shop",
    "name": "orders",
    "serviceAccount": "buyer",
    "sidecar": False,
    "command": ["python", "orders.py"],
    "env": {"A": "b"},
    "cwd": "/srv",
    "restart": False,
    "logs": {"app": "a.log"},
}


def one(**changed: Any) -> dict[str, Any]:
    return {"workloads": [{"namespace": "shop", "name": "orders", **changed}]}


def test_every_field_is_read(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(json.dumps({"workloads": [WHOLE]}))
    (spec,) = workloads.read(tmp_path / "w.json")
    assert (spec.full_name, spec.service_account, spec.command) == (
        "shop/orders",
        "buyer",
        ("python", "orders.py"),
    )
    assert (spec.env, spec.cwd, spec.logs) == ({"A": "b"}, "/srv", {"app": "a.log"})
    assert (spec.sidecar, spec.restart) == (False, False)


def test_what_is_left_out_has_its_default() -> None:
    (spec,) = workloads.parse(one())
    assert (spec.service_account, spec.sidecar, spec.restart, spec.command) == ("orders", True, True, ())


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], 'no list "workloads"'),
        ({}, 'no list "workloads"'),
        ({"workloads": {}}, 'no list "workloads"'),
        ({"workloads": ["x"]}, "workloads[0] is no object"),
        ({"workloads": [{"name": "orders"}]}, "workloads[0].namespace is no name"),
        (one(name=""), "workloads[0].name is no name"),
        (one(name="../../etc"), "workloads[0].name is no name"),
        (one(namespace="a.b"), "workloads[0].namespace is no name"),
        (one(name=5), "workloads[0].name is no text"),
        (one(command="python orders.py"), "workloads[0].command is no list of texts"),
        (one(command=["a\0b"]), "workloads[0].command is no list of texts"),
        (one(command=[1]), "workloads[0].command is no list of texts"),
        (one(env=["A=b"]), "workloads[0].env is no object of texts"),
        (one(env={"A": 1}), "workloads[0].env is no object of texts"),
        (one(logs="x"), "workloads[0].logs is no object of texts"),
        (one(sidecar="no"), "workloads[0].sidecar is neither true nor false"),
        ({"workloads": [*one()["workloads"], *one()["workloads"]]}, "shop/orders stands there twice"),
    ],
)
def test_what_it_cannot_be_is_said_with_its_place(document: Any, said: str) -> None:
    with pytest.raises(WorkloadsFileError) as caught:
        workloads.parse(document)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000])
def test_a_file_that_is_no_json_is_said_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "w.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(WorkloadsFileError, match=r"w\.json is no JSON"):
        workloads.read(path)


def test_a_file_that_is_not_there_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(WorkloadsFileError, match=r"cannot read .*No such file"):
        workloads.read(tmp_path / "w.json")
