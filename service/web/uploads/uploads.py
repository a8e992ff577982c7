"""POST /v1/uploads: a machine client imports hours as JSON, NDJSON or CSV. Owns the limit of files read at once.

A file is parsed into packed rows as it arrives, in slices, so that other requests go on (`pacing`).
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, Final, cast
from urllib.parse import parse_qsl

import msgspec
from litestar import Response, post
from litestar.params import JSONBody, QueryParameter
from litestar.response import Stream

from service.errors import BodyTooSlow, InvalidField
from service.pacing import finish, pace
from service.places import FieldError
from service.timesheets.upload import UploadMode
from service.timesheets.upload_rows import Rows
from service.web.http.bodies import EMPTY_FILE, DeferredBodyRequest
from service.web.http.idempotency import FIELD
from service.web.http.operations import BODY, COMMON, operation
from service.web.http.parameters import CurrentCaller  # noqa: TC001 — Litestar reads handler signatures
from service.web.http.responses import make_response
from service.web.uploads.upload_turns import UploadTurns
from service.web.uploads.uploads_csv import CsvReader
from service.web.uploads.uploads_json import NdjsonReader, rows_of_json
from service.web.uploads.uploads_shapes import Counts, Upload, Uploaded, outcome_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from litestar.types import HTTPScope

    from service.authorization.enforcement.changes import Caller
    from service.log.log import Receipt
    from service.timesheets import upload
    from service.timesheets.upload import Uploads

JSON: Final = "application/json"
READERS: Final[Mapping[str, type[NdjsonReader | CsvReader]]] = {
    "application/x-ndjson": NdjsonReader,
    "text/csv": CsvReader,
}
MAX_ARRIVAL_SECONDS: Final = 120
FALSE: Final = frozenset({"0", "false"})
# Bytes parsed, and rows written, in one step.
BYTES_PER_STEP: Final = 16_384
ROWS_PER_CHUNK: Final = 500
EXAMPLES: Final = {
    "application/x-ndjson": '{"owner":"0198c0de-0000-7000-8000-000000000001","day":"2026-11-23","project":"ATLAS",'
    '"minutes":480,"external_ref":"job-7/row-12"}\n',
    "text/csv": "owner,day,project,minutes,external_ref\n"
    "0198c0de-0000-7000-8000-000000000001,2026-11-23,ATLAS,480,job-7/row-12\n",
}


class UploadRequest(DeferredBodyRequest):
    """A request whose body is a file or JSON."""

    @property
    def kind(self) -> str:
        """The media type of the body."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower() or JSON


def upload_routes(uploads: Uploads, *, max_body_bytes: int, max_upload_bytes: int) -> list[Any]:
    """The handler, bound to its use case, with the limits of JSON bodies and of files."""
    turns = UploadTurns()

    @post(
        "/v1/uploads",
        status_code=200,
        request_class=UploadRequest,
        request_max_body_size=max_upload_bytes,
        opt={"media_types": (JSON, *READERS), "unread": Upload([]), "keyed": _limit_keyed_body(max_body_bytes)},
        **operation(
            "Upload hours", scope="batch:upload", problems=(*COMMON, *BODY, 409), tag="Uploads", bodies=EXAMPLES
        ),
    )
    async def upload_hours(
        request: UploadRequest,
        caller: CurrentCaller,
        data: JSONBody[Upload],  # noqa: ARG001 — for the document; the body is read below
        mode: Annotated[
            UploadMode,
            QueryParameter(description="`together` (the default): all rows or none; `per-row`: each valid row"),
        ] = UploadMode.TOGETHER,
        dry_run: Annotated[bool, QueryParameter(description="Change nothing, return what would happen")] = False,  # noqa: FBT002 — a query parameter
    ) -> Response[Uploaded]:
        await uploads.preflight(caller)
        if request.kind == JSON:
            rows = await rows_of_json(
                await request.read_whole(
                    max_body_bytes,
                    "A JSON body may have at most {max_bytes} bytes; send larger uploads as application/x-ndjson",
                )
            )
            return await run_upload(request, caller, rows, mode, dry_run=dry_run)
        async with turns.take(_client_key(caller)):
            return await run_upload(request, caller, await _read_file(request), mode, dry_run=dry_run)

    async def run_upload(
        request: UploadRequest, caller: Caller, rows: Rows, mode: UploadMode, *, dry_run: bool
    ) -> Response[Uploaded]:
        async with _watch_disconnect(request) as wanted:
            return _respond(
                *await uploads.upload(caller, rows, mode=mode, dry_run=dry_run, wanted=wanted), dry_run=dry_run
            )

    return [upload_hours]


