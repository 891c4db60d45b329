from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePosixPath

from agent import rules
from agent.vm.files import files, places
from agent.vm.units import BOOTSTRAP, CONFIRMED, TOKEN, TRIAL
from tests.unit.agent.vm.builders import PROGRAMS, a_host
from tests.unit.agent.vm.builders import TOKEN as JOINING

FILES = {file.path: file for file in files(a_host(in_slice=True), JOINING, PROGRAMS)}


def test_only_the_token_is_secret() -> None:
    assert [path for path, file in FILES.items() if file.mode == 0o600] == [TOKEN]
    assert [path for path, file in FILES.items() if "hush" in file.text] == []  # it is encoded, and
    assert [path for path, file in FILES.items() if JOINING.encode() in file.text] == [TOKEN]


def test_nothing_is_confirmed_at_first_and_what_was_confirmed_is_kept() -> None:
    assert FILES[CONFIRMED].text == rules.removal()
    assert FILES[CONFIRMED].keep
    assert "redirect to :15006" in FILES[TRIAL].text


def test_the_sidecar_marks_its_connections() -> None:
    bootstrap = json.loads(FILES[BOOTSTRAP].text)
    option = bootstrap["cluster_manager"]["upstream_bind_config"]["socket_options"][0]
    assert (option["name"], option["int_value"]) == (36, rules.MARK)
    assert bootstrap["node"]["id"] == "shop/orders-1"


def test_the_sidecar_connects_where_the_token_says() -> None:
    for sidecars, port in (("", 15012), ("10.0.0.1:15013", 15013)):
        made = files(a_host(in_slice=True), replace(JOINING, sidecars=sidecars), PROGRAMS)
        (text,) = [file.text for file in made if file.path == BOOTSTRAP]
        assert f'"port_value": {port}' in text


def test_uninstall_knows_every_place() -> None:
    assert set(FILES) == set(places())
    assert all(
        place.parent in {PurePosixPath("/etc/pylis"), PurePosixPath("/etc/systemd/system")} for place in FILES
    )
