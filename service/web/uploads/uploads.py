"""POST /v1/uploads: a machine client imports hours, as JSON, NDJSON or CSV. Owns the bound on files read at once.

A file is read as it arrives and becomes packed rows, never a document; other requests go on meanwhile (`pacing`).
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
from service.pacing import finish, paced
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
from service.web.uploads.uploads_json import rows_of_json
from service.web.uploads.uploads_ndjson import NdjsonReader
from service.web.uploads.uploads_shapes import Counts, Upload, Uploaded, outcome_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from litestar.types import HTTPScope

    from service.authorization.enforcement.decision_record import Caller
    from service.log.log import Receipt
    from service.timesheets import upload
    from service.timesheets.upload import Uploads

JSON: Final = "application/json"
READERS: Final[Mapping[str, type[NdjsonReader | CsvReader]]] = {
    "application/x-ndjson": NdjsonReader,
    "text/csv": CsvReader,
}
# Seconds that a file may take to arrive.
ARRIVING: Final = 120.0
NO: Final = frozenset({"0", "false"})
# Bytes that are cut into lines, and rows that are answered, with one step.
PIECE: Final = 16_384
ROWS_A_PIECE: Final = 500
EXAMPLES: Final = {
    "application/x-ndjson": '{"owner":"0198c0de-0000-7000-8000-000000000001","day":"2026-11-23","project":"ATLAS",'
    '"minutes":480,"external_ref":"job-7/row-12"}\n',
    "text/csv": "owner,day,project,minutes,external_ref\n"
    "0198c0de-0000-7000-8000-000000000001,2026-11-23,ATLAS,480,job-7/row-12\n",
}


class UploadRequest(DeferredBodyRequest):
    """A request with rows: of a file, or of a JSON body."""

    @property
    def kind(self) -> str:
        """The media type of the body."""
        return self.headers.get("Content-Type", JSON).partition(";")[0].strip().lower()


def upload_routes(uploads: Uploads, *, max_body_bytes: int, max_upload_bytes: int) -> list[Any]:
    """The handler, bound to its use case. The bounds are of JSON bodies and of files."""
    turns = UploadTurns()

    @post(
        "/v1/uploads",
        status_code=200,
        request_class=UploadRequest,
        request_max_body_size=max_upload_bytes,
        opt={"media_types": (JSON, *READERS), "unread": Upload([]), "keyed": _keyed(max_body_bytes)},
        **operation(
            "Upload hours", scope="batch:upload", problems=(*COMMON, *BODY, 409), tag="Uploads", bodies=EXAMPLES
        ),
    )
    async def upload_hours(
        request: UploadRequest,
        caller: CurrentCaller,
        data: JSONBody[Upload],  # noqa: ARG001 — for the document; what was sent is read below
        mode: Annotated[
            UploadMode,
            QueryParameter(description="`together`, also if left out: all rows or none; `per-row`: each good row"),
        ] = UploadMode.TOGETHER,
        dry_run: Annotated[bool, QueryParameter(description="Say what would happen, and change nothing")] = False,  # noqa: FBT002 — a query parameter
    ) -> Response[Uploaded]:
        await uploads.admit(caller)
        if request.kind == JSON:
            rows = await rows_of_json(
                await request.read_whole(
                    max_body_bytes, "A JSON body may have {most} bytes at the most; send more as application/x-ndjson"
                )
            )
            return await uploaded(request, caller, rows, mode, dry_run=dry_run)
        async with turns.one(_whose(caller)):
            return await uploaded(request, caller, await _rows_of_file(request), mode, dry_run=dry_run)

    async def uploaded(
        request: UploadRequest, caller: Caller, rows: Rows, mode: UploadMode, *, dry_run: bool
    ) -> Response[Uploaded]:
        async with _watched(request) as wanted:
            return _answer(
                *await uploads.upload(caller, rows, mode=mode, dry_run=dry_run, wanted=wanted), dry_run=dry_run
            )

    return [upload_hours]


def _whose(caller: Caller) -> str:
    """For whom turns are counted."""
    return json.dumps([caller.principal.issuer, caller.principal.client])


def _keyed(most: int) -> Callable[[HTTPScope], int]:
    """How many bytes an upload with an Idempotency-Key may have: its answer, which is kept, grows with it. Raises
    InvalidField for those that take none: their answer tells of changes that were committed one by one, or of none."""

    def judged(scope: HTTPScope) -> int:
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if asked.get("mode", UploadMode.TOGETHER) != UploadMode.TOGETHER or asked.get("dry_run", "0").lower() not in NO:
            raise InvalidField(FieldError(FIELD, "is taken with mode=together alone, and not with a dry run"))
        return most

    return judged


@asynccontextmanager
async def _watched(request: UploadRequest) -> AsyncIterator[Callable[[], bool]]:
    """Whether the caller still waits for the answer. The body has been read, so what comes next is that they left."""
    leaving = asyncio.ensure_future(request.receive())
    try:
        yield lambda: not leaving.done()
    finally:
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving


async def _rows_of_file(request: UploadRequest) -> Rows:
    rows, empty = Rows(lined=True), True
    reader = READERS[request.kind](rows)
    try:
        async with asyncio.timeout(ARRIVING):
            async for chunk in request.stream():
                empty = empty and not chunk
                for start in range(0, len(chunk), PIECE):
                    await finish(reader.feed(chunk[start : start + PIECE]))
    except TimeoutError:
        raise BodyTooSlow(f"The file did not arrive within {ARRIVING:.0f} s") from None
    if empty:
        raise InvalidField(EMPTY_FILE)
    await finish(reader.end())
    return rows


def _answer(uploaded: upload.UploadResult, receipt: Receipt, *, dry_run: bool) -> Response[Uploaded]:
    """A few rows at once; many as they are written down, since together they may be larger than the file."""
    counts, receipts = Counts(**uploaded.results.counts()), uploaded.receipts
    if len(uploaded.results) <= ROWS_A_PIECE:
        ids, leaves = [str(one.uid) for one in receipts], [one.leaf for one in receipts]
        return make_response(Uploaded(dry_run, counts, ids, leaves, list(map(outcome_of, uploaded.results))), receipt)
    # Each list of the answer in turn, in the order of the members of Uploaded.
    lists: list[tuple[str, Iterable[object]]] = [
        ("decisions", (one.uid for one in receipts)),
        ("leaves", (one.leaf for one in receipts)),
        ("rows", map(outcome_of, uploaded.results)),
    ]

    async def written() -> AsyncIterator[bytes]:
        waiting = bytearray(msgspec.json.encode({"dry_run": dry_run, "counts": counts}).removesuffix(b"}"))
        for name, items in lists:
            waiting += f',"{name}":['.encode()
            between = b""
            async for place, item in paced(enumerate(items, 1)):
                waiting += between + msgspec.json.encode(item)
                between = b","
                if place % ROWS_A_PIECE == 0:
                    yield bytes(waiting)
                    waiting.clear()
            waiting += b"]"
        yield bytes(waiting) + b"}"

    headers = make_response(None, receipt).headers
    return cast("Response[Uploaded]", Stream(written(), media_type=JSON, headers=headers))
