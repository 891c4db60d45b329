"""kubectl against a running server: the commands people use, one after another, as one script.

Each test has its own namespace; all share one server. Without kubectl the omission is named in the run's last lines.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running_server import RunningServer

KUBECTL = shutil.which("kubectl")

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(KUBECTL is None, reason="no kubectl on this machine: the API was not tried with it"),
]


def policy(name: str, namespace: str, method: str = "GET", **metadata: Any) -> str:
    body = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {"action": "ALLOW", "rules": [{"to": [{"operation": {"methods": [method]}}]}]},
    }
    return json.dumps(body)


def together(*objects: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [json.loads(o) for o in objects]})


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Runs one command; `ok` demands success."""

    home: Path
    kubeconfig: Path
    namespace: str

    def __call__(self, *arguments: str, text: str = "", ok: bool | None = None, editor: str = "") -> Answer:
        command = [str(KUBECTL), "--kubeconfig", str(self.kubeconfig), "-n", self.namespace, *arguments]
        environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "KUBE_EDITOR": editor}
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=90, check=False, env=environment
        )
        answer = Answer(done.returncode, done.stdout, done.stderr)
        assert ok is None or (answer.code == 0) is ok, answer
        return answer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def kubectl(server: RunningServer, tmp_path: Path, request: pytest.FixtureRequest) -> Kubectl:
    namespace = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60].strip("-")
    run = Kubectl(tmp_path, server.kubeconfig, namespace)
    run("create", "namespace", namespace, ok=True)
    return run


def test_apply_diff_get_and_delete(kubectl: Kubectl) -> None:
    first = policy("orders", kubectl.namespace)
    created = "authorizationpolicy.security.istio.io/orders created"
    assert kubectl("apply", "-f", "-", text=first, ok=True).out.strip() == created
    assert kubectl("diff", "-f", "-", text=first).code == 0
    assert "unchanged" in kubectl("apply", "-f", "-", text=first, ok=True).out
    changed = policy("orders", kubectl.namespace, "POST")
    difference = kubectl("diff", "-f", "-", text=changed)
    assert difference.code == 1
    assert "-        - GET" in difference.out
    assert "+        - POST" in difference.out
    assert "dry run" in kubectl("apply", "--dry-run=server", "-f", "-", text=changed, ok=True).out
    assert "configured" in kubectl("apply", "-f", "-", text=changed, ok=True).out
    live = kubectl("get", "ap", "orders", "-o", "json", ok=True).json
    assert live["spec"]["rules"][0]["to"][0]["operation"]["methods"] == ["POST"]
    assert live["metadata"]["generation"] == 2
    assert kubectl("delete", "ap", "orders", ok=True).out.strip().endswith('"orders" deleted')
    assert "NotFound" in kubectl("get", "ap", "orders", ok=False).err
    assert kubectl("get", "ap", "orders", "--ignore-not-found", ok=True).out == ""


def test_tables(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=policy("a", kubectl.namespace, labels={"team": "x"}), ok=True)
    kubectl("apply", "-f", "-", text=policy("b", kubectl.namespace), ok=True)
    table = kubectl("get", "authorizationpolicies", ok=True).out.splitlines()
    assert table[0].split() == ["NAME", "ACTION", "RULES", "SELECTOR", "PROGRAMMED", "AGE"]
    assert table[1].split()[:3] == ["a", "ALLOW", "1"]
    assert (
        "KEYS" in kubectl("get", "cm", "-o", "wide", text="").text
        or "No resources" in kubectl("get", "cm").err
    )
    assert "team=x" in kubectl("get", "ap", "--show-labels", ok=True).out
    assert kubectl("get", "ap", "-l", "team in (x,y)", "-o", "name", ok=True).out.split() == [
        "authorizationpolicy.security.istio.io/a"
    ]
    assert kubectl("get", "ap", "-l", "!team", "-o", "name", ok=True).out.split() == [
        "authorizationpolicy.security.istio.io/b"
    ]
    assert (
        kubectl(
            "get", "ap", "--field-selector", "metadata.name=b", "-o", "jsonpath={.items[*].metadata.name}"
        ).out
        == "b"
    )
    assert kubectl("get", "ap", "-A", "-o", "wide", ok=True).out.split()[0] == "NAMESPACE"
    chunked = kubectl("get", "ap", "--chunk-size=1", "-o", "name", ok=True).out.split()
    assert len(chunked) == 2
    assert (
        "orders"
        not in kubectl("get", "ap", "--sort-by=.metadata.name", "-o", "custom-columns=N:.metadata.name").out
    )


