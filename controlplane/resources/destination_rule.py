"""DestinationRule: how callers reach a service: load balancing, limits, outlier detection, locality.

Hosts are matched as a ServiceEntry writes them: exact, `*.suffix` or `*`. What no sidecar here would do is refused,
never ignored: subsets (there is no VirtualService to use them), workloadSelector, and any TLS but the mesh's own.
Settings of a port replace those of the rule whole, as Istio's do.
Source: istio.io DestinationRule reference
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from policies import codes
from policies.authorizer import read_duration
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, is_label, read_metadata
from policies.problem import Problem
from xds.traffic import Cookie, Hashing, Keepalive, Limits, Outliers, Spread, TrafficPolicy

HOST: Final = re.compile(
    r"\*|(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII
)
_MOST: Final = (1 << 31) - 1
_LARGEST_RING: Final = 8_388_608  # Envoy's
_LARGEST_TABLE: Final = 5_000_011  # Envoy's
_POLICY: Final = ("loadBalancer", "connectionPool", "outlierDetection", "tls")
_NO_VIRTUAL_SERVICE: Final = "subsets are chosen by a VirtualService, which is not served"
_LOOPBACK: Final = "a sidecar without interception sees one source address for all callers of its workload"


class TlsMode(StrEnum):
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


@dataclass(frozen=True, slots=True)
class LocalityPreference:
    """`failover`: from a caller's region to the one that comes next."""

    enabled: bool = True
    failover: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PortPolicy:
    traffic: TrafficPolicy = TrafficPolicy()
    locality: LocalityPreference = LocalityPreference()


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """`export_to`: namespaces whose callers it is for; `.` its own, `*` all."""

    namespace: str
    name: str
    host: str
    policy: PortPolicy = PortPolicy()
    ports: Mapping[int, PortPolicy] = field(default_factory=dict[int, PortPolicy])
    export_to: tuple[str, ...] = ("*",)

    def of_port(self, number: int) -> PortPolicy:
        return self.ports.get(number, self.policy)

    def is_visible_in(self, namespace: str) -> bool:
        return bool({"*", namespace} & set(self.export_to)) or (
            namespace == self.namespace and "." in self.export_to
        )


