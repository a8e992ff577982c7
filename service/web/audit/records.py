"""GET /v1/audit/records and the history of a timesheet. Each access is recorded.

Owns no state. A history comes from the log alone, so a deleted timesheet has one too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from litestar import Response, get
from litestar.di import Provide
from litestar.params import FromPath, Parameter

from service.audit import search
from service.errors import InvalidField, NotFound
from service.log.record import Kind
from service.log.record_query import RecordFilters
from service.places import FieldError
from service.web.audit.log_query import TAG, LogQueryDependency, read_query
from service.web.audit.log_reading import PageRequest, answer_search, read_records
from service.web.audit.shapes import RecordBody, RecordFields, RecordPage, record_body, record_page
from service.web.http.operations import COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import CurrentCaller, Cursor, Limit, WithNames, parse_fields, parse_uuid
from service.web.http.responses import make_response

if TYPE_CHECKING:
    from service.audit.search import LoggedRecord
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection, Database
    from service.web.http.paging import Cursors

SCOPE = "read:audit"
KINDS = tuple(kind.value for kind in Kind)
HISTORY_KINDS = (Kind.DECISION, Kind.CHANGE)
KindName = Annotated[str | None, Parameter(description="Records of this kind", schema_extra={"enum": list(KINDS)})]


def audit_record_routes(
    gate: Gate, cursors: Cursors, replica: Database | None, newest: search.NewestRecords | None
) -> list[Any]:
    """The handlers, bound to the log; searches and histories read the `replica` if there is one.
    `newest` reads pages without filters."""

    @get(
        "/v1/audit/records",
        dependencies={"log_query": Provide(read_query)},
        **operation("Search records of every kind", scope=SCOPE, problems=COMMON, tag=TAG),
    )
    async def list_records(
        caller: CurrentCaller,
        log_query: LogQueryDependency,
        kind: KindName = None,
        after_approval: Annotated[bool, Parameter(description="Only changes of approved hours")] = False,  # noqa: FBT002 - a query parameter
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        fields: RecordFields = None,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[RecordPage]:
        wanted = parse_fields(fields, RecordBody)
        if after_approval and kind not in {None, Kind.CHANGE}:
            raise InvalidField(FieldError("query.kind", "must be change or left out when after_approval is set"))
        kinds = [Kind.CHANGE] if after_approval else _parse_kinds(kind)
        key = log_query.cursor_key(kind=kind, after_approval=after_approval)
        page = PageRequest(cursors, "records", key, cursor, limit)
        return await answer_search(
            gate,
            caller,
            log_query,
            page,
            kinds,
            replica,
            newest,
            with_names=names,
            fields=wanted,
            after_approval=after_approval,
        )

    @get("/v1/audit/records/{record_id:str}", **operation("Read a record", scope=SCOPE, problems=ROW, tag=TAG))
    async def read_record(
        caller: CurrentCaller,
        record_id: FromPath[str],
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[RecordBody]:
        uid = parse_uuid(record_id, "path.record_id")

        async def load(connection: Connection) -> tuple[list[LoggedRecord], list[str]]:
            found = await search.load_record(connection, uid)
            if found is None:
                position = await search.pruned_position(connection, uid)
                pruned = f"The record at position {position} was pruned; its hash is kept"
                raise NotFound("No such record" if position is None else pruned)
            return [found], [str(uid)]

        answer = await read_records(gate, caller, load, with_names=names)
        return make_response(record_body(answer.value[0], texts=True), answer.receipt)

    @get(
        "/v1/timesheets/{timesheet_id:str}/history",
        **operation("Read the history of a timesheet", scope=SCOPE, problems=ROW, tag=TAG),
    )
    async def read_history(
        caller: CurrentCaller,
        timesheet_id: FromPath[str],
        kind: Annotated[
            str | None,
            Parameter(
                description="Records of this kind", schema_extra={"enum": [kind.value for kind in HISTORY_KINDS]}
            ),
        ] = None,
        order: Annotated[
            str, Parameter(description="Which records come first", schema_extra={"enum": ["oldest", "newest"]})
        ] = "oldest",
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        fields: RecordFields = None,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[RecordPage]:
        sheet, wanted = parse_uuid(timesheet_id, "path.timesheet_id"), parse_fields(fields, RecordBody)
        if order not in {"oldest", "newest"}:
            raise InvalidField(FieldError("query.order", "must be oldest or newest"))
        kinds = _parse_kinds(kind, HISTORY_KINDS)
        page = PageRequest(cursors, "history", {"sheet": sheet, "kind": kind, "order": order}, cursor, limit)
        after = page.place()

        async def load(connection: Connection) -> tuple[list[LoggedRecord], list[str]]:
            filters = RecordFilters(history=str(sheet))
            found = await search.search_records(
                connection,
                filters,
                kinds=kinds,
                after=after,
                limit=limit + 1,
                oldest_first=order == "oldest",
            )
            if not found and after is None and not await search.search_records(connection, filters, limit=1):
                raise NotFound("No record of this timesheet; its records may have been pruned")
            shown = await search.add_texts(connection, found[:limit])
            # The record of this access names the timesheet, so that a search for accesses to it finds this one.
            return [*shown, *found[limit:]], [str(sheet), *(str(record.uid) for record in shown)]

        answer = await read_records(gate, caller, load, with_names=names, replica=replica)
        found = answer.value
        shown = record_page(found[:limit], page.next_cursor(found), wanted, texts=True)
        return make_response(shown, answer.receipt)

    return [list_records, read_record, read_history]


def _parse_kinds(name: str | None, allowed: tuple[Kind, ...] = tuple(Kind)) -> tuple[Kind, ...]:
    """The kinds to search; an empty tuple means all. Raises InvalidField."""
    if name is None:
        return () if allowed == tuple(Kind) else allowed
    if name not in allowed:
        raise InvalidField(FieldError("query.kind", f"must be one of {', '.join(allowed)}"))
    return (Kind(name),)
