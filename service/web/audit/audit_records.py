"""GET /v1/audit/records: records of every kind; and the whole story of one timesheet. Each reading is recorded too.

Owns no state. A story comes from the log alone, so a deleted sheet has one as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from litestar import Response, get
from litestar.di import Provide
from litestar.params import FromPath, Parameter

from service.audit import people, search
from service.errors import InvalidField, NotFound
from service.log.record import Kind
from service.log.record_query import RecordFilters
from service.places import FieldError
from service.web.audit.log_pages import PageRequest, answer_search
from service.web.audit.log_questions import TAG, AskedOfLog, read_question
from service.web.audit.log_reading import read_log
from service.web.audit.log_shapes import RecordBody, RecordPage, record_body, record_page
from service.web.http.operations import COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import CurrentCaller, Cursor, Limit, parse_uuid
from service.web.http.responses import make_response

if TYPE_CHECKING:
    from service.audit.search import Logged
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection
    from service.web.http.paging import Cursors

SCOPE = "read:audit"
KINDS = tuple(one.value for one in Kind)
STORY = (Kind.DECISION, Kind.CHANGE)
KindName = Annotated[str | None, Parameter(description="Of this kind", schema_extra={"enum": list(KINDS)})]


def audit_record_routes(gate: Gate, cursors: Cursors) -> list[Any]:
    """The handlers, bound to the log."""

    @get(
        "/v1/audit/records",
        dependencies={"asked": Provide(read_question)},
        **operation("Search records of every kind", scope=SCOPE, problems=COMMON, tag=TAG),
    )
    async def list_records(
        caller: CurrentCaller,
        asked: AskedOfLog,
        kind: KindName = None,
        after_approval: Annotated[bool, Parameter(description="Only changes of approved hours")] = False,  # noqa: FBT002 - a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[RecordPage]:
        if after_approval and kind not in {None, Kind.CHANGE}:
            raise InvalidField(FieldError("query.kind", "must be change, if anything, beside after_approval"))
        kinds = [Kind.CHANGE] if after_approval else _kinds(kind)
        bound = asked.bound(kind=kind, after_approval=after_approval)
        wanted = PageRequest(cursors, "records", bound, cursor, limit)
        return await answer_search(gate, caller, asked, wanted, kinds, after_approval=after_approval)

    @get("/v1/audit/records/{record_id:str}", **operation("Read a record", scope=SCOPE, problems=ROW, tag=TAG))
    async def read_record(caller: CurrentCaller, record_id: FromPath[str]) -> Response[RecordBody]:
        uid = parse_uuid(record_id, "path.record_id")

        async def load(connection: Connection) -> tuple[tuple[Logged, dict[str, str]], list[str]]:
            found = await search.record(connection, uid)
            if found is None:
                position = await search.pruned_position(connection, uid)
                gone = f"The record at position {position} was dropped by retention; its hash is kept"
                raise NotFound("There is no such record" if position is None else gone)
            return (found, await people.names(connection, [found])), [str(uid)]

        answer = await read_log(gate, caller, load)
        return make_response(record_body(*answer.value, texts=True), answer.receipt)

    @get(
        "/v1/timesheets/{timesheet_id:str}/history",
        **operation("Read the whole story of a timesheet", scope=SCOPE, problems=ROW, tag=TAG),
    )
    async def read_history(
        caller: CurrentCaller,
        timesheet_id: FromPath[str],
        kind: Annotated[
            str | None, Parameter(description="Of this kind", schema_extra={"enum": [one.value for one in STORY]})
        ] = None,
        order: Annotated[
            str, Parameter(description="Which come first", schema_extra={"enum": ["oldest", "newest"]})
        ] = "oldest",
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[RecordPage]:
        sheet = parse_uuid(timesheet_id, "path.timesheet_id")
        if order not in {"oldest", "newest"}:
            raise InvalidField(FieldError("query.order", "must be oldest or newest"))
        kinds = _kinds(kind, STORY)
        wanted = PageRequest(cursors, "history", {"sheet": sheet, "kind": kind, "order": order}, cursor, limit)
        behind = wanted.place()

        async def load(connection: Connection) -> tuple[tuple[list[Logged], dict[str, str]], list[str]]:
            story = RecordFilters(history=str(sheet))
            found = await search.records(
                connection,
                story,
                kinds=kinds,
                behind=behind,
                limit=limit + 1,
                oldest_first=order == "oldest",
            )
            if not found and behind is None and not await search.records(connection, story, limit=1):
                raise NotFound("No record tells of such a timesheet; retention may have dropped those that did")
            shown = await search.with_texts(connection, found[:limit])
            names = await people.names(connection, shown)
            # The sheet stands in the record of this access too: whoever asks for accesses to it finds this one.
            return ([*shown, *found[limit:]], names), [str(sheet), *(str(one.uid) for one in shown)]

        answer = await read_log(gate, caller, load)
        found, names = answer.value
        return make_response(record_page(found[:limit], names, wanted.following(found), texts=True), answer.receipt)

    return [list_records, read_record, read_history]


def _kinds(name: str | None, among: tuple[Kind, ...] = tuple(Kind)) -> tuple[Kind, ...]:
    """The kinds that are meant; nothing means all. Raises InvalidField."""
    if name is None:
        return () if among == tuple(Kind) else among
    if name not in among:
        raise InvalidField(FieldError("query.kind", f"must be one of {', '.join(among)}"))
    return (Kind(name),)