def test_describe_and_explain(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=policy("orders", kubectl.namespace), ok=True)
    described = kubectl("describe", "ap", "orders", ok=True).out
    assert "Kind:         AuthorizationPolicy" in described
    assert "Methods:" in described
    assert "Who may send which requests" in kubectl("explain", "ap", ok=True).out
    assert "For selection." in kubectl("explain", "ap.metadata.labels", ok=True).out
    assert "STRICT: mutual TLS only" in kubectl("explain", "pa.spec.mtls.mode", ok=True).out
    assert "authorizationpolicies" in kubectl("api-resources", "--api-group=security.istio.io", ok=True).out
    assert "security.istio.io/v1" in kubectl("api-versions", ok=True).out
    assert "v1.32" in kubectl("version", ok=True).out
    assert "/apis" in kubectl("get", "--raw", "/openapi/v3", ok=True).out.replace("apis/", "/apis/")


def test_three_patches(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=policy("orders", kubectl.namespace), ok=True)
    merged = kubectl("patch", "ap", "orders", "--type=merge", "-p", '{"spec":{"action":"DENY"}}', ok=True)
    assert "patched" in merged.out
    operations = '[{"op":"test","path":"/spec/action","value":"DENY"},{"op":"replace","path":"/spec/action","value":"ALLOW"}]'
    assert "patched" in kubectl("patch", "ap", "orders", "--type=json", "-p", operations, ok=True).out
    assert (
        "patched (no change)"
        in kubectl("patch", "ap", "orders", "--type=merge", "-p", '{"spec":{"action":"ALLOW"}}').out
    )
    failed = kubectl("patch", "ap", "orders", "--type=json", "-p", operations, ok=False)
    assert "the test of /spec/action failed" in failed.err
    strategic = kubectl("patch", "ap", "orders", "-p", '{"spec":{"action":"DENY"}}', ok=False)
    assert "strategic" in strategic.err
    assert kubectl("get", "ap", "orders", "-o", "jsonpath={.spec.action}").out == "ALLOW"


def test_edit_label_annotate_replace(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=policy("orders", kubectl.namespace), ok=True)
    assert "edited" in kubectl("edit", "ap", "orders", editor="sed -i s/GET/PUT/", ok=True).out
    assert "PUT" in kubectl("get", "ap", "orders", "-o", "yaml", ok=True).out
    bad = kubectl("edit", "ap", "orders", editor="sed -i s/methods:/method:/", ok=False)
    assert "operation.method" in bad.text
    assert "labeled" in kubectl("label", "ap", "orders", "team=a", ok=True).out
    assert "annotated" in kubectl("annotate", "ap", "orders", "note=b", ok=True).out
    live = kubectl("get", "ap", "orders", "-o", "json", ok=True).json
    assert live["metadata"]["generation"] == 2, "labels are no new generation"
    stale = {**live, "metadata": {**live["metadata"], "resourceVersion": "1"}}
    assert (
        "the object has been modified" in kubectl("replace", "-f", "-", text=json.dumps(stale), ok=False).err
    )
    assert (
        "replaced"
        in kubectl("replace", "-f", "-", text=policy("orders", kubectl.namespace, "HEAD"), ok=True).out
    )
    assert (
        "replaced"
        in kubectl("replace", "--force", "-f", "-", text=policy("orders", kubectl.namespace), ok=True).out
    )


