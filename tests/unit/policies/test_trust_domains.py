import pytest

from policies.trust_domains import expand_principal
from policies.workload import MeshSettings

MESH = MeshSettings("new-td", ("old-td", "other"))


@pytest.mark.parametrize("domain", ["new-td", "old-td", "other", "cluster.local"])
def test_an_own_domain_stands_for_all_of_them(domain: str) -> None:
    expected = ("new-td/ns/a/sa/b", "old-td/ns/a/sa/b", "other/ns/a/sa/b")
    assert expand_principal(f"{domain}/ns/a/sa/b", MESH) == expected


@pytest.mark.parametrize(
    "principal",
    [
        "*", "foreign/ns/a/sa/b", "*/ns/a/sa/b", "new-td/ns/a/*", "new-td/ns/a/sa/b/c", "*/sa/b",
        "new*/ns/a/sa/b",
        "*-foreign/ns/a/sa/b",
    ],
)  # fmt: skip
def test_anything_else_is_left_alone(principal: str) -> None:
    assert expand_principal(principal, MESH) == (principal,)


def test_an_ending_keeps_itself_and_gains_the_others() -> None:
    assert expand_principal("*-td/ns/a/sa/b", MESH) == ("*-td/ns/a/sa/b", "other/ns/a/sa/b")


def test_a_mesh_without_aliases_still_owns_cluster_local() -> None:
    assert expand_principal("cluster.local/ns/a/sa/b", MeshSettings("td")) == ("td/ns/a/sa/b",)