def parse(document: Document) -> tuple[DestinationRule | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    spec = root.child("spec", required=True)
    spec.only("host", "trafficPolicy", "exportTo", "subsets", "workloadSelector")
    _refuse(spec, "subsets", _NO_VIRTUAL_SERVICE)
    _refuse(spec, "workloadSelector", "a rule is for all callers of the namespaces it is exported to")
    host = spec.text("host", required=True)
    if host and (len(host) > 253 or not HOST.fullmatch(host)):
        hint = "a host as its ServiceEntry writes it, *.SUFFIX, or *"
        spec.add(codes.BAD_FORMAT, "host", f'"{host}" is no lower-case DNS name', hint)
    traffic = spec.child("trafficPolicy")
    traffic.only(*_POLICY, "portLevelSettings", "tunnel", "proxyProtocol", "retryBudget")
    _refuse(traffic, "tunnel", "traffic goes through the mesh's own mTLS")
    _refuse(traffic, "proxyProtocol", "sidecars speak no PROXY protocol")
    _refuse(
        traffic, "retryBudget", "a fifth of the running requests may be retries, unless maxRetries says else"
    )
    policy, ports = _policy(traffic), _ports(traffic)
    rule = DestinationRule(metadata.namespace, metadata.name, host, policy, ports, _export(spec))
    return (None if root.failed else rule), root.problems


def _refuse(fields: Fields, name: str, why: str) -> None:
    if name in fields:
        fields.add(codes.NOT_BUILT, name, f"not supported: {why}", "remove it")


def _export(spec: Fields) -> tuple[str, ...]:
    found = spec.texts("exportTo")
    for index, text in enumerate(found):
        if text not in (".", "*") and not is_label(text):
            spec.add(codes.BAD_NAME, f"exportTo[{index}]", f'"{text}" is no namespace', 'or write "." or "*"')
    return found or ("*",)


def _ports(traffic: Fields) -> dict[int, PortPolicy]:
    found: dict[int, PortPolicy] = {}
    for item in traffic.children("portLevelSettings"):
        item.only("port", *_POLICY)
        port = item.child("port", required=True)
        port.only("number")
        number = port.integer("number", low=1, high=65535, required=True)
        if number in found:
            port.add(codes.DEFINED_TWICE, "number", f"{number} has settings already")
        found[number] = _policy(item)
    return found


def _policy(fields: Fields) -> PortPolicy:
    tls = fields.child("tls")
    tls.only("mode")
    if "tls" in fields:
        tls.require("mode")  # left out it is Istio's DISABLE
        tls.choice("mode", TlsMode.ISTIO_MUTUAL)
    balancer = fields.child("loadBalancer")
    balancer.only("simple", "consistentHash", "localityLbSetting", "warmup", "warmupDurationSecs")
    for name in ("warmup", "warmupDurationSecs"):
        _refuse(balancer, name, "a new endpoint takes its full share at once")
    if "simple" in balancer and "consistentHash" in balancer:
        balancer.add(
            codes.EXCLUDE_EACH_OTHER, "consistentHash", "simple is set, too", "remove one of the two"
        )
    spread = balancer.choice("simple", Spread.LEAST_REQUEST)
    traffic = TrafficPolicy(spread, _hashing(balancer), _limits(fields), _outliers(fields))
    return PortPolicy(traffic, _locality(balancer))


def _hashing(balancer: Fields) -> Hashing | None:
    item = balancer.child("consistentHash")
    item.only(
        "httpHeaderName", "httpCookie", "httpQueryParameterName", "useSourceIp", "ringHash", "maglev", "minimumRingSize"
    )  # fmt: skip
    _refuse(item, "useSourceIp", _LOOPBACK)
    _refuse(item, "minimumRingSize", "deprecated by Istio; it is ringHash.minimumRingSize")
    header, query = item.text("httpHeaderName"), item.text("httpQueryParameterName")
    cookie = _cookie(item.child("httpCookie")) if "httpCookie" in item else None
    ring, table = item.child("ringHash"), item.child("maglev")
    ring.only("minimumRingSize")
    table.only("tableSize")
    size = ring.integer("minimumRingSize", low=1, high=_LARGEST_RING)
    entries = table.integer("tableSize", low=2, high=_LARGEST_TABLE)
    if "consistentHash" not in balancer:
        return None
    if "ringHash" in item and "maglev" in item:
        item.add(codes.EXCLUDE_EACH_OTHER, "maglev", "ringHash is set, too", "remove one of the two")
    if sum(map(bool, (header, query, cookie))) != 1 and "useSourceIp" not in item:
        hint = "give one of httpHeaderName, httpCookie, httpQueryParameterName"
        item.add(codes.MISSING, "", "must say by what requests are told apart", hint)
    maglev = "maglev" in item
    if maglev and entries and not _is_prime(entries):
        table.add(codes.OUT_OF_RANGE, "tableSize", f"{entries} is no prime number", "for example 65537")
    return Hashing(header, cookie, query, maglev, entries if maglev else size)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _cookie(item: Fields) -> Cookie:
    item.only("name", "path", "ttl")
    return Cookie(item.text("name", required=True), item.text("path"), _seconds(item, "ttl", zero=True))


def _locality(balancer: Fields) -> LocalityPreference:
    item = balancer.child("localityLbSetting")
    item.only("enabled", "failover", "distribute", "failoverPriority")
    _refuse(item, "distribute", "endpoints are preferred by locality, not weighted")
    _refuse(item, "failoverPriority", "priority follows region, zone and subzone")
    failover: list[tuple[str, str]] = []
    for entry in item.children("failover"):
        entry.only("from", "to")
        pair = (entry.text("from", required=True), entry.text("to", required=True))
        if pair[0] in (known for known, _ in failover):
            entry.add(codes.DEFINED_TWICE, "from", f'"{pair[0]}" has a failover already')
        if pair[0] == pair[1] and pair[0]:
            entry.add(codes.EXCLUDE_EACH_OTHER, "to", "is the region that is left", "name another")
        failover.append(pair)
    return LocalityPreference(item.boolean("enabled", default=True), tuple(failover))


def _limits(fields: Fields) -> Limits:
    pool = fields.child("connectionPool")
    pool.only("tcp", "http")
    tcp, http = pool.child("tcp"), pool.child("http")
    tcp.only("maxConnections", "connectTimeout", "tcpKeepalive", "maxConnectionDuration", "idleTimeout")
    http.only(
        "http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries", "idleTimeout",
        "maxConcurrentStreams", "h2UpgradePolicy", "useClientProtocol",
    )  # fmt: skip
    _refuse(http, "h2UpgradePolicy", "a service's port says what it speaks")
    _refuse(http, "useClientProtocol", "a service's port says what it speaks")
    return Limits(
        connections=_count(tcp, "maxConnections"),
        connect_timeout=_seconds(tcp, "connectTimeout"),
        keepalive=_keepalive(tcp),
        connection_duration=_seconds(tcp, "maxConnectionDuration"),
        tcp_idle=_seconds(tcp, "idleTimeout"),
        pending_requests=_count(http, "http1MaxPendingRequests"),
        requests=_count(http, "http2MaxRequests"),
        requests_per_connection=_count(http, "maxRequestsPerConnection"),
        concurrent_streams=_count(http, "maxConcurrentStreams"),
        retries=_count(http, "maxRetries"),
        idle=_seconds(http, "idleTimeout"),
    )


def _keepalive(tcp: Fields) -> Keepalive | None:
    item = tcp.child("tcpKeepalive")
    item.only("probes", "time", "interval")
    found = Keepalive(_count(item, "probes"), int(_seconds(item, "time")), int(_seconds(item, "interval")))
    return found if "tcpKeepalive" in tcp else None


def _outliers(fields: Fields) -> Outliers | None:
    item = fields.child("outlierDetection")
    item.only(
        "consecutiveGatewayErrors", "consecutive5xxErrors", "consecutiveLocalOriginFailures", "consecutiveErrors",
        "splitExternalLocalOriginErrors", "interval", "baseEjectionTime", "maxEjectionPercent", "minHealthPercent",
    )  # fmt: skip
    _refuse(
        item,
        "consecutiveErrors",
        "deprecated by Istio; it is consecutive5xxErrors or consecutiveGatewayErrors",
    )
    split = item.boolean("splitExternalLocalOriginErrors")
    if "consecutiveLocalOriginFailures" in item and not split:
        hint = "set splitExternalLocalOriginErrors: true"
        item.add(
            codes.MISSING, "consecutiveLocalOriginFailures", "is counted only where failures are split", hint
        )
    found = Outliers(
        gateway_errors=_maybe(item, "consecutiveGatewayErrors"),
        server_errors=_maybe(item, "consecutive5xxErrors"),
        local_failures=_maybe(item, "consecutiveLocalOriginFailures"),
        split=split,
        interval=_seconds(item, "interval"),
        ejection=_seconds(item, "baseEjectionTime"),
        most_percent=item.integer("maxEjectionPercent", low=0, high=100),
        least_healthy_percent=item.integer("minHealthPercent", low=0, high=100),
    )
    return found if "outlierDetection" in fields else None


def _count(fields: Fields, name: str) -> int:
    return fields.integer(name, low=0, high=_MOST)


def _maybe(fields: Fields, name: str) -> int | None:
    number = _count(fields, name)
    return number if name in fields else None


def _seconds(fields: Fields, name: str, *, zero: bool = False) -> float:
    if zero and fields.value.get(name) == "0s":
        return 0.0
    return read_duration(fields, name, 0.0)
