"""GET /v1/audit/export and /v1/audit/bundle: a stretch of the sealed log as a stream, recorded before its first byte.

Owns no state but how many streams run. A stream takes a connection for each piece only, and can be taken up anywhere:
`from` is a position. The record of the access names the positions, which stand for the ids.
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

from service.audit import periods
from service.audit.bundle import bundle_header, bundle_lines
from service.audit.export_formats import FILE_NAMES, FORMATS
from service.audit.published import newest
from service.audit.sealed_rows import sealed_rows, sealed_size
from service.authorization.enforcement.decision_record import Positions
from service.errors import InvalidField, TryLater
from service.places import FieldError
from service.web.audit.log_questions import TAG, Since, Until
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
LONGEST_STREAM: Final = 3600.0
# So much before and after a period is looked at too: longer than any transaction may last, and what is missing at the
# period's ends is seen.
AROUND: Final = (-timedelta(hours=1), timedelta(hours=1))
LARGEST: Final = 2**53 - 1
# What the files look like, and what else their answers say, for the OpenAPI document.
NAMED: Final = ("Content-Disposition", "Audit-Positions")
EXPORTED: Final = {
    NDJSON: f'{{"position":7,"leaf":"{EXAMPLE_DIGEST}",'
    f'"record":{{"uid":"{EXAMPLE_DECISION}","kind":"decision","v":1}}}}\n',
    "text/csv": "\ufeffposition,uid,kind,decision_uid,decided_at,person_id,client_id,action,resource_kind,"
    "resource_id,owner_id,outcome,applied,reason,rules,policy_version,request_id,returned,leaf\r\n"
    f"7,{EXAMPLE_DECISION},decision,,2026-11-27T16:49:40.673417Z,{EXAMPLE_PERSON},hours-app,approve,timesheet,"
    f"{EXAMPLE_ID},{EXAMPLE_PERSON},deny,,deny-rule,never-own-hours,1,{EXAMPLE_ID},,{EXAMPLE_DIGEST}\r\n",
    "application/vnd.apache.parquet": "(a Parquet file with the columns of the CSV)",
}
BUNDLED: Final = (
    '{"format":"timewarden-bundle/1","from":7,"to":8,"left":[],"right":[],"start":null,"pruned":null}\n'
    f'{{"position":7,"sealed":"{EXAMPLE_DIGEST}","uid":"{EXAMPLE_DECISION}",'
    f'"leaf":"{EXAMPLE_DIGEST}","body":"e30="}}\n'
)

From = Annotated[int, QueryParameter(name="from", ge=0, le=LARGEST, description="From this position of the log on")]
To = Annotated[
    int | None, QueryParameter(name="to", ge=1, le=LARGEST, description="Up to this position, and without it")
]
Seen = Annotated[
    int | None, Parameter(ge=1, le=LARGEST, description="The size of the log that you have a checkpoint of")
]
Format = Annotated[
    str,
    QueryParameter(name="format", description="The format of the file", schema_extra={"enum": list(FORMATS)}),
]


class _File(Stream):
    """A stream in a media type of its own; Litestar would send it in that of its route."""

    def to_asgi_response(self, app: Any, request: Any, **given: Any) -> Any:
        return super().to_asgi_response(app, request, **{**given, "media_type": self.media_type})


class Streams:
    """How many streams of this process run, so that they leave connections for everybody else."""

    def __init__(self) -> None:
        self._running = 0

    @contextmanager
    def place(self) -> Iterator[Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]]:
        """A place for one stream, taken at once. What this gives makes the stream that keeps the place until it ends,
        or until nobody holds it who could read it. Raises TryLater while there are enough."""
        if self._running >= MAX_STREAMS:
            raise TryLater("Too many exports run at once; try again when one has ended", cause="exports")
        self._running += 1
        ends: list[Callable[[], object]] = []

        def keep(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            stream = _bounded(pieces, ends)
            # A stream that nobody ever reads from does not reach its own end.
            ends.append(weakref.finalize(stream, self._give_back))
            return stream

        try:
            yield keep
        finally:
            if not ends:
                self._give_back()

    def _give_back(self) -> None:
        self._running -= 1


def audit_export_routes(gate: Gate, database: Database) -> list[Any]:
    """The handlers; the pieces of a stream are read through `database`."""
    streams = Streams()

    @get(
        "/v1/audit/export",
        **operation("Export records", scope=SCOPE, problems=COMMON, tag=TAG, files=EXPORTED, more=NAMED),
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
        period = _period(since, until)
        writer = _writer(form)
        if end is not None and start >= end:
            raise InvalidField(FieldError("query.from", "must be less than to"))

        async def load(connection: Connection) -> tuple[Positions, Positions]:
            size = await sealed_size(connection)
            if end is not None and end > size:
                raise InvalidField(FieldError("query.to", f"must be at most {size}, how many records are sealed"))
            # From there on nothing is sealed so far; a download that is complete goes on here.
            if start > size:
                raise InvalidField(FieldError("query.from", f"must be at most {size}, how many records are sealed"))
            first, last = await _around(connection, period, (start, size if end is None else end), size)
            span = Positions(first, max(first, last), form, *period)
            return span, span

        with streams.place() as keep:
            answer = await read_log(gate, caller, load)
            span = answer.value
            pieces = keep(_written(writer, span, sealed_rows(database, span.start, span.end)))
        return _stream(pieces, writer.media_type, FILE_NAMES[form], span, answer.receipt)

    @get(
        "/v1/audit/bundle",
        **operation("Fetch a proof bundle", scope=SCOPE, problems=COMMON, tag=TAG, files={NDJSON: BUNDLED}, more=NAMED),
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
        period = _period(since, until)

        async def load(connection: Connection) -> tuple[BundleHeader, Positions]:
            first, last = start, end
            if any(period):
                size = (await newest(connection)).size
                first, last = await _around(connection, period, (start, min(size, end or size)), size)
                if first >= last:
                    field = "query.since" if since else "query.until"
                    raise InvalidField(FieldError(field, "bounds a period of which nothing is signed"))
            header = await bundle_header(connection, first, last, seen=seen)
            return header, Positions(header.start, header.end, "bundle", *period)

        with streams.place() as keep:
            answer = await read_log(gate, caller, load)
            header = answer.value
            pieces = keep(bundle_lines(database, header))
        span = Positions(header.start, header.end, "bundle")
        return _stream(pieces, NDJSON, "audit.bundle.jsonl", span, answer.receipt)

    return [export_records, fetch_bundle]


async def _around(
    connection: Connection, period: tuple[datetime | None, datetime | None], span: tuple[int, int], size: int
) -> tuple[int, int]:
    """The positions of `span` in which a period lies, with what is around it, in a log of `size`."""
    if not any(period):
        return span
    since, until = (time and shift_time(time, by) for time, by in zip(period, AROUND, strict=True))
    low, high = await periods.positions(connection, since, until, size)
    return max(span[0], low), min(span[1], high)


def _period(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    first, last = parse_optional_time(since, "query.since"), parse_optional_time(until, "query.until")
    if first and last and first >= last:
        raise InvalidField(FieldError("query.until", "must be later than since"))
    return first, last


def _writer(form: str) -> Writer:
    if form not in FORMATS:
        raise InvalidField(FieldError("query.format", f"must be one of {', '.join(FORMATS)}"))
    return FORMATS[form]()


async def _bounded(pieces: AsyncIterator[bytes], ends: Sequence[Callable[[], object]]) -> AsyncIterator[bytes]:
    """The pieces, and then what is to be done at the end; a reader who is too slow is cut off and may resume."""
    begun = time.monotonic()
    try:
        async for piece in pieces:
            yield piece
            if time.monotonic() - begun > LONGEST_STREAM:
                raise TryLater(cause="an export took too long")
    finally:
        for end in ends:
            end()


async def _written(writer: Writer, span: Positions, pieces: AsyncIterator[Sequence[SealedRow]]) -> AsyncIterator[bytes]:
    """The bytes of an export; positions whose records were pruned, or decided outside the period, are left out."""
    if first := writer.start():
        yield first
    async for piece in pieces:
        if data := writer.rows([row for row in piece if not row.pruned and periods.holds(row, span.since, span.until)]):
            yield data
    if last := writer.end():
        yield last


def _stream(pieces: AsyncIterator[bytes], media_type: str, file_name: str, span: Positions, receipt: Receipt) -> Stream:
    headers = {
        "Decision-Id": str(receipt.uid),
        "Decision-Leaf": receipt.leaf,
        "Content-Disposition": f'attachment; filename="{file_name}"',
        "Audit-Positions": f"{span.start}-{span.end}",
    }
    return _File(pieces, media_type=media_type, headers=headers)
