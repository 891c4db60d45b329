"""The API's reference as one page for people: made from the OpenAPI document, no script, nothing from elsewhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any, Final

from controlplane.api.openapi import EXAMPLES, everything
from controlplane.resources.kinds import KINDS, Kind

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{background:#f4f4f4;padding:.8rem;overflow:auto}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem .2rem 0;vertical-align:top}"
    "h2{margin-top:2.5rem;border-top:1px solid #ccc;padding-top:1rem}"
)
_CURL: Final = """curl --cacert ca.pem -H "Authorization: Bearer $TOKEN" \\
  --resolve server.pylis.internal:15080:127.0.0.1 https://server.pylis.internal:15080"""


def html() -> str:
    document = everything()
    kinds = "".join(_kind(kind, document) for kind in KINDS)
    contents = ", ".join(f'<a href="#{k.plural}">{escape(k.kind)}</a>' for k in KINDS)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Pylis API</title>'
        f"<style>{_STYLE}</style></head><body><h1>Pylis API</h1><p>{escape(document['info']['description'])} "
        'Machines read <a href="/openapi.json">/openapi.json</a>; kubectl and the official clients work as they are.</p>'
        f"<p>{contents}</p><pre>{escape(_CURL)}/version</pre>{kinds}</body></html>"
    )


def _kind(kind: Kind, document: dict[str, Any]) -> str:
    rows = ""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if (
                method != "parameters"
                and operation.get("x-kubernetes-group-version-kind", {}).get("kind") == kind.kind
            ):
                call = f"{method.upper()} {path}"
                rows += (
                    f"<tr><td><code>{escape(call)}</code></td><td>{escape(operation['summary'])}</td></tr>"
                )
    text = f'<h2 id="{kind.plural}">{escape(kind.kind)} <small>{escape(kind.api_version)}</small></h2>'
    text += f"<p>{escape(kind.description)}</p><table>{rows}</table>"
    if example := EXAMPLES.get(kind.kind):
        scope = "/namespaces/shop" if kind.namespaced else ""
        root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
        body = json.dumps(example, indent=2)
        call = f"{_CURL}{root}{scope}/{kind.plural} \\\n  -H 'Content-Type: application/json' -d @- <<'EOF'\n{body}\nEOF"
        text += f"<pre>{escape(call)}</pre>"
    return text
