"""GET /v1/audit/export and /v1/audit/bundle: a range of the sealed log as a stream, recorded before its first byte.

Owns the count of running streams. A stream takes a connection for one batch at a time and can be resumed at any
position (`from`). The record of the access names positions instead of record ids.
"""

from __future__ import annotations

import time
import weakref
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from litestar import get
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream

from service.audit import time_range
from service.audit.bundle import bundle_lines, make_header
from service.audit.export_formats import FILE_NAMES, FORMATS
from service.audit.published_log import newest_checkpoint
from service.audit.sealed_rows import sealed_rows, sealed_size
from service.authorization.enforcement.decision_record import Positions
from service.errors import InvalidField, TryLater
from service.places import FieldError
from service.web.audit.log_query import TAG, Since, Until
from service.web.audit.log_reading import read_log
from service.web.http.operations import COMMON, operation
from service.web.http.parameters import CurrentCaller, parse_optional_time, shift_time
from service.web.http.responses import EXAMPLE_DECISION, EXAMPLE_DIGEST, EXAMPLE_ID, EXAMPLE_PERSON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from service.audit.bundle import BundleHeader
    from service.audit.export_formats import Writer
    from service.audit.sealed_rows import SealedRow
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection, Database
    from service.log.log import Receipt

SCOPE: Final = "read:audit"
NDJSON: Final = "application/x-ndjson"
MAX_STREAMS: Final = 4
MAX_STREAM_SECONDS: Final = 3600.0
# A period is extended by this much at both ends: longer than any transaction may last, so that records missing at the
# ends of the period are noticed.
MARGINS: Final = (-timedelta(hours=1), timedelta(hours=1))
MAX_POSITION: Final = 2**53 - 1
# Response headers and example files, for the OpenAPI document.
HEADERS: Final = ("Content-Disposition", "Audit-Positions")
EXPORT_EXAMPLES: Final = {
    NDJSON: f'{{"position":7,"leaf":"{EXAMPLE_DIGEST}",'
    f'"record":{{"uid":"{EXAMPLE_DECISION}","kind":"decision","v":1}}}}\n',
    "text/csv": "\ufeffposition,uid,kind,decision_uid,decided_at,person_id,client_id,action,resource_kind,"
    "resource_id,owner_id,outcome,applied,reason,rules,policy_version,request_id,returned,actors,leaf\r\n"
    f"7,{EXAMPLE_DECISION},decision,,2026-11-27T16:49:40.673417Z,{EXAMPLE_PERSON},hours-app,approve,timesheet,"
    f"{EXAMPLE_ID},{EXAMPLE_PERSON},deny,,deny-rule,never-own-hours,1,{EXAMPLE_ID},,,{EXAMPLE_DIGEST}\r\n",
    "application/vnd.apache.parquet": "(a Parquet file with the columns of the CSV)",
}
BUNDLE_EXAMPLE: Final = (
    '{"format":"timewarden-bundle/1","from":7,"to":8,"left":[],"right":[],"start":null,"pruned":null}\n'
    f'{{"position":7,"sealed":"{EXAMPLE_DIGEST}","uid":"{EXAMPLE_DECISION}",'
    f'"leaf":"{EXAMPLE_DIGEST}","body":"e30="}}\n'
)

From = Annotated[int, QueryParameter(name="from", ge=0, le=MAX_POSITION, description="The first position")]
To = Annotated[int | None, QueryParameter(name="to", ge=1, le=MAX_POSITION, description="The position after the last")]
Seen = Annotated[
    int | None,
    Parameter(
        ge=1,
        le=MAX_POSITION,
        description="The size of a checkpoint that you have; the bundle proves that the log extends it",
    ),
]
Format = Annotated[
    str,
    QueryParameter(name="format", description="The format of the file", schema_extra={"enum": list(FORMATS)}),
]


class _File(Stream):
    """A stream with its own media type; Litestar would use that of the route."""

    def to_asgi_response(self, app: Any, request: Any, **given: Any) -> Any:
        return super().to_asgi_response(app, request, **{**given, "media_type": self.media_type})


