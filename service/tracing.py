"""Traces by OpenTelemetry: a span for each request, one in it for each stage that metrics measure too, and one for each
event that the relay publishes, in the trace of the request that caused it.

Off unless `start_tracing` was called, which needs the extra `tracing`. OpenTelemetry's own variables say where spans go
(`OTEL_EXPORTER_OTLP_ENDPOINT`), how many (`OTEL_TRACES_SAMPLER`) and more. Spans hold ids and words of ours, never a
path, a token, a subject, a name or a text. Owns the tracer of this process; spans that cannot be sent are dropped.
"""

from __future__ import annotations

import logging
import os
import time
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from service import metrics
from service.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from events.envelope import PublishedChange

SERVICE = "timewarden"
# Where OpenTelemetry sends spans.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


class Tracing:
    """Makes spans with a tracer."""

    def __init__(self, tracer: Tracer) -> None:
        # Here, since the packages are optional.
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._tracer = tracer
        self._server, self._producer, self._error = SpanKind.SERVER, SpanKind.PRODUCER, StatusCode.ERROR
        self._set_span = set_span_in_context
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, method: str, traceparent: str | None) -> RequestSpan:
        """Begin the span of a request, in the trace of the caller's `traceparent`, or in a new trace."""
        parent = None if traceparent is None else self._propagator.extract({"traceparent": traceparent})
        span = self._tracer.start_span(method, parent, self._server, {"http.request.method": method})
        context = self._set_span(span)
        named: dict[str, str] = {}
        self._propagator.inject(named, context)
        return RequestSpan(self, method, span, context, named["traceparent"])

    def end(self, request: RequestSpan, route: str, status: int, decision: str | None) -> None:
        """End it, with what is known of the answer."""
        span = request.span
        if route:
            span.update_name(f"{request.method} {route}")
            span.set_attribute("http.route", route)
        if status:
            span.set_attribute("http.response.status_code", status)
        if decision is not None:
            span.set_attribute("timewarden.decision.id", decision)
        if status >= 500:  # noqa: PLR2004 — only then is a server's span an error (semantic conventions of HTTP)
            span.set_status(self._error)
        span.end()

    def add_stage(self, request: RequestSpan, name: str, started: float) -> None:
        """Add the span of a stage that began at `started`, by `perf_counter`, and ends now."""
        ended = time.time_ns()
        begun = ended - int((time.perf_counter() - started) * 1e9)
        self._tracer.start_span(name, request.context, start_time=begun).end(ended)

    def add_event(self, traceparent: str, event_id: str, stream: str, started: float) -> None:
        """Add the span of an event that is in the stream now, in the trace of the request that caused it."""
        ended = time.time_ns()
        parent = self._propagator.extract({"traceparent": traceparent})
        # The names of OpenTelemetry's conventions for messaging.
        attributes = {
            "messaging.system": "redis",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.destination.name": stream,
            "messaging.message.id": event_id,
        }
        begun = ended - int((time.perf_counter() - started) * 1e9)
        span = self._tracer.start_span(f"publish {stream}", parent, self._producer, attributes, start_time=begun)
        span.end(ended)


class RequestSpan:
    """The span of the request that the current task works on. `traceparent` names it to others: in the answer, in the
    records, and in events."""

    def __init__(self, tracing: Tracing, method: str, span: Span, context: Context, traceparent: str) -> None:
        self.method, self.span, self.context, self.traceparent = method, span, context, traceparent
        self._tracing = tracing
        self._former = _CURRENT.set(self)

    def add_stage(self, name: str, started: float) -> None:
        """Add a stage that began at `started`, by `perf_counter`, and ends now."""
        self._tracing.add_stage(self, name, started)

    def end(self, *, route: str, status: int, decision: str | None) -> None:
        """End it, in the task that began it. `status` 0: the caller left before the answer began."""
        _CURRENT.reset(self._former)
        self._tracing.end(self, route, status, decision)


_CURRENT: ContextVar[RequestSpan | None] = ContextVar("request span", default=None)
_tracing: Tracing | None = None


def check_tracing() -> None:
    """Raise Misconfigured without the packages of the extra, and for an address or headers that OpenTelemetry would
    quote in log lines although they may hold a password."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        raise Misconfigured("TIMEWARDEN_TRACES needs the extra `tracing`: docs/production.md, section Extras")
    for variable in ENDPOINTS:
        if (url := os.environ.get(variable)) and not _is_plain_url(url):
            raise Misconfigured(
                f"{variable} must be an http or https URL without a user and a password;"
                " OTEL_EXPORTER_OTLP_HEADERS is for credentials"
            )
    # It would quote a malformed header.
    logging.getLogger("opentelemetry.util.re").setLevel(logging.ERROR)
    for variable in HEADERS:
        if (text := os.environ.get(variable)) and not _are_headers(text):
            raise Misconfigured(
                f"{variable} must be headers as name=value, separated by commas, with values URL-encoded"
            )


def _is_plain_url(url: str) -> bool:
    """Whether this is an http or https URL with a host and nothing that could be a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in url


def _are_headers(text: str) -> bool:
    """Whether OpenTelemetry reads each part of the text as a header."""
    from opentelemetry.util.re import parse_env_headers  # noqa: PLC0415

    names = {unquote(part.partition("=")[0]).strip().lower() for part in text.split(",") if part.strip()}
    return parse_env_headers(text, liberal=True).keys() == names


def start_tracing() -> None:
    """Make spans from now on. At the end of the process, OpenTelemetry sends those that wait."""
    global _tracing  # noqa: PLW0603 — one tracer for the process, as OpenTelemetry has it
    _tracing = Tracing(_make_provider().get_tracer(SERVICE))


def _make_provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    # A name in the code would win over the operator's.
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def begin_request(method: str, traceparent: str | None) -> RequestSpan | None:
    """Begin the span of a request; None while tracing is off."""
    return None if _tracing is None else _tracing.begin(method, traceparent)


def end_stage(stage: tuple[str], started: float) -> None:
    """Count the time since `started`, by `perf_counter`, for a stage of metrics.STAGE_SECONDS, and trace it."""
    metrics.STAGE_SECONDS.observe(stage, time.perf_counter() - started)
    if _tracing is not None and (request := _CURRENT.get()) is not None:
        request.add_stage(stage[0], started)


def trace_events(stream: str, changes: Sequence[PublishedChange], started: float) -> None:
    """Trace changes that were published to a stream; `started`: since when, by `perf_counter`. A change that no
    request caused, or whose request was in no trace, has no span."""
    if _tracing is None:
        return
    for change in changes:
        if change.trace is not None:
            _tracing.add_event(change.trace, str(change.uid), stream, started)