def test_mistakes_name_their_field(kubectl: Kubectl) -> None:
    wrong = policy("orders", kubectl.namespace).replace("methods", "method")
    strict = kubectl("apply", "-f", "-", text=wrong, ok=False)
    assert 'strict decoding error: unknown field "spec.rules[0].to[0].operation.method"' in strict.err
    # an operation with nothing in it is refused in every mode: what a typo leaves must not allow everything
    assert kubectl("apply", "--validate=warn", "-f", "-", text=wrong).code == 1
    extra = json.dumps(json.loads(policy("orders", kubectl.namespace)) | {"surprise": 1})
    warned = kubectl("apply", "--validate=warn", "-f", "-", text=extra, ok=True)
    assert 'Warning: unknown field "surprise"' in warned.err
    assert "created" in warned.out
    ignored = kubectl("apply", "--validate=ignore", "-f", "-", text=extra, ok=True)
    assert "Warning" not in ignored.err
    invalid = kubectl(
        "apply", "-f", "-", text=policy("orders", kubectl.namespace).replace("ALLOW", "PERHAPS"), ok=False
    )
    assert 'The AuthorizationPolicy "orders" is invalid: spec.action' in invalid.err
    assert (
        'namespaces "nowhere" not found'
        in kubectl("apply", "-n", "nowhere", "-f", "-", text=policy("x", "nowhere")).err
    )


def test_warnings_of_the_linter_reach_people(kubectl: Kubectl) -> None:
    body = json.loads(policy("all", kubectl.namespace))
    body["spec"]["selector"] = {}
    answer = kubectl("apply", "-f", "-", text=json.dumps(body), ok=True)
    assert "Warning: PYL1102 spec.selector: selects every workload" in answer.err


def test_server_side_apply_with_a_conflict(kubectl: Kubectl) -> None:
    one, other = policy("orders", kubectl.namespace), policy("orders", kubectl.namespace, "POST")
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", text=one, ok=True).out
    conflict = kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", text=other, ok=False)
    assert 'conflict with "kubectl": .spec.rules' in conflict.err
    forced = ("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-")
    assert "serverside-applied" in kubectl(*forced, text=other, ok=True).out
    assert 'conflict with "other"' in kubectl("apply", "--server-side", "-f", "-", text=one, ok=False).err
    live = kubectl("get", "ap", "orders", "-o", "json", "--show-managed-fields", ok=True).json
    owners = {e["manager"]: e["fieldsV1"] for e in live["metadata"]["managedFields"]}
    assert "f:rules" in owners["other"]["f:spec"]
    assert "f:rules" not in owners["kubectl"]["f:spec"]


def test_server_side_apply_after_a_client_side_one(kubectl: Kubectl) -> None:
    one = policy("orders", kubectl.namespace)
    kubectl("apply", "-f", "-", text=one, ok=True)
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", text=one, ok=True).out
    changed = policy("orders", kubectl.namespace, "POST")
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", text=changed, ok=True).out
    live = kubectl("get", "ap", "orders", "-o", "json", "--show-managed-fields", ok=True).json
    owners = {e["manager"]: e["fieldsV1"] for e in live["metadata"]["managedFields"]}
    assert "f:rules" in owners["kubectl"]["f:spec"]
    assert "kubectl-client-side-apply" not in owners
    assert live["spec"]["rules"][0]["to"][0]["operation"]["methods"] == ["POST"]


def test_prune(kubectl: Kubectl) -> None:
    label = {"labels": {"set": "one"}}
    both = together(policy("a", kubectl.namespace, **label), policy("b", kubectl.namespace, **label))
    prune = (
        "apply",
        "--prune",
        "-l",
        "set=one",
        "--prune-allowlist=security.istio.io/v1/AuthorizationPolicy",
        "-f",
        "-",
    )
    kubectl(*prune, text=both, ok=True)
    assert "b pruned" in kubectl(*prune, text=policy("a", kubectl.namespace, **label), ok=True).out
    assert kubectl("get", "ap", "-o", "name", ok=True).out.split() == [
        "authorizationpolicy.security.istio.io/a"
    ]


def test_prune_with_an_applyset(kubectl: Kubectl) -> None:
    both = together(policy("a", kubectl.namespace), policy("b", kubectl.namespace))
    environment = ("apply", "--prune", "--applyset=configmaps/set", "-f", "-")
    done = _with_applysets(kubectl, *environment, text=both)
    assert done.returncode == 0, done.stderr
    done = _with_applysets(kubectl, *environment, text=policy("a", kubectl.namespace))
    assert "b pruned" in done.stdout, done.stderr


