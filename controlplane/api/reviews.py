"""SelfSubjectAccessReview, SelfSubjectRulesReview, SelfSubjectReview: `kubectl auth can-i` and `whoami`."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import json
from typing import Any, Final

from aiohttp import web

from controlplane.access import Attributes
from controlplane.api import answers
from controlplane.api.authorization import Authorization, rule_json
from controlplane.api.bodies import read_object
from controlplane.api.callers import caller_of
from controlplane.api.errors import bad_request

REVIEWS: Final = (
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
)


class Reviews:
    """The virtual kinds by which a client asks about itself."""

    def __init__(self, authorization: Authorization) -> None:
        self._authorization = authorization

    async def handle(self, request: web.Request) -> web.Response:
        body, caller = await read_object(request), caller_of(request)
        spec = body.get("spec") or {}
        if not isinstance(spec, dict):
            raise bad_request("spec must be an object")
        match request.match_info["review"]:
            case "selfsubjectaccessreviews":
                verdict = await self._authorization.decide(caller, _attributes(spec))
                status: dict[str, Any] = {"allowed": verdict.allowed, "reason": verdict.reason}
            case "selfsubjectrulesreviews":
                status = await self._rules(request, str(spec.get("namespace") or "default"))
            case _:
                status = {
                    "userInfo": {"username": caller.name, "groups": [*caller.groups, "system:authenticated"]}
                }
        answer = {
            "kind": body.get("kind") or "Review", "apiVersion": body.get("apiVersion"), "metadata": {}, "spec": spec, "status": status,
        }  # fmt: skip
        return answers.json_text(json.dumps(answer), 201)

    async def _rules(self, request: web.Request, namespace: str) -> dict[str, Any]:
        policy = await self._authorization.policy()
        rules = [rule_json(rule) for rule, _ in policy.rules_of(caller_of(request), namespace)]
        return {
            "incomplete": False,
            "resourceRules": [r for r in rules if "nonResourceURLs" not in r],
            "nonResourceRules": [r for r in rules if "nonResourceURLs" in r],
        }


def _attributes(spec: dict[str, Any]) -> Attributes:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if isinstance(resource, dict):
        words = ("verb", "group", "resource", "subresource", "namespace", "name")
        return Attributes(*(str(resource.get(word) or "") for word in words))
    if isinstance(other, dict):
        return Attributes(str(other.get("verb") or ""), url=str(other.get("path") or ""))
    raise bad_request("spec needs resourceAttributes or nonResourceAttributes")
