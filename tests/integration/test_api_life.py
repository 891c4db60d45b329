"""The API's life with real requests: who may, what is audited, what is refused, history and the way back, backups."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running_server import RunningServer

POLICIES = "/apis/security.istio.io/v1/namespaces/{}/authorizationpolicies"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ENTRIES = "/apis/networking.istio.io/v1/namespaces/{}/workloadentries"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class Api:
    """Plain HTTP with a token; `connection` shows what a client of one's own would see."""

    def __init__(self, server: RunningServer, token: str) -> None:
        self._server = server
        self._token = token

    def connection(self) -> http.client.HTTPSConnection:
        host, _, port = self._server.api.rpartition(":")
        context = ssl.create_default_context(cadata=self._server.ca_pem)
        return http.client.HTTPSConnection(host, int(port), context=context, timeout=30)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = self.connection()
        try:
            data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
            sent = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            connection.request(method, path, data, {**sent, "Content-Type": "application/json", **headers})
            response = connection.getresponse()
            raw = response.read()
            is_json = "json" in (response.headers["Content-Type"] or "") and "watch=1&" not in path
            text = json.loads(raw) if is_json else {"text": raw.decode()}
            return Answer(response.status, text, response.headers)
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("life")) as running:
        admin = Api(running, running.token)
        for name in ("shop", "other"):
            assert admin("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).status == 201
        bind(admin, "shop", "editor", "ann")
        bind(admin, "shop", "admin", "sue")
        yield running


@pytest.fixture
def admin(server: RunningServer) -> Api:
    return Api(server, server.token)


def bind(admin: Api, namespace: str, role: str, user: str) -> None:
    body = {
        "metadata": {"name": f"{role}-{user}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }
    assert admin("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", body).status == 201


def as_user(server: RunningServer, user: str, *groups: str) -> Api:
    answer = Api(server, server.token)("POST", "/pylis/v1/apitokens", {"user": user, "groups": list(groups)})
    return Api(server, answer.body["token"])


def policy(name: str, **labels: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]}
    if labels:
        spec["selector"] = {"matchLabels": labels}
    return {"metadata": {"name": name}, "spec": spec}


def pylis(server: RunningServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "controlplane.cli", *arguments]
    environment = {**os.environ, "PYLIS_KUBECONFIG": str(server.kubeconfig)}
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=environment)


def test_nobody_gets_health_and_the_bundle_only(server: RunningServer) -> None:
    nobody = Api(server, "")
    for path in ("/healthz", "/livez", "/readyz", "/.well-known/spiffe/bundle"):
        assert nobody("GET", path).status == 200, path
    for path in (
        "/version",
        "/api",
        "/apis",
        "/metrics",
        "/docs",
        "/openapi/v3",
        "/pylis/v1/audit",
        POLICIES.format("shop"),
    ):
        answer = nobody("GET", path)
        assert (answer.status, answer.body["reason"]) == (401, "Unauthorized"), path
    assert Api(server, "wrong")("GET", "/api").status == 401


def test_a_role_holds_in_its_namespace(server: RunningServer) -> None:
    ann = as_user(server, "ann")
    assert ann("POST", POLICIES.format("shop"), policy("anns")).status == 201
    refused = ann("POST", POLICIES.format("other"), policy("anns"))
    assert refused.status == 403
    assert (
        'User "ann" cannot create authorizationpolicies.security.istio.io in the namespace "other"'
        in refused.message
    )
    for path in (
        "/api/v1/namespaces/shop/secrets",
        f"{RBAC}/namespaces/shop/roles",
        "/api/v1/namespaces",
        "/pylis/v1/audit",
    ):
        assert ann("GET", path).status == 403, path
    review = ann(
        "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {"spec": {"resourceAttributes": {"verb": "get", "resource": "secrets", "namespace": "shop"}}},
    )  # fmt: skip
    assert (review.status, review.body["status"]["allowed"]) == (201, False)


def test_nobody_hands_out_what_they_do_not_hold(server: RunningServer) -> None:
    """The administrator of a namespace binds its roles; nothing beyond the namespace, nothing for an editor."""
    sue, ann = as_user(server, "sue"), as_user(server, "ann")
    bindings = f"{RBAC}/namespaces/shop/rolebindings"
    give = {
        "metadata": {"name": "bob"}, "subjects": [{"kind": "User", "name": "bob"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "editor"},
    }  # fmt: skip
    assert ann("POST", bindings, give).status == 403
    assert sue("POST", bindings, give).status == 201
    assert as_user(server, "bob")("POST", POLICIES.format("shop"), policy("bobs")).status == 201
    assert sue("POST", f"{RBAC}/clusterrolebindings", give).status == 403
    assert sue("POST", f"{RBAC}/namespaces/other/rolebindings", give).status == 403
    assert sue("POST", "/pylis/v1/apitokens", {"user": "root", "groups": ["pylis:admins"]}).status == 403


def test_the_owner_of_a_workload_decides_who_reaches_it(server: RunningServer, admin: Api) -> None:
    entry = {
        "metadata": {"name": "pay-1", "annotations": {"pylis.io/owners": "group:payments"}},
        "spec": {
            "address": "10.0.0.1",
            "serviceAccount": "pay",
            "labels": {"app": "pay"},
            "ports": {"http": 8080},
        },
    }
    assert admin("POST", ENTRIES.format("shop"), entry).status == 201
    ann = as_user(server, "ann")
    refused = ann("POST", POLICIES.format("shop"), policy("pay", app="pay"))
    assert refused.status == 403
    assert 'workload "pay-1" is owned by Group payments' in refused.message
    assert ann("POST", POLICIES.format("shop"), policy("web", app="web")).status == 201
    widened = {"spec": {"selector": None}}
    merge = {"Content-Type": "application/merge-patch+json"}
    assert ann("PATCH", f"{POLICIES.format('shop')}/web", widened, **merge).status == 403
    patch = {"metadata": {"annotations": {"pylis.io/owners": "user:ann"}}}
    assert ann("PATCH", f"{ENTRIES.format('shop')}/pay-1", patch, **merge).status == 403
    owner = as_user(server, "ann", "payments")
    assert owner("POST", POLICIES.format("shop"), policy("pay", app="pay")).status == 201
    assert admin("DELETE", f"{ENTRIES.format('shop')}/pay-1").status == 200


def test_policies_of_the_root_namespace_need_the_whole_mesh(server: RunningServer, admin: Api) -> None:
    bind(admin, "istio-system", "editor", "rob")
    refused = as_user(server, "rob")("POST", POLICIES.format("istio-system"), policy("everywhere"))
    assert refused.status == 403
    assert "at the cluster scope" in refused.message


def test_tokens_expire_and_are_revoked(server: RunningServer, admin: Api) -> None:
    made = admin("POST", "/pylis/v1/apitokens", {"user": "tmp", "ttlSeconds": 3600}).body
    tmp = Api(server, made["token"])
    assert tmp("GET", "/version").status == 200
    listed = admin("GET", "/pylis/v1/apitokens")
    assert made["token"] not in json.dumps(listed.body)
    assert admin("DELETE", f"/pylis/v1/apitokens/{made['id']}").status == 200
    assert tmp("GET", "/version").status == 401
    stored = b"".join(f.read_bytes() for f in server.data_dir.glob("store.db*"))
    assert made["token"].encode() not in stored
    assert admin("POST", "/pylis/v1/apitokens", {"user": "system:x"}).status == 400


def test_an_svid_is_a_credential(server: RunningServer, admin: Api, tmp_path: Path) -> None:
    identity = "spiffe://cluster.local/ns/shop/sa/robot"
    assert pylis(server, "svid", "mint", "--spiffe-id", identity, "--out", str(tmp_path)).returncode == 0
    connection = admin.connection()
    context = ssl.create_default_context(cadata=server.ca_pem)
    context.load_cert_chain(tmp_path / "svid.pem", tmp_path / "key.pem")
    host, _, port = server.api.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=30)
    body = json.dumps({"spec": {}})
    connection.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
    who = json.loads(connection.getresponse().read())["status"]["userInfo"]
    connection.close()
    assert who["username"] == identity
    assert "pylis:workloads" in who["groups"]


def test_changes_and_refusals_are_audited(server: RunningServer, admin: Api) -> None:
    ann = as_user(server, "ann")
    made = ann("POST", POLICIES.format("shop"), policy("audited"))
    refused = ann("DELETE", f"{POLICIES.format('other')}/audited")
    assert ann("PUT", f"{POLICIES.format('shop')}/audited", {"spec": {"x": 1}}).status == 400
    items = admin("GET", "/pylis/v1/audit?after=-200&limit=1000").body["items"]
    mine = [i for i in items if i["who"] == "ann" and i["name"] == "audited"]
    assert [(i["verb"], i["decision"], i["namespace"]) for i in mine] == [
        ("create", "allow", "shop"), ("delete", "refuse", "other"), ("update", "refuse", "shop"),
    ]  # fmt: skip
    assert mine[0]["requestId"] == made.headers["Audit-Id"]
    assert mine[1]["requestId"] == refused.headers["Audit-Id"]
    assert mine[0]["source"] == "127.0.0.1"
    assert mine[0]["detail"]["diff"]
    done = pylis(server, "audit", "verify")
    assert (done.returncode, "hold together" in done.stdout) == (0, True), done.stderr


def test_an_export_of_the_audit_log_is_verified_apart(server: RunningServer, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text(pylis(server, "audit", "export").stdout)
    assert pylis(server, "audit", "verify", "--file", str(log)).returncode == 0
    log.write_text(log.read_text().replace('"admin"', '"nobody"', 1))
    done = pylis(server, "audit", "verify", "--file", str(log))
    assert (done.returncode, "tampered" in done.stdout) == (1, True)
    assert "<109>1 " in pylis(server, "audit", "export", "--format", "rfc5424").stdout


def test_history_and_the_way_back(server: RunningServer, admin: Api) -> None:
    path = POLICIES.format("shop")
    first = admin("POST", path, policy("moving")).body
    merge = {"Content-Type": "application/merge-patch+json"}
    admin("PATCH", f"{path}/moving", {"spec": {"action": "DENY"}}, **merge)
    revisions = json.loads(pylis(server, "history", "ap", "moving", "-n", "shop", "-o", "json").stdout)
    assert [r["change"] for r in revisions] == ["ADDED", "MODIFIED"]
    number = first["metadata"]["resourceVersion"]
    assert "-spec" not in pylis(server, "diff", "ap", "moving", "--revision", number, "-n", "shop").stderr
    done = pylis(server, "rollback", "ap", "moving", "--to", number, "-n", "shop")
    assert "spec.action: DENY → (none)" in done.stdout, done.stderr
    assert admin("GET", f"{path}/moving").body["spec"] == first["spec"]
    admin("DELETE", f"{path}/moving")
    assert pylis(server, "rollback", "ap", "moving", "--to", number, "-n", "shop").returncode == 0
    assert admin("GET", f"{path}/moving").status == 200


def test_an_export_can_be_applied_again_and_changes_nothing(server: RunningServer, tmp_path: Path) -> None:
    whole = pylis(server, "export")
    assert whole.returncode == 0, whole.stderr
    (tmp_path / "all.yaml").write_text(whole.stdout)
    assert "resourceVersion" not in whole.stdout
    again = pylis(server, "diff", "-f", str(tmp_path / "all.yaml"), "--exit-code")
    assert (again.returncode, again.stdout) == (0, ""), again.stderr
    assert pylis(server, "export").stdout == whole.stdout


def test_a_dry_run_says_what_would_change_and_changes_nothing(server: RunningServer, admin: Api) -> None:
    labels = {"app": "tried"}
    entry = {"address": "10.0.0.9", "ports": {"http": 80}, "labels": labels, "serviceAccount": "tried"}
    service = {
        "hosts": ["tried.shop"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "workloadSelector": {"labels": labels},
    }  # fmt: skip
    assert admin("POST", ENTRIES.format("shop"), {"metadata": {"name": "tried"}, "spec": entry}).status == 201
    path = "/apis/networking.istio.io/v1/namespaces/shop/serviceentries"
    assert admin("POST", path, {"metadata": {"name": "tried"}, "spec": service}).status == 201
    everybody = {"selector": {"matchLabels": labels}, "rules": [{}]}
    allowed = {"metadata": {"name": "allowed"}, "spec": everybody}
    assert admin("POST", POLICIES.format("shop"), allowed).status == 201
    policy = {"metadata": {"name": "tried"}, "spec": {"action": "DENY", **everybody}}
    tried = admin("POST", f"{POLICIES.format('shop')}?dryRun=All", policy)
    assert tried.status == 201
    said = tried.headers.get_all("Warning")
    assert said[0].startswith('299 - "what if: less permissive (0 gained, ')
    assert admin("GET", f"{POLICIES.format('shop')}/tried").status == 404
    assert admin("POST", POLICIES.format("shop"), policy).status == 201
    gone = admin("DELETE", f"{POLICIES.format('shop')}/tried?dryRun=All")
    assert "what if: more permissive" in gone.headers["Warning"]
    assert admin("DELETE", f"{POLICIES.format('shop')}/tried").headers["Warning"] is None


def test_watches_start_end_and_expire(server: RunningServer, admin: Api) -> None:
    path = POLICIES.format("shop")
    admin("POST", path, policy("watched"))
    lines = admin("GET", f"{path}?watch=1&timeoutSeconds=1&allowWatchBookmarks=1&sendInitialEvents=1").body[
        "text"
    ]
    events = [json.loads(line) for line in lines.splitlines()]
    bookmarks = [e["object"]["metadata"].get("annotations") for e in events if e["type"] == "BOOKMARK"]
    assert bookmarks[0] == {"k8s.io/initial-events-end": "true"}
    assert events[0]["type"] == "ADDED"
    assert admin("GET", f"{path}?resourceVersion=x&watch=1").status == 400
    assert admin("GET", f"{path}?watch=perhaps").status == 400


def test_pages_hold_their_revision(server: RunningServer, admin: Api) -> None:
    maps = "/api/v1/namespaces/other/configmaps"
    for n in range(5):
        admin("POST", maps, {"metadata": {"name": f"p{n}"}})
    page = admin("GET", f"{maps}?limit=2").body
    token, version = page["metadata"]["continue"], page["metadata"]["resourceVersion"]
    assert page["metadata"]["remainingItemCount"] == 3
    admin("POST", maps, {"metadata": {"name": "p9"}})
    rest = admin("GET", f"{maps}?limit=10&continue={token}").body
    assert rest["metadata"]["resourceVersion"] == version
    assert [o["metadata"]["name"] for o in rest["items"]][:3] == ["p2", "p3", "p4"]
    assert admin("GET", f"{maps}?continue=bogus").status == 400


HOSTILE: list[tuple[bytes, dict[str, str], int]] = [
    (b"[" * 100_000 + b"]" * 100_000, {}, 400),
    (b'{"a":' * 200 + b"1" + b"}" * 200, {}, 400),
    (b"\xff\xfe", {}, 400),
    (b'{"metadata": {"name": NaN}}', {}, 400),
    (b"[]", {}, 400),
    (b"", {}, 400),
    (b'{"metadata": {"name": "../../etc/passwd"}}', {}, 422),
    (b'{"metadata": {"name": "a\\r\\nX-Evil: 1"}}', {}, 422),
    (b'{"metadata": {"name": "ok", "labels": {"a": "\\ud800"}}}', {}, 422),
    (b'{"metadata": {"name": "big"}, "data": {"a": "' + b"x" * 600_000 + b'"}}', {}, 413),
    (b'{"metadata": {"name": "huge"}, "data": {"a": "' + b"x" * 4_000_000 + b'"}}', {}, 413),
]


@pytest.mark.parametrize(("body", "headers", "status"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bodies_are_refused(admin: Api, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = admin("POST", "/api/v1/namespaces/other/configmaps", body, **headers)
    assert (answer.status, answer.body["kind"]) == (status, "Status"), answer.message
    assert answer.headers["X-Evil"] is None


def test_a_yaml_bomb_is_refused(admin: Api) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(9)
    )
    path = "/api/v1/namespaces/other/configmaps/bomb?fieldManager=x"
    answer = admin("PATCH", path, bomb.encode(), **{"Content-Type": "application/apply-patch+yaml"})
    assert answer.status == 400


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/%2e%2e/secrets",
        "/api/v1/namespaces/a%2Fb/configmaps",
        "/apis/../etc/passwd",
        "/api/v1/namespaces/shop/configmaps/%00",
    ],
)
def test_paths_lead_nowhere_else(admin: Api, path: str) -> None:
    answer = admin("GET", path)
    assert (answer.status, answer.body["kind"]) == (404, "Status")


def test_old_tls_is_not_spoken(server: RunningServer) -> None:
    host, _, port = server.api.rpartition(":")
    context = ssl.create_default_context(cadata=server.ca_pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((host, int(port)), 10) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="server.pylis.internal")


def test_a_server_that_stops_ends_its_watches_in_order(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        admin, maps = Api(server, server.token), "/api/v1/namespaces/default/configmaps"
        version = admin("GET", maps).body["metadata"]["resourceVersion"]
        connection = admin.connection()
        headers = {"Authorization": f"Bearer {server.token}"}
        connection.request("GET", f"{maps}?watch=1&resourceVersion={version}", headers=headers)
        with contextlib.closing(connection), connection.getresponse() as response:
            began = time.monotonic()
            server.stop()
            assert response.read() == b""  # a stream that is cut raises IncompleteRead
            assert time.monotonic() - began < 4  # watches look at the clock every 5 s


def test_a_backup_is_restored_and_watchers_must_list_anew(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        admin, data = Api(server, server.token), ("--data-dir", str(server.data_dir))
        maps = "/api/v1/namespaces/default/configmaps"
        admin("POST", maps, {"metadata": {"name": "kept"}})
        saved = pylis(server, "backup", str(tmp_path / "b.db"), *data)
        assert saved.returncode == 0, saved.stderr
        version = admin("POST", maps, {"metadata": {"name": "lost"}}).body["metadata"]["resourceVersion"]
        assert pylis(server, "restore", str(tmp_path / "b.db"), *data).returncode == 2, (
            "the server still runs"
        )
        server.stop()
        done = pylis(server, "restore", str(tmp_path / "b.db"), *data)
        assert done.returncode == 0, done.stderr
        server.start()
        admin = Api(server, server.token)
        names = [o["metadata"]["name"] for o in admin("GET", maps).body["items"]]
        assert names == ["kept"]
        event = (
            json.loads(admin("GET", f"{maps}?watch=1&resourceVersion={version}").body["text"] or "{}") or None
        )
        assert event is None or event["object"]["code"] == 410
        assert admin("GET", "/pylis/v1/audit/verify").body["ok"]