class Streams:
    """Bounds how many streams run in this process, so that connections are left for other requests."""

    def __init__(self) -> None:
        self._running = 0

    @contextmanager
    def reserve(self) -> Iterator[Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]]:
        """Reserve a place and yield a function that wraps the stream, which then keeps the place until it ends or is
        garbage-collected. Raises TryLater when all places are taken."""
        if self._running >= MAX_STREAMS:
            raise TryLater("Too many exports are running; try again when another has ended", cause="exports")
        self._running += 1
        ends: list[Callable[[], object]] = []

        def keep(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            stream = _limit_duration(chunks, ends)
            # A stream that is never read does not reach its own end.
            ends.append(weakref.finalize(stream, self._give_back))
            return stream

        try:
            yield keep
        finally:
            if not ends:
                self._give_back()

    def _give_back(self) -> None:
        self._running -= 1


def audit_export_routes(gate: Gate, database: Database, replica: Database | None) -> list[Any]:
    """The handlers; all of them read the `replica` if there is one."""
    source = replica or database
    streams = Streams()

    @get(
        "/v1/audit/export",
        **operation("Export records", scope=SCOPE, problems=COMMON, tag=TAG, files=EXPORT_EXAMPLES, more=HEADERS),
        media_type=NDJSON,
    )
    async def export_records(
        caller: CurrentCaller,
        form: Format = "jsonl",
        since: Since = None,
        until: Until = None,
        start: From = 0,
        end: To = None,
    ) -> Stream:
        period = _parse_period(since, until)
        writer = _make_writer(form)
        if end is not None and start >= end:
            raise InvalidField(FieldError("query.from", "must be less than to"))

        async def load(connection: Connection) -> tuple[Positions, Positions]:
            size = await sealed_size(connection)
            if end is not None and end > size:
                raise InvalidField(FieldError("query.to", f"must be at most {size}, the number of sealed records"))
            # Equal is allowed: a complete download resumes there and gets nothing.
            if start > size:
                raise InvalidField(FieldError("query.from", f"must be at most {size}, the number of sealed records"))
            first, last = await _find_positions(connection, period, (start, size if end is None else end), size)
            span = Positions(first, max(first, last), form, *period)
            return span, span

        with streams.reserve() as keep:
            answer = await read_log(gate, caller, load, replica=replica)
            span = answer.value
            chunks = keep(_export(writer, span, sealed_rows(source, span.start, span.end)))
        return _stream(chunks, writer.media_type, FILE_NAMES[form], span, answer.receipt)

    @get(
        "/v1/audit/bundle",
        **operation(
            "Fetch a proof bundle", scope=SCOPE, problems=COMMON, tag=TAG, files={NDJSON: BUNDLE_EXAMPLE}, more=HEADERS
        ),
        media_type=NDJSON,
    )
    async def fetch_bundle(
        caller: CurrentCaller,
        since: Since = None,
        until: Until = None,
        start: From = 0,
        end: To = None,
        seen: Seen = None,
    ) -> Stream:
        period = _parse_period(since, until)

        async def load(connection: Connection) -> tuple[BundleHeader, Positions]:
            first, last = start, end
            if any(period):
                size = (await newest_checkpoint(connection)).size
                first, last = await _find_positions(connection, period, (start, min(size, end or size)), size)
                if first >= last:
                    field = "query.since" if since else "query.until"
                    raise InvalidField(FieldError(field, "bounds a period without signed records"))
            header = await make_header(connection, first, last, seen=seen)
            return header, Positions(header.start, header.end, "bundle", *period)

        with streams.reserve() as keep:
            answer = await read_log(gate, caller, load, replica=replica)
            header = answer.value
            chunks = keep(bundle_lines(source, header))
        span = Positions(header.start, header.end, "bundle")
        return _stream(chunks, NDJSON, "audit.bundle.jsonl", span, answer.receipt)

    return [export_records, fetch_bundle]


async def _find_positions(
    connection: Connection, period: tuple[datetime | None, datetime | None], span: tuple[int, int], size: int
) -> tuple[int, int]:
    """The positions within `span` of the records of a period and its margins, in a log of `size`."""
    if not any(period):
        return span
    since, until = (time and shift_time(time, by) for time, by in zip(period, MARGINS, strict=True))
    low, high = await time_range.find_positions(connection, since, until, size)
    return max(span[0], low), min(span[1], high)


def _parse_period(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    first, last = parse_optional_time(since, "query.since"), parse_optional_time(until, "query.until")
    if first and last and first >= last:
        raise InvalidField(FieldError("query.until", "must be later than since"))
    return first, last


def _make_writer(form: str) -> Writer:
    if form not in FORMATS:
        raise InvalidField(FieldError("query.format", f"must be one of {', '.join(FORMATS)}"))
    return FORMATS[form]()


async def _limit_duration(chunks: AsyncIterator[bytes], ends: Sequence[Callable[[], object]]) -> AsyncIterator[bytes]:
    """The chunks; at the end call `ends`. A reader that is too slow is cut off and may resume."""
    begun = time.monotonic()
    try:
        async for chunk in chunks:
            yield chunk
            if time.monotonic() - begun > MAX_STREAM_SECONDS:
                raise TryLater(cause="an export took too long")
    finally:
        for end in ends:
            end()


async def _export(writer: Writer, span: Positions, batches: AsyncIterator[Sequence[SealedRow]]) -> AsyncIterator[bytes]:
    """The bytes of an export, without pruned records and records decided outside the period."""
    if first := writer.start():
        yield first
    async for rows in batches:
        if data := writer.rows(
            [row for row in rows if not row.pruned and time_range.may_be_in(row, span.since, span.until)]
        ):
            yield data
    if last := writer.end():
        yield last


def _stream(chunks: AsyncIterator[bytes], media_type: str, file_name: str, span: Positions, receipt: Receipt) -> Stream:
    headers = {
        "Decision-Id": str(receipt.uid),
        "Decision-Leaf": receipt.leaf,
        "Content-Disposition": f'attachment; filename="{file_name}"',
        "Audit-Positions": f"{span.start}-{span.end}",
    }
    return _File(chunks, media_type=media_type, headers=headers)