def _with_applysets(kubectl: Kubectl, *arguments: str, text: str) -> subprocess.CompletedProcess[str]:
    command = [str(KUBECTL), "--kubeconfig", str(kubectl.kubeconfig), "-n", kubectl.namespace, *arguments]
    environment = {"HOME": str(kubectl.home), "PATH": "/usr/bin:/bin", "KUBECTL_APPLYSET": "true"}
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=90, check=False, env=environment
    )


def test_wait_for_what_the_control_plane_says(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=policy("orders", kubectl.namespace), ok=True)
    waited = kubectl("wait", "--for=condition=Accepted", "ap/orders", "--timeout=30s", ok=True)
    assert "condition met" in waited.out
    assert (
        "condition met"
        in kubectl("wait", "--for=condition=Programmed", "ap/orders", "--timeout=30s", ok=True).out
    )
    conditions = kubectl(
        "get", "ap", "orders", "-o", "jsonpath={.status.conditions[*].type}", ok=True
    ).out.split()
    assert conditions == ["Accepted", "Programmed", "ResolvedRefs"], "no workload is there yet"
    assert (
        "condition met"
        in kubectl("wait", "--for=jsonpath={.spec.action}=ALLOW", "ap/orders", "--timeout=30s").out
    )


def test_the_status_subresource(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=policy("orders", kubectl.namespace), ok=True)
    patch = '{"spec":{"action":"DENY"},"status":{"note":"hello"}}'
    kubectl("patch", "ap", "orders", "--subresource=status", "--type=merge", "-p", patch, ok=True)
    live = kubectl("get", "ap", "orders", "-o", "json", ok=True).json
    assert (live["status"]["note"], live["spec"]["action"], live["metadata"]["generation"]) == (
        "hello",
        "ALLOW",
        1,
    )
    kubectl("patch", "ap", "orders", "--type=merge", "-p", '{"status":{"note":"stolen"}}', ok=True)
    assert kubectl("get", "ap", "orders", "-o", "jsonpath={.status.note}").out == "hello"


def test_finalizers_hold_an_object(kubectl: Kubectl) -> None:
    held = policy("orders", kubectl.namespace, finalizers=["example.org/hold"])
    kubectl("apply", "-f", "-", text=held, ok=True)
    kubectl("delete", "ap", "orders", "--wait=false", ok=True)
    live = kubectl("get", "ap", "orders", "-o", "json", ok=True).json
    assert live["metadata"]["deletionTimestamp"]
    more = '{"metadata":{"finalizers":["example.org/hold","example.org/more"]}}'
    assert "cannot be added" in kubectl("patch", "ap", "orders", "--type=merge", "-p", more, ok=False).err
    kubectl("patch", "ap", "orders", "--type=merge", "-p", '{"metadata":{"finalizers":null}}', ok=True)
    assert "NotFound" in kubectl("get", "ap", "orders", ok=False).err


def test_dependents_go_with_their_owner(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "owner", "--from-literal=a=b", ok=True)
    uid = kubectl("get", "cm", "owner", "-o", "jsonpath={.metadata.uid}", ok=True).out
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    kubectl("apply", "-f", "-", text=policy("mine", kubectl.namespace, ownerReferences=[owner]), ok=True)
    kubectl("apply", "-f", "-", text=policy("free", kubectl.namespace), ok=True)
    kubectl("delete", "cm", "owner", "--cascade=orphan", ok=True)
    assert kubectl("get", "ap", "mine", "-o", "jsonpath={.metadata.ownerReferences}", ok=True).out == ""
    kubectl("create", "configmap", "owner", "--from-literal=a=b", ok=True)
    owner["uid"] = kubectl("get", "cm", "owner", "-o", "jsonpath={.metadata.uid}", ok=True).out
    kubectl("apply", "-f", "-", text=policy("mine", kubectl.namespace, ownerReferences=[owner]), ok=True)
    kubectl("delete", "cm", "owner", "--cascade=foreground", ok=True)
    assert kubectl("wait", "--for=delete", "ap/mine", "--timeout=30s").code == 0
    assert kubectl("get", "ap", "-o", "name").out.split() == ["authorizationpolicy.security.istio.io/free"]


