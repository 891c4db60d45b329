"""A request in words and as JSON, as the policy tools print it. Pure."""

from __future__ import annotations

from policies.document import Json
from policies.program import Protocol
from policies.request import Request
from policies.wording import shorten


def caller_words(request: Request) -> str:
    return "plaintext" if request.principal is None else shorten(request.principal)


def request_words(request: Request, protocol: Protocol) -> str:
    """`POST /refunds from …/ns/shop/sa/frontend`, with what else is out of the ordinary."""
    what = f"{request.method} {request.path}" if protocol is Protocol.HTTP else "TCP"
    parts = [f"{what} from {caller_words(request)}"]
    if request.host:
        parts.append(f"host {request.host}")
    parts += [f"header {name}: {value}" for name, value in request.headers.items()]
    parts += [f"{name} {value}" for name, value in _claims(request).items()]
    addresses = (
        ("ip", request.source_ip),
        ("remote ip", request.remote_ip),
        ("to ip", request.destination_ip),
    )
    usual = "192.0.2.1"
    parts += [f"{name} {address}" for name, address in addresses if address and str(address) != usual]
    if request.sni:
        parts.append(f"sni {request.sni}")
    return ", ".join(parts)


def request_json(request: Request, protocol: Protocol) -> dict[str, Json]:
    """As a PolicyTest writes a request, so that it can be made one."""
    source: dict[str, Json] = {"principal": request.principal}
    if request.source_ip is not None:
        source["ip"] = str(request.source_ip)
    if request.remote_ip is not None:
        source["remoteIp"] = str(request.remote_ip)
    found: dict[str, Json] = {"from": source, "protocol": str(protocol)}
    to: dict[str, Json] = {}
    if request.destination_ip is not None:
        to["ip"] = str(request.destination_ip)
    if request.sni:
        to["sni"] = request.sni
    if to:
        found["to"] = to
    if protocol is Protocol.TCP:
        return found
    found |= {"method": request.method, "path": request.path}
    if request.host:
        found["host"] = request.host
    if request.headers:
        found["headers"] = dict(request.headers)
    if request.claims:
        found["claims"] = dict(request.claims)
    return found


def _claims(request: Request) -> dict[str, Json]:
    return {f"claim {name}": value for name, value in (request.claims or {}).items()}
