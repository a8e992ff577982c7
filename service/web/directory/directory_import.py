"""POST /v1/directory/import: the organisation from a CSV file, all of it or nothing, and nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import Response, post
from litestar.openapi.spec import Example
from litestar.params import Body, QueryParameter
from msgspec import Meta

from service.directory.import_file import TAKEN
from service.directory.import_plan import Outcome
from service.web.http.bodies import EMPTY_FILE, DeferredBodyRequest
from service.web.http.operations import BODY, COMMON, operation
from service.web.http.parameters import CurrentCaller  # noqa: TC001 — Litestar reads handler signatures
from service.web.http.responses import make_response

if TYPE_CHECKING:
    from service.directory.imports import DirectoryImports

CSV: Final = "text/csv"
# Its rows are bounded too; ordinary ones have 130 bytes.
MAX_BYTES: Final = 2_000_000
EXAMPLE: Final = (
    "record,email,name,team,parent\nteam,,,Cetus,\nperson,ana@example.com,Ana Lima,,\nmember,ana@example.com,,Cetus,\n"
)


class ImportedRow(msgspec.Struct):
    """What became of a row."""

    row: Annotated[int, Meta(description="Its place behind the header, from 0", ge=0, examples=[0])]
    line: Annotated[int, Meta(description="Its line in the file", ge=1, examples=[2])]
    record: Annotated[
        str, Meta(description="What it tells of", examples=["team"], extra_json_schema={"enum": list(TAKEN)})
    ]
    outcome: Annotated[Outcome, Meta(description="What became of it", examples=["created"])]


class Imported(msgspec.Struct):
    """What became of a file."""

    dry_run: Annotated[bool, Meta(description="Whether nothing was changed", examples=[False])]
    created: Annotated[int, Meta(description="Rows that made something", ge=0, examples=[1])]
    updated: Annotated[int, Meta(description="Rows that changed something", ge=0, examples=[0])]
    unchanged: Annotated[int, Meta(description="Rows that were there already", ge=0, examples=[0])]
    rows: Annotated[list[ImportedRow], Meta(description="Every row's outcome")]


def directory_import_route(imports: DirectoryImports, *, max_body_bytes: int) -> Any:
    """The handler, bound to its use case. With an idempotency key a file may be as large as any body, and no larger."""

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
        dry_run: Annotated[bool, QueryParameter(description="Say what would happen, and change nothing")] = False,  # noqa: FBT002 — a query parameter
    ) -> Response[Imported]:
        await imports.admit(caller)
        data = await request.read_whole(MAX_BYTES, if_empty=EMPTY_FILE)
        answer = await imports.load(caller, data, dry_run=dry_run)
        rows = [ImportedRow(one.row, one.line, one.record, one.outcome) for one in answer.value]
        counts = {word: sum(one.outcome == word for one in rows) for word in ("created", "updated", "unchanged")}
        return make_response(Imported(dry_run=dry_run, **counts, rows=rows), answer.receipt)

    return import_directory
