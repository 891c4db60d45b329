from __future__ import annotations

import pytest

from ca.attest.cgroup import container_id, is_within, unit_selectors

ID, OTHER = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service"),
        ("0::/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        ("4:memory:/x\n1:name=systemd:/system.slice/nginx.service", "nginx.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
    ],
)
def test_a_unit_is_the_outermost_name_that_is_no_slice(text: str, unit: str) -> None:
    assert unit_selectors(text) == {f"systemd:id:{unit}"}


def test_a_user_cannot_name_a_unit_of_his_own_below_what_was_delegated_to_him() -> None:
    text = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/payments.service"
    assert unit_selectors(text) == {"systemd:id:user@1000.service"}


@pytest.mark.parametrize(
    "text", ["", "0::/", "junk", "0::/system.slice", f"0::/system.slice/docker-{ID}.scope", "0::/a/b"]
)
def test_what_is_no_unit_has_no_selector(text: str) -> None:
    assert unit_selectors(text) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        f"0::/system.slice/docker-{ID}.scope",
        f"4:memory:/outer/docker/{ID}\n1:name=systemd:/docker/{ID}",
        f"0::/system.slice/docker-{ID}.scope/init.scope",
    ],
)
def test_a_container_is_found(text: str) -> None:
    assert container_id(text) == ID


@pytest.mark.parametrize("text", ["", "0::/docker/abc", f"1:cpu:/docker/{ID}\n2:memory:/docker/{OTHER}"])
def test_none_and_two_are_none(text: str) -> None:
    assert container_id(text) == ""


def test_a_process_is_within_where_the_containers_first_process_stands() -> None:
    first = f"0::/system.slice/docker-{ID}.scope"
    assert is_within(first, first)
    assert is_within(f"0::/system.slice/docker-{ID}.scope/app", first)
    forged = f"0::/user.slice/user@1000.service/docker-{ID}.scope"
    assert container_id(forged) == ID
    assert not is_within(forged, first)
    assert not is_within("0::/", first)
    assert not is_within(first, "")