def test_a_namespace_goes_with_what_is_in_it(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=policy("orders", kubectl.namespace), ok=True)
    kubectl("delete", "namespace", kubectl.namespace, ok=True)
    assert "NotFound" in kubectl("get", "namespace", kubectl.namespace, ok=False).err
    assert "orders" not in kubectl("get", "ap", "-A", "-o", "name").out.split()


def test_generate_name_and_many_deletions(kubectl: Kubectl) -> None:
    body = json.loads(policy("", kubectl.namespace))
    body["metadata"] = {"generateName": "orders-", "namespace": kubectl.namespace, "labels": {"set": "x"}}
    for _ in range(3):
        assert re.search(
            r"/orders-[a-z0-9]{5} created", kubectl("create", "-f", "-", text=json.dumps(body), ok=True).out
        )
    assert "dry run" in kubectl("delete", "ap", "--all", "--dry-run=server", ok=True).out
    assert len(kubectl("get", "ap", "-o", "name").out.split()) == 3
    path = f"/apis/security.istio.io/v1/namespaces/{kubectl.namespace}/authorizationpolicies?labelSelector=set%3Dx"
    kubectl("delete", "--raw", path, ok=True)
    assert kubectl("get", "ap", "-o", "name").out.split() == []


def test_who_may(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "authorizationpolicies").out.strip() == "yes"
    assert "admin" in kubectl("auth", "whoami", ok=True).out
    assert "*.*" in kubectl("auth", "can-i", "--list", ok=True).out
    kubectl(
        "create",
        "role",
        "reader",
        "--verb=get,list",
        "--resource=authorizationpolicies.security.istio.io",
        ok=True,
    )
    kubectl("create", "rolebinding", "readers", "--role=reader", "--user=ann", ok=True)
    assert (
        kubectl("get", "role", "reader", "-o", "jsonpath={.rules[0].verbs}", ok=True).out == '["get","list"]'
    )
    assert "ann" in kubectl("describe", "rolebinding", "readers", ok=True).out


def test_watching(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=policy("first", kubectl.namespace), ok=True)
    command = [
        str(KUBECTL),
        "--kubeconfig",
        str(kubectl.kubeconfig),
        "-n",
        kubectl.namespace,
        "get",
        "ap",
        "-w",
        "-o",
        "name",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={"HOME": str(kubectl.home)}
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().strip().endswith("/first")
        kubectl("apply", "-f", "-", text=policy("second", kubectl.namespace), ok=True)
        seen = [watching.stdout.readline().strip().rpartition("/")[2]]
        while seen[-1] != "second":
            seen.append(watching.stdout.readline().strip().rpartition("/")[2])
        watching.terminate()
    assert set(seen) <= {"first", "second"}


def test_secrets_are_kept_and_not_shown_where_they_should_not(
    kubectl: Kubectl, server: RunningServer
) -> None:
    kubectl("create", "secret", "generic", "git", "--from-literal=password=open-sesame", ok=True)
    assert (
        kubectl("get", "secret", "git", "-o", "jsonpath={.data.password}", ok=True).out == "b3Blbi1zZXNhbWU="
    )
    assert "open-sesame" not in kubectl("get", "--raw", "/pylis/v1/audit?limit=1000", ok=True).out
    assert "b3Blbi1zZXNhbWU=" not in kubectl("get", "--raw", "/pylis/v1/audit?limit=1000", ok=True).out
    stored = b"".join(f.read_bytes() for f in server.directory.glob("d/store.db*"))
    assert b"b3Blbi1zZXNhbWU=" not in stored


def test_kustomize(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "policy.yaml").write_text(policy("orders", kubectl.namespace))
    (tmp_path / "k" / "kustomization.yaml").write_text(
        "resources: [policy.yaml]\ncommonLabels: {from: kustomize}\n"
    )
    assert "created" in kubectl("apply", "-k", str(tmp_path / "k"), ok=True).out
    assert kubectl("diff", "-k", str(tmp_path / "k")).code == 0


def test_a_wrong_token_gets_nothing(kubectl: Kubectl, tmp_path: Path) -> None:
    config = json.loads(kubectl.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "wrong"
    (tmp_path / "bad").write_text(json.dumps(config))
    answer = Kubectl(tmp_path / "home", tmp_path / "bad", "default")("get", "ap", ok=False)
    assert "You must be logged in" in answer.err or "Unauthorized" in answer.err
