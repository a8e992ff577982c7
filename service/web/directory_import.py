"""POST /v1/directory/import: the organisation from a CSV file, all of it or nothing, and nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Response, post
from litestar.params import Body, Parameter

from service.web.answers import answered
from service.web.operations import BODY, COMMON, operation
from service.web.parameters import Asking  # noqa: TC001 — Litestar reads handler signatures

if TYPE_CHECKING:
    from service.directory.imports import DirectoryImports

CSV = "text/csv"


class ImportedRow(msgspec.Struct):
    """What became of a row: `created`, `updated` or `unchanged`. `row` counts from 0 behind the header."""

    row: int
    line: int
    record: str
    outcome: str


class Imported(msgspec.Struct):
    """Every row's outcome, and how many there are of each. In a dry run nothing was changed."""

    dry_run: bool
    created: int
    updated: int
    unchanged: int
    rows: list[ImportedRow]


def directory_import_route(imports: DirectoryImports) -> Any:
    """The handler, bound to its use case."""

    @post(
        "/v1/directory/import",
        status_code=200,
        opt={"media_types": (CSV,)},
        **operation(
            "Import the organisation", scope="manage:directory", problems=(*COMMON, *BODY, 409), tag="Directory"
        ),
    )
    async def import_directory(
        ask: Asking,
        data: Annotated[bytes, Body(media_type=CSV)],
        dry_run: Annotated[Literal["true", "false"] | None, Parameter()] = None,
    ) -> Response[Imported]:
        dry = dry_run == "true"
        answer = await imports.load(ask, data, dry_run=dry)
        rows = [ImportedRow(one.row, one.line, one.record, one.outcome) for one in answer.value]
        counts = {word: sum(one.outcome == word for one in rows) for word in ("created", "updated", "unchanged")}
        return answered(Imported(dry_run=dry, **counts, rows=rows), answer.receipt)

    return import_directory
