"""Journeys of edits as OpenTelemetry traces (an edge): spans to an OTLP receiver, by the standard OTEL_* settings.

Off unless a receiver is named (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or
OTEL_TRACES_EXPORTER=otlp). The SDK is an extra and loaded only then; it reads every other setting itself: sampler,
headers, timeout, certificate, limits, service name. A span is made when an edit is over, with the times that were
noted on the way: nothing is exported from the path of an edit.

    PUT /apis/…                the API request; its parent is the caller's span (W3C Trace Context)
    ├── admit                  who asks, may they, is it valid
    ├── commit                 until the store has it
    ├── reconcile              until the mesh that is in force holds it, and it is known whom it concerns
    └── distribute             until the last proxy has answered
        └── push               one for each of the first 32 proxies
            ├── compile        what that proxy is to hold
            └── acknowledge    sent, and answered: an error where the proxy refused it

Source: opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from controlplane.journey import PATIENCE_SECONDS, Batch, Edit, Journeys, Push
from controlplane.settings_file import SettingsError

if TYPE_CHECKING:  # an extra, and heavy
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"
LAST_SECONDS: Final = 2.0  # to send what is left when the server stops


class Tracing:
    """`journeys` is told what happens; `stop` sends what is left."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("pylis")
        self.journeys = Journeys(time.monotonic, self._finished)

    @classmethod
    def of(cls, environment: Mapping[str, str], version: str) -> Tracing | None:
        """None where no receiver is named. Raises: SettingsError."""
        if not is_wanted(environment):
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            text = "OTEL_* asks for traces, and OpenTelemetry is not installed: pip install 'pylis[otel]'"
            raise SettingsError(text) from error
        own = {"service.version": version}
        named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")  # fmt: skip
        if not named:
            own["service.name"] = "pylis"
        provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    async def run(self) -> None:
        """What takes too long is sent as it is; until cancelled."""
        while True:
            await asyncio.sleep(PATIENCE_SECONDS / 4)
            self.journeys.give_up()

    async def stop(self) -> None:
        """Sends what is left, for a while: a receiver that does not answer holds nobody up."""
        self.journeys.stop()
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="last traces", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await sent.wait()

    def _finished(self, edit: Edit, batch: Batch | None, complete: bool) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        asked = edit.request
        carrier = {"traceparent": asked.traceparent, "tracestate": asked.tracestate}
        at, wanted = _wall_clock(), {"http.request.method": asked.method, "url.path": asked.path}
        root = self._tracer.start_span(
            f"{asked.method} {_route(asked.path)}",
            TraceContextTextMapPropagator().extract(carrier),
            SpanKind.SERVER,
            {**wanted, "http.response.status_code": edit.status, "pylis.request_id": asked.request_id},
            start_time=at(edit.began),
        )
        if edit.revision:
            root.set_attribute("pylis.revision", edit.revision)
        if edit.status >= 500:
            root.set_status(Status(StatusCode.ERROR))
        if not complete:
            root.set_attribute("pylis.incomplete", "not every proxy has answered")
        end = edit.answered or time.monotonic()
        self._child(root, "admit", at(edit.began), at(edit.committing or end))
        if edit.committed:
            self._child(root, "commit", at(edit.committing), at(edit.committed))
        if batch is not None:
            # the mesh may have it a moment before the request hears of its commit
            begun = min(edit.committed, batch.at)
            self._child(root, "reconcile", at(begun), at(batch.at), {"pylis.proxies.affected": batch.affected})  # fmt: skip
            self._distribute(root, batch, at)
        root.end(at(end))

    def _distribute(self, root: Span, batch: Batch, at: Callable[[float], int]) -> None:
        counts = {
            "pylis.proxies.told": batch.connected, "pylis.proxies.refused": batch.refused,
            "pylis.proxies.gone": batch.gone, "pylis.proxies.silent": len(batch.pending),
            "pylis.proxies.shown": len(batch.pushes),
        }  # fmt: skip
        whole = self._start(root, "distribute", at(batch.at), counts)
        for push in batch.pushes.values():
            self._push(whole, push, batch, at)
        whole.end(at(batch.last))

    def _push(self, whole: Span, push: Push, batch: Batch, at: Callable[[float], int]) -> None:
        from opentelemetry.trace import Status, StatusCode

        outcome = "silent" if not push.ended else "gone" if push.gone else "refused" if push.refused else "acknowledged"  # fmt: skip
        end = push.ended or batch.last
        one = self._start(
            whole, "push", at(batch.at), {"pylis.proxy": push.node, "pylis.proxy.outcome": outcome}
        )
        if push.compiled:
            self._child(one, "compile", at(batch.at), at(push.compiled))
            answer = self._start(one, "acknowledge", at(push.compiled))
            if push.refused:
                refused = ", ".join(type_url.rpartition(".")[2] for type_url in push.refused)
                answer.set_status(Status(StatusCode.ERROR, f"refused: {refused}"))
            answer.end(at(max(end, push.compiled)))
        if push.refused:
            one.set_status(Status(StatusCode.ERROR, "refused"))
        one.end(at(end))

    def _start(
        self, parent: Span, name: str, start: int, attributes: Mapping[str, Any] | None = None
    ) -> Span:
        from opentelemetry.trace import set_span_in_context

        context: Context = set_span_in_context(parent)
        return self._tracer.start_span(name, context, attributes=attributes, start_time=start)

    def _child(
        self, parent: Span, name: str, start: int, end: int, attributes: Mapping[str, Any] | None = None
    ) -> None:
        self._start(parent, name, start, attributes).end(max(start, end))


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Is a receiver named? Raises: SettingsError for what is asked for and not spoken."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter == "none" or not (exporter or any(environment.get(name) for name in _ENDPOINTS)):
        return False
    if exporter not in ("", "otlp"):
        raise SettingsError(f"OTEL_TRACES_EXPORTER={exporter}: traces are sent by otlp only")
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), PROTOCOL)
    if protocol != PROTOCOL:
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: only {PROTOCOL} is spoken")
    return True


def _wall_clock() -> Callable[[float], int]:
    """Seconds of the monotonic clock → nanoseconds since 1970, by what the two say now."""
    wall, monotonic = time.time_ns(), time.monotonic()
    return lambda seconds: wall - int((monotonic - seconds) * 1e9)


def _route(path: str) -> str:
    """Without names, so that spans of one kind have one name."""
    parts = path.strip("/").split("/")
    fixed = (
        4 if parts[0] == "apis" else 3
    )  # /apis/group/version/plural, /api/version/plural, /pylis/v1/resource
    shown, rest = parts[:fixed], parts[fixed:]
    if shown[-1] == "namespaces" and len(rest) > 1:
        shown, rest = [*shown, "{namespace}", rest[1]], rest[2:]
    if rest:
        shown = [*shown, "{name}", *(["status"] if rest[1:] == ["status"] else [])]
    return "/" + "/".join(shown)
