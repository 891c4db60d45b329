from __future__ import annotations

from typing import Any

import pytest

from ca.attest import docker

CONTAINER: dict[str, Any] = {
    "Id": "a" * 64,
    "Image": "sha256:77af4d6b9913",
    "State": {"Status": "running", "Running": True, "Pid": 4711},
    "Config": {
        "Image": "shop/orders:1.2",
        "Env": ["MODE=live", "EMPTY="],
        "Labels": {
            "team": "checkout",
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": "orders",
        },
    },
}


def test_a_container_is_what_the_engine_says_of_it() -> None:
    image = {"RepoDigests": ["shop/orders@sha256:0123"]}
    assert docker.selectors(CONTAINER, image) == {
        "docker:label:team:checkout",
        "docker:label:com.docker.compose.project:shop",
        "docker:label:com.docker.compose.service:orders",
        "docker:compose:project:shop",
        "docker:compose:service:orders",
        "docker:env:MODE=live",
        "docker:env:EMPTY=",
        "docker:image:shop/orders:1.2",
        "docker:image_id:sha256:77af4d6b9913",
        "docker:image_digest:shop/orders@sha256:0123",
    }
    assert (docker.first_process(CONTAINER), docker.image_id(CONTAINER)) == (4711, "sha256:77af4d6b9913")


@pytest.mark.parametrize(
    "junk", [None, [], "x", {"Config": None}, {"Config": {"Labels": [1], "Env": {}, "Image": 7}, "State": 1}]
)
def test_what_is_missing_or_of_another_form_is_passed_over(junk: Any) -> None:
    assert docker.selectors(junk, junk) == frozenset()
    assert (docker.first_process(junk), docker.image_id(junk)) == (0, "")


def test_a_container_that_has_ended_has_no_process() -> None:
    assert docker.first_process({"State": {"Running": False, "Pid": 4711}}) == 0
    assert docker.first_process({"State": {"Running": True, "Pid": None}}) == 0