def _client_key(caller: Caller) -> str:
    """The key by which turns are counted."""
    return json.dumps([caller.principal.issuer, caller.principal.client])


def _limit_keyed_body(most: int) -> Callable[[HTTPScope], int]:
    """The maximum size of an upload with an Idempotency-Key, since its response is stored and grows with it. The
    function raises InvalidField for uploads that accept no key: with per-row, changes commit one by one, and a dry run
    makes none."""

    def limit(scope: HTTPScope) -> int:
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if (
            asked.get("mode", UploadMode.TOGETHER) != UploadMode.TOGETHER
            or asked.get("dry_run", "0").lower() not in FALSE
        ):
            raise InvalidField(FieldError(FIELD, "is accepted only with mode=together, and not in a dry run"))
        return most

    return limit


@asynccontextmanager
async def _watch_disconnect(request: UploadRequest) -> AsyncIterator[Callable[[], bool]]:
    """Yields a function that returns whether the caller is still connected. The body has been read, so the next message
    can only be a disconnect."""
    leaving = asyncio.ensure_future(request.receive())
    try:
        yield lambda: not leaving.done()
    finally:
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving


async def _read_file(request: UploadRequest) -> Rows:
    rows, empty = Rows(lined=True), True
    reader = READERS[request.kind](rows)
    try:
        async with asyncio.timeout(MAX_ARRIVAL_SECONDS):
            async for chunk in request.stream():
                empty = empty and not chunk
                for start in range(0, len(chunk), BYTES_PER_STEP):
                    await finish(reader.feed(chunk[start : start + BYTES_PER_STEP]))
    except TimeoutError:
        raise BodyTooSlow(f"The file did not arrive within {MAX_ARRIVAL_SECONDS} s") from None
    if empty:
        raise InvalidField(EMPTY_FILE)
    await finish(reader.end())
    return rows


def _respond(uploaded: upload.UploadResult, receipt: Receipt, *, dry_run: bool) -> Response[Uploaded]:
    """Few rows are returned as one body, many as a stream, since they may be larger than the file."""
    counts, receipts = Counts(**uploaded.results.counts()), uploaded.receipts
    if len(uploaded.results) <= ROWS_PER_CHUNK:
        ids, leaves = [str(each.uid) for each in receipts], [each.leaf for each in receipts]
        return make_response(Uploaded(dry_run, counts, ids, leaves, list(map(outcome_of, uploaded.results))), receipt)
    # The lists of the response, in the order of the fields of Uploaded.
    lists: list[tuple[str, Iterable[object]]] = [
        ("decisions", (each.uid for each in receipts)),
        ("leaves", (each.leaf for each in receipts)),
        ("rows", map(outcome_of, uploaded.results)),
    ]

    async def write() -> AsyncIterator[bytes]:
        buffer = bytearray(msgspec.json.encode({"dry_run": dry_run, "counts": counts}).removesuffix(b"}"))
        for name, items in lists:
            buffer += f',"{name}":['.encode()
            separator = b""
            async for place, item in pace(enumerate(items, 1)):
                buffer += separator + msgspec.json.encode(item)
                separator = b","
                if place % ROWS_PER_CHUNK == 0:
                    yield bytes(buffer)
                    buffer.clear()
            buffer += b"]"
        yield bytes(buffer) + b"}"

    headers = make_response(None, receipt).headers
    return cast("Response[Uploaded]", Stream(write(), media_type=JSON, headers=headers))
