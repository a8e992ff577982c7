"""POST /v1/directory/import: imports an organisation from a CSV file, all of it or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import Response, post
from litestar.openapi.spec import Example
from litestar.params import Body, QueryParameter
from msgspec import Meta

from service.directory.import_file import ALLOWED
from service.directory.import_plan import Outcome
from service.web.http.bodies import EMPTY_FILE, DeferredBodyRequest
from service.web.http.operations import BODY, COMMON, operation
from service.web.http.parameters import CurrentCaller  # noqa: TC001 — Litestar reads handler signatures
from service.web.http.responses import make_response

if TYPE_CHECKING:
    from service.directory.imports import DirectoryImports

CSV: Final = "text/csv"
# The number of rows is bounded too; typical rows have 130 bytes.
MAX_BYTES: Final = 2_000_000
EXAMPLE: Final = (
    "record,email,name,team,parent\nteam,,,Cetus,\nperson,ana@example.com,Ana Lima,,\nmember,ana@example.com,,Cetus,\n"
)


class ImportedRow(msgspec.Struct):
    """The result of a row."""

    row: Annotated[int, Meta(description="The index of the row, from 0", ge=0, examples=[0])]
    line: Annotated[int, Meta(description="The line of the file", ge=1, examples=[2])]
    record: Annotated[
        str, Meta(description="The kind of record", examples=["team"], extra_json_schema={"enum": list(ALLOWED)})
    ]
    outcome: Annotated[Outcome, Meta(description="The result", examples=["created"])]


class Imported(msgspec.Struct):
    """The result of an import."""

    dry_run: Annotated[bool, Meta(description="Whether this was a dry run, which changes nothing", examples=[False])]
    created: Annotated[int, Meta(description="Rows that created something", ge=0, examples=[1])]
    updated: Annotated[int, Meta(description="Rows that changed something", ge=0, examples=[0])]
    unchanged: Annotated[int, Meta(description="Rows that changed nothing", ge=0, examples=[0])]
    rows: Annotated[list[ImportedRow], Meta(description="The result of every row")]


def directory_import_route(imports: DirectoryImports, *, max_body_bytes: int) -> Any:
    """The handler, bound to its use case. With an idempotency key, a file may have `max_body_bytes`."""

    @post(
        "/v1/directory/import",
        status_code=200,
        request_class=DeferredBodyRequest,
        request_max_body_size=MAX_BYTES,
        opt={"media_types": (CSV,), "unread": b"", "keyed": lambda _: max_body_bytes},
        **operation(
            "Import the organisation", scope="manage:directory", problems=(*COMMON, *BODY, 409), tag="Directory"
        ),
    )
    async def import_directory(
        request: DeferredBodyRequest,
        caller: CurrentCaller,
        data: Annotated[bytes, Body(media_type=CSV, examples=[Example(value=EXAMPLE)])],
        dry_run: Annotated[bool, QueryParameter(description="Change nothing, return what would happen")] = False,  # noqa: FBT002 — a query parameter
    ) -> Response[Imported]:
        await imports.preflight(caller)
        data = await request.read_whole(MAX_BYTES, if_empty=EMPTY_FILE)
        answer = await imports.load(caller, data, dry_run=dry_run)
        rows = [ImportedRow(row.row, row.line, row.record, row.outcome) for row in answer.value]
        counts = {word: sum(row.outcome == word for row in rows) for word in ("created", "updated", "unchanged")}
        return make_response(Imported(dry_run=dry_run, **counts, rows=rows), answer.receipt)

    return import_directory
