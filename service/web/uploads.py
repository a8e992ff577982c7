"""POST /v1/uploads: a machine client imports hours, as JSON, NDJSON or CSV. Owns the bound on files read at once.

A file is read as it arrives and becomes packed rows, never a document; between its pieces other requests go on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import msgspec
from litestar import Response, post
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import JSONBody, QueryParameter
from litestar.response import Stream

from service.database import Turns
from service.errors import BodyTooLarge, MalformedRequest, UnsupportedMediaType
from service.timesheets.upload import UploadMode
from service.timesheets.upload_rows import Rows
from service.web.answers import answered
from service.web.bodies import JsonRequest, read_body
from service.web.operations import BODY, COMMON, operation
from service.web.parameters import Asking  # noqa: TC001 — Litestar reads handler signatures
from service.web.uploads_csv import CsvReader
from service.web.uploads_ndjson import NdjsonReader
from service.web.uploads_shapes import Counts, Upload, Uploaded, outcome_of, row_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from service.audit.log import Receipt
    from service.timesheets import upload
    from service.timesheets.upload import Uploads

JSON: Final = "application/json"
READERS: Final[Mapping[str, type[NdjsonReader | CsvReader]]] = {
    "application/x-ndjson": NdjsonReader,
    "text/csv": CsvReader,
}
FILES_AT_ONCE: Final = 2
# Seconds that a file may wait for its turn, and that it may take to arrive.
WAITING: Final = 30.0
ARRIVING: Final = 120.0
# Bytes that are read, and rows that are answered, before other requests have their turn.
PIECE: Final = 32_768
ROWS_A_PIECE: Final = 500
EXAMPLES: Final = {
    "application/x-ndjson": '{"owner":"0198c0de-0000-7000-8000-000000000001","day":"2026-11-23","project":"ATLAS",'
    '"minutes":480,"external_ref":"job-7/row-12"}\n',
    "text/csv": "owner,day,project,minutes,external_ref\n"
    "0198c0de-0000-7000-8000-000000000001,2026-11-23,ATLAS,480,job-7/row-12\n",
}


class UploadRequest(JsonRequest):
    """A request whose body is read by the handler, unless it is JSON."""

    async def json(self) -> Any:
        """The JSON body; of a file nothing is read yet."""
        if self.kind != JSON:
            return Upload([])
        most: int = self.route_handler.opt["max_json_bytes"]
        raw = bytearray()
        async for chunk in self.stream():
            raw += chunk
            if len(raw) > most:
                raise BodyTooLarge(f"A JSON body may have {most} bytes at the most; send more as application/x-ndjson")
        return read_body(bytes(raw), Upload)

    @property
    def kind(self) -> str:
        """The media type of the body. Raises UnsupportedMediaType for a file that says that it is not UTF-8."""
        kind, _, parameters = self.headers.get("Content-Type", JSON).partition(";")
        words = [one.strip().lower().replace('"', "") for one in parameters.split(";")]
        if any(one.startswith("charset=") and one != "charset=utf-8" for one in words):
            raise UnsupportedMediaType("Send the body as UTF-8")
        return kind.strip().lower()


def upload_routes(uploads: Uploads, *, max_body_bytes: int, max_upload_bytes: int) -> list[Any]:
    """The handler, bound to its use case. The bounds are of JSON bodies and of files."""
    turns = Turns(
        FILES_AT_ONCE, timeout=WAITING, full="Too many files are read at once; send this one again in a moment"
    )

    @post(
        "/v1/uploads",
        status_code=200,
        request_class=UploadRequest,
        request_max_body_size=max_upload_bytes,
        opt={
            "media_types": (JSON, *READERS),
            "max_json_bytes": max_body_bytes,
        },
        **_with_files(operation("Upload hours", scope="batch:upload", problems=(*COMMON, *BODY, 409), tag="Uploads")),
    )
    async def upload_hours(
        request: UploadRequest,
        ask: Asking,
        data: JSONBody[Upload],
        mode: Annotated[
            UploadMode, QueryParameter(description="`together`: all rows or none; `per-row`: each good row")
        ] = UploadMode.TOGETHER,
        dry_run: Annotated[bool, QueryParameter(description="Say what would happen, and change nothing")] = False,  # noqa: FBT002 — a query parameter
    ) -> Response[Uploaded]:
        if request.kind == JSON:
            rows = Rows.of([row_of(one, f"rows[{place}].") for place, one in enumerate(data.rows)])
            return _answer(*await uploads.upload(ask, rows, mode=mode, dry_run=dry_run), dry_run=dry_run)
        await uploads.admit(ask)
        async with turns.one():
            rows = await _rows_of_file(request)
            return _answer(*await uploads.upload(ask, rows, mode=mode, dry_run=dry_run), dry_run=dry_run)

    return [upload_hours]


async def _rows_of_file(request: UploadRequest) -> Rows:
    rows = Rows(lined=True)
    reader = READERS[request.kind](rows)
    try:
        async with asyncio.timeout(ARRIVING):
            async for chunk in request.stream():
                for start in range(0, len(chunk), PIECE):
                    reader.feed(chunk[start : start + PIECE])
                    await asyncio.sleep(0)
    except TimeoutError:
        raise MalformedRequest(f"The body did not arrive within {ARRIVING:.0f} s") from None
    reader.end()
    return rows


def _answer(uploaded: upload.Uploaded, receipt: Receipt, *, dry_run: bool) -> Response[Uploaded]:
    """A few rows at once; many as they are written down, since together they may be larger than the file."""
    head = Uploaded(dry_run, Counts(**uploaded.results.counts()), [str(one) for one in uploaded.decisions], [])
    if len(uploaded.results) <= ROWS_A_PIECE:
        head.rows = [outcome_of(one) for one in uploaded.results]
        return answered(head, receipt)
    # The rows are the last member, so that they can follow what is known already.
    begun = msgspec.json.encode(head).removesuffix(b"]}")

    async def written() -> AsyncIterator[bytes]:
        waiting, between = bytearray(begun), b""
        for place, one in enumerate(uploaded.results, 1):
            waiting += between + msgspec.json.encode(outcome_of(one))
            between = b","
            if place % ROWS_A_PIECE == 0:
                yield bytes(waiting)
                waiting.clear()
                await asyncio.sleep(0)
        yield bytes(waiting) + b"]}"

    headers = answered(None, receipt).headers
    return cast("Response[Uploaded]", Stream(written(), media_type=JSON, headers=headers))


def _with_files(said: dict[str, Any]) -> dict[str, Any]:
    """What is said of the operation, with the other media types of its body."""
    base: type[Operation] = said["operation_class"]

    @dataclass
    class WithFiles(base):  # type: ignore[valid-type,misc]  # a class is made for each operation
        def __post_init__(self) -> None:
            base.__post_init__(self)  # type: ignore[attr-defined]  # ours, which completes it
            if isinstance(self.request_body, RequestBody):
                for kind, example in EXAMPLES.items():
                    text = Schema(type=OpenAPIType.STRING, examples=[example])
                    self.request_body.content[kind] = OpenAPIMediaType(schema=text)

    return {**said, "operation_class": WithFiles}
