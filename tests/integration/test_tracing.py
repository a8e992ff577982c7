"""Traces: a request's spans arrive by OTLP, in the caller's trace, with the decision's id and nothing personal."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from events.stream import BEFORE_ALL
from service import tracing
from service.errors import Misconfigured
from service.log.feed import ChangeFeed
from tests.integration.api import token_of
from tests.integration.served import NO_TLS, serve
from tests.integration.test_serve_supervision import keeper
from tests.local_http import Answering, http_server
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector:
    """An OTLP collector: keeps what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collected = self.bodies

        class Handler(Answering):
            def respond(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collected.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
                self.answer(b"")

        self.handler = Handler
        self.url = ""

    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    with http_server(made.handler) as made.url:
        yield made


async def test_spans_arrive_in_the_trace_of_the_caller_and_hold_nothing_personal(
    house: House, issuer: str, redis_url: str, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    subject, note = "auth0|a-very-private-subject", "she-was-ill-again"
    async with serve(house.log_database.url("app"), issuer, tmp_path, TRACES="true") as service:
        await service.ready()
        token = token_of(issuer, sub=subject, name="Ana Privately")
        headers = {"Authorization": f"Bearer {token}", "traceparent": f"00-{TRACE_ID}-{PARENT}-01"}
        async with httpx2.AsyncClient(
            base_url=service.held.api, timeout=20.0, trust_env=False, verify=NO_TLS, headers=headers
        ) as http:
            body = {"period_start": "2026-03-02", "time_zone": "Europe/Berlin"}
            made = await http.post("/v1/timesheets", json=body)
            assert made.status_code == 201
            assert (await http.get(f"/{note}")).status_code == 404

        async def arrived() -> bool:
            return sum(span.name in {"POST /v1/timesheets", "GET"} for span in collector.spans()) == 2

        await until(arrived, 20)

    async def published() -> bool:
        return any(span.name.startswith("publish ") for span in collector.spans())

    async with keeper(house.log_database.url("keeper"), redis_url, tmp_path, TRACES="true"):
        await until(published, 60)
    spans = collector.spans()
    [event] = [span for span in spans if span.name.startswith("publish ")]
    root = next(span for span in spans if span.name == "POST /v1/timesheets")
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE_ID, PARENT)
    attributes = {pair.key: pair.value.string_value or pair.value.int_value for pair in root.attributes}
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/timesheets",
        "http.response.status_code": 201,
        "timewarden.decision.id": made.headers["Decision-Id"],
    }
    # Others continue from our span.
    assert made.headers["traceparent"] == f"00-{TRACE_ID}-{root.span_id.hex()}-01"
    changes = await ChangeFeed(await house.log_database.open("keeper")).read_changes(BEFORE_ALL, 500)
    [change] = [change for change in changes if change.type == "timesheet.created"]
    assert change.trace == made.headers["traceparent"]
    assert (event.trace_id, event.parent_span_id) == (root.trace_id, root.span_id)
    assert event.start_time_unix_nano >= root.start_time_unix_nano
    attributes = {pair.key: pair.value.string_value for pair in event.attributes}
    assert attributes["messaging.message.id"] == str(change.uid)
    assert event.name == f"publish {attributes['messaging.destination.name']}"
    stages = [span for span in spans if span.parent_span_id == root.span_id and span is not event]
    assert {span.name for span in stages} >= {"token", "facts", "engine", "record", "change"}
    for stage in stages:
        assert root.start_time_unix_nano - 1e6 <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= root.end_time_unix_nano + 1e6
    text = b"".join(collector.bodies)
    private = (subject, note, "Privately", token.rpartition(".")[2])
    assert [words for words in private if words.encode() in text] == []


def test_traces_without_their_packages_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda _name: None)
    with pytest.raises(Misconfigured, match="section Extras"):
        tracing.check_tracing()


@pytest.mark.parametrize("variable", tracing.ENDPOINTS)
@pytest.mark.parametrize(
    "url",
    [
        "http://ana:secret@collector.example:4318",
        "http://ana:secret/word@collector.example:4318",
        "htp://ana:secret@collector.example",
        "ana:secret@collector.example",
        "http://ana:secret@",
        "http://[secret",
    ],
)
def test_an_address_whose_password_opentelemetry_would_log_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(Misconfigured, match=f"{variable} must be") as told:
        tracing.check_tracing()
    assert "secret" not in str(told.value)


def test_an_address_without_a_password_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracing.ENDPOINTS[0], "https://collector.example:4318/otlp")
    tracing.check_tracing()


@pytest.mark.parametrize("variable", tracing.HEADERS)
@pytest.mark.parametrize("text", ["authorization: Basic secret", "secret", "api-key=a,secret", 'a=Basic "secret"'])
def test_headers_that_opentelemetry_would_log_are_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(Misconfigured, match=f"{variable} must be") as told:
        tracing.check_tracing()
    assert "secret" not in str(told.value) + caplog.text


@pytest.mark.parametrize("text", ["authorization=Basic%20YTpi", "Authorization=Basic YTpi==, api-key=b,", "a=b,A=c"])
def test_headers_that_opentelemetry_reads_are_accepted(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(tracing.HEADERS[0], text)
    tracing.check_tracing()
