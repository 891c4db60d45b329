"""GitSources follow a real git repository over HTTPS: apply, drift, prune; and everything that must change nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controlplane.access import Caller
from controlplane.api.authorization import Authorization
from controlplane.api.target import Options, Target
from controlplane.api.writes import Author, Writes
from controlplane.first_start import put_objects
from controlplane.gitops import checkout
from controlplane.gitops.checkout import CheckoutError, Repository
from controlplane.gitops.sources import LABEL, GitSources
from controlplane.resources.kinds import by_word
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Key
from tests.integration.git_server import GitServer

AUTHOR = Author(Caller("ann"), Options(False, "test", "Strict", False), trusted=True)
POLICIES = "authorizationpolicies.security.istio.io"


def a_policy(name: str, method: str = "GET", namespace: str = "", kind: str = "AuthorizationPolicy") -> str:
    place = {"namespace": namespace} if namespace else {}
    rules = [{"to": [{"operation": {"methods": [method]}}]}]
    body = {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": {"name": name, **place}}
    return json.dumps({**body, "spec": {"rules": rules}})


@dataclass
class Plane:
    server: GitServer
    store: MemoryStore = field(default_factory=MemoryStore)

    async def start(self) -> None:
        self.authorization = Authorization(self.store, "istio-system")
        self.writes = Writes(self.store, self.authorization)
        self.sources = GitSources(self.store, self.writes, self.authorization)
        await put_objects(self.store, "istio-system")
        for name in ("shop", "other"):
            await self.put("ns", "", {"metadata": {"name": name}})

    async def put(self, word: str, namespace: str, body: dict[str, Any]) -> None:
        kind = by_word(word)
        assert kind is not None
        target = Target(kind, namespace, body["metadata"]["name"])
        if await self.store.get(target.key) is None:
            await self.writes.create(target, body, AUTHOR)
        else:
            await self.writes.replace(target, body, AUTHOR)

    async def source(self, **more: Any) -> None:
        spec = {
            "url": self.server.url,
            "ref": "main",
            "caBundle": self.server.ca_pem,
            "intervalSeconds": 5,
            **more,
        }
        await self.put("gits", "shop", {"metadata": {"name": "main"}, "spec": spec})

    async def bind(self, role: str = "editor", namespace: str = "shop") -> None:
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        subject = {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "User",
            "name": "pylis:gitsource:shop:main",
        }
        body = {"metadata": {"name": "git"}, "roleRef": reference, "subjects": [subject]}
        await self.put("rolebindings", namespace, body)

    async def round(self) -> tuple[str, str, str]:
        """The condition Synced: status, reason, message."""
        self.sources._due.clear()
        await self.sources.round()
        record = await self.store.get(Key("gitsources.pylis.io", "shop", "main"))
        assert record is not None
        (said,) = [c for c in record.value["status"]["conditions"] if c["type"] == "Synced"]
        return said["status"], said["reason"], said["message"]

    async def names(self, namespace: str = "shop") -> list[str]:
        return [r.key.name for r in (await self.store.list(POLICIES, namespace))[0]]


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    server = GitServer(tmp_path)
    server.commit({"a.yaml": a_policy("a"), "deep/b.json": a_policy("b"), "README.md": "text"})
    async with server.served():
        one = Plane(server)
        await one.start()
        yield one


async def test_what_the_repository_says_is_what_there_is(plane: Plane) -> None:
    await plane.source()
    status, reason, message = await plane.round()
    assert (status, reason) == ("False", "Forbidden"), (
        "a source may do what its user is bound to: nothing yet"
    )
    assert 'User "pylis:gitsource:shop:main" cannot patch authorizationpolicies' in message
    assert await plane.names() == []
    await plane.bind()
    assert (await plane.round())[:2] == ("True", "Synced")
    assert await plane.names() == ["a", "b"]
    quiet = plane.store.revision
    assert (await plane.round())[:2] == ("True", "Synced")
    assert plane.store.revision == quiet, "nothing new is nothing written"
    drifted = json.loads(a_policy("a", "DELETE"))
    await plane.put("ap", "shop", {**drifted, "metadata": {"name": "a", "labels": {LABEL: "shop.main"}}})
    status, reason, message = await plane.round()
    assert (status, reason) == ("True", "Drifted")
    assert "put back what others had changed: authorizationpolicies.security.istio.io/shop/a" in message
    commit = plane.server.commit({"b.yaml": a_policy("b", "POST"), "c.yaml": a_policy("c")})
    status, reason, message = await plane.round()
    assert (status, reason) == ("True", "Synced")
    assert f"2 objects as commit {commit[:12]} says; removed: {POLICIES}/shop/a" in message
    assert await plane.names() == ["b", "c"]
    await plane.source(prune=False)
    plane.server.commit({"c.yaml": a_policy("c")})
    assert (await plane.round())[:2] == ("True", "Synced")
    assert await plane.names() == ["b", "c"], "what it made stays without prune"
    await plane.source()
    assert "removed" in (await plane.round())[2], "and is still known to be its own"
    assert await plane.names() == ["c"]


async def test_whatever_is_broken_deletes_and_applies_nothing(plane: Plane) -> None:
    await plane.source()
    await plane.bind()
    assert (await plane.round())[0] == "True"
    for files, reason in (
        ({"README.md": "nothing here"}, "Empty"),
        ({"a.yaml": "a: [", "c.yaml": a_policy("c")}, "Invalid"),
        ({"a.yaml": a_policy("c"), "b.yaml": a_policy("x").replace("rules", "rulez")}, "Invalid"),
        ({"a.yaml": a_policy("c"), "b.yaml": a_policy("c")}, "Invalid"),
        ({"a.yaml": a_policy("c"), "b.yaml": a_policy("d", kind="Unknown")}, "Invalid"),
        (
            {
                "a.yaml": a_policy("c"),
                "b.yaml": '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"}}',
            },
            "Invalid",
        ),
        ({"a.yaml": a_policy("c"), "b.yaml": a_policy("d", namespace="other")}, "Forbidden"),
        ({"a.yaml": a_policy("c"), "b.yaml": a_policy("d", namespace="nowhere")}, "Forbidden"),
    ):
        plane.server.commit(files)
        quiet = (await plane.names(), await plane.names("other"))
        assert (await plane.round())[:2] == ("False", reason), files
        assert (await plane.names(), await plane.names("other")) == quiet == (["a", "b"], []), files
    plane.server.is_down = True
    assert (await plane.round())[:2] == ("False", "FetchFailed")
    plane.server.is_down = False
    await plane.source(path="gone")
    assert (await plane.round())[:2] == ("False", "Empty")
    await plane.source(ref="gone")
    assert (await plane.round())[:2] == ("False", "FetchFailed")
    await plane.source(suspend=True)
    plane.server.commit({"c.yaml": a_policy("c")})
    await plane.round()
    assert await plane.names() == ["a", "b"]


async def test_what_others_made_is_theirs(plane: Plane) -> None:
    await plane.bind()
    await plane.put("ap", "shop", json.loads(a_policy("a", "PUT")))
    await plane.source()
    status, reason, message = await plane.round()
    assert (status, reason) == ("False", "Conflict")
    assert f"label it {LABEL}=shop.main" in message
    assert await plane.names() == ["a"]
    handed = json.loads(a_policy("a", "PUT"))
    await plane.put("ap", "shop", {**handed, "metadata": {"name": "a", "labels": {LABEL: "shop.main"}}})
    assert (await plane.round())[:2] == ("True", "Synced")
    taken = json.loads(a_policy("b"))
    await plane.put("ap", "shop", {**taken, "metadata": {"name": "b", "labels": {LABEL: "ops.other"}}})
    plane.server.commit({"a.yaml": a_policy("a")})
    assert (await plane.round())[:2] == ("True", "Synced")
    assert await plane.names() == ["a", "b"], "somebody took it over by the label: it is not removed"


async def test_a_crash_between_applying_and_noting_loses_no_object(plane: Plane) -> None:
    await plane.source()
    await plane.bind()
    assert (await plane.round())[0] == "True"
    again = GitSources(plane.store, plane.writes, plane.authorization)
    plane.sources = again
    plane.server.commit({"a.yaml": a_policy("a")})
    assert "removed" in (await plane.round())[2]
    assert await plane.names() == ["a"]


async def test_a_repository_with_a_password(plane: Plane) -> None:
    plane.server.password = "s3cret-word"
    await plane.bind()
    await plane.source()
    assert (await plane.round())[:2] == ("False", "FetchFailed")
    await plane.source(secretRef={"name": "git"})
    assert (await plane.round())[:2] == ("False", "SecretNotFound")
    data = {"username": "Z2l0", "password": "czNjcmV0LXdvcmQ="}
    await plane.put("secrets", "shop", {"metadata": {"name": "git"}, "data": data})
    assert (await plane.round())[:2] == ("True", "Synced")
    plane.server.password = "another"
    status, _, message = await plane.round()
    assert (status, "czNjcmV0" in message, "s3cret" in message) == ("False", False, False)


async def test_links_and_what_lies_elsewhere_are_not_read(plane: Plane) -> None:
    plane.server.commit(
        {"in/a.yaml": a_policy("a"), "out/z.yaml": a_policy("z")},
        links={"in/link.yaml": "/etc/passwd", "in/up.yaml": "../out/z.yaml"},
    )
    found = await checkout.read(Repository(plane.server.url, "main", "in", plane.server.ca_pem))
    assert sorted(found.files) == ["in/a.yaml"]


@pytest.mark.parametrize(
    "url", ["file:///etc", "ext::sh -c touch% /tmp/x", "ssh://127.0.0.1/x", "http://127.0.0.1/x"]
)
async def test_git_speaks_https_only(url: str) -> None:
    with pytest.raises(CheckoutError, match=r"not allowed|not supported|fatal"):
        await checkout.read(Repository(url, "main"))


async def test_a_certificate_that_nobody_vouches_for_is_refused(plane: Plane) -> None:
    with pytest.raises(CheckoutError, match="certificate"):
        await checkout.read(Repository(plane.server.url, "main"))


async def test_what_is_too_large_is_refused(plane: Plane) -> None:
    plane.server.commit({f"{n}.yaml": "a: " + "x" * 1_000_000 for n in range(9)})
    with pytest.raises(CheckoutError, match="are more than"):
        await checkout.read(Repository(plane.server.url, "main", ".", plane.server.ca_pem))
