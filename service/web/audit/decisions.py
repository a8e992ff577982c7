"""GET /v1/decisions: auditors search and count decisions. Each access is itself authorized and recorded.

Owns no state.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from litestar import Response, get
from litestar.di import Provide
from litestar.params import FromPath  # noqa: TC002 — Litestar reads handler signatures

from service.audit import search
from service.audit.summary import Summary, summarize_decisions
from service.errors import InvalidField, NotFound
from service.log.record_query import DECISIONS
from service.places import FieldError
from service.web.audit.log_query import NO_FILTERS, TAG, LogQueryDependency, read_query
from service.web.audit.log_reading import PageRequest, answer_search, read_log, read_records
from service.web.audit.shapes import RecordBody, RecordFields, RecordPage, SummaryBody, record_body, summary_body
from service.web.http.direct_routes import DIRECT
from service.web.http.operations import COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import CurrentCaller, Cursor, Limit, WithNames, parse_fields, parse_uuid, shift_time
from service.web.http.responses import make_response

if TYPE_CHECKING:
    from service.audit.search import LoggedRecord
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection, Database
    from service.log.record_query import RecordFilters
    from service.web.http.paging import Cursors

LISTING = "decisions"
SCOPE = "read:audit"
MAX_SUMMARY = timedelta(days=92)
DEFAULT_SUMMARY = timedelta(days=30)


def decision_routes(
    gate: Gate, cursors: Cursors, replica: Database | None, newest: search.NewestRecords | None
) -> list[Any]:
    """The handlers, bound to the log; searches and counts read the `replica` if there is one.
    `newest` reads pages without filters."""

    @get(
        "/v1/decisions",
        dependencies={"log_query": Provide(read_query)},
        opt=DIRECT,
        **operation("Search decisions", scope=SCOPE, problems=COMMON, tag=TAG),
    )
    async def list_decisions(
        caller: CurrentCaller,
        log_query: LogQueryDependency = NO_FILTERS,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        fields: RecordFields = None,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[RecordPage]:
        wanted = parse_fields(fields, RecordBody)
        page = PageRequest(cursors, LISTING, log_query.cursor_key(), cursor, limit)
        return await answer_search(
            gate, caller, log_query, page, DECISIONS, replica, newest, with_names=names, fields=wanted
        )

    @get(
        "/v1/decisions/summary",
        dependencies={"log_query": Provide(read_query)},
        **operation(
            "Count decisions by day, action, outcome, applied and reason", scope=SCOPE, problems=COMMON, tag=TAG
        ),
    )
    async def count_decisions(caller: CurrentCaller, log_query: LogQueryDependency) -> Response[SummaryBody]:
        filters = _with_period(log_query.filters)

        async def load(connection: Connection) -> tuple[Summary, list[str]]:
            resolved = replace(await log_query.resolve(connection), since=filters.since, until=filters.until)
            return await summarize_decisions(connection, resolved), [str(uid) for uid in log_query.found_by(resolved)]

        answer = await read_log(
            gate,
            caller,
            load,
            query=replace(log_query, filters=filters).to_record(kinds=DECISIONS),
            replica=replica,
        )
        since = answer.value.since or filters.since
        times = (str(time and time.isoformat()) for time in (since, filters.until))
        return make_response(summary_body(answer.value, *times), answer.receipt)

    @get(
        "/v1/decisions/{decision_id:str}",
        **operation("Read a decision", scope=SCOPE, problems=ROW, tag=TAG),
    )
    async def read_decision(
        caller: CurrentCaller,
        decision_id: FromPath[str],
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[RecordBody]:
        uid = parse_uuid(decision_id, "path.decision_id")

        async def load(connection: Connection) -> tuple[list[LoggedRecord], list[str]]:
            found = await search.load_decision(connection, uid)
            if found is None:
                raise NotFound("No such decision")
            return [found], [str(uid)]

        answer = await read_records(gate, caller, load, with_names=names)
        return make_response(record_body(answer.value[0], texts=True), answer.receipt)

    return [list_decisions, count_decisions, read_decision]


def _with_period(filters: RecordFilters) -> RecordFilters:
    """The filters with a period of at most MAX_SUMMARY, by default the last DEFAULT_SUMMARY. Raises InvalidField."""
    until = filters.until or datetime.now(UTC)
    since = filters.since or shift_time(until, -DEFAULT_SUMMARY)
    if since >= until:
        raise InvalidField(FieldError("query.since", "must be in the past unless until is given"))
    if until - since > MAX_SUMMARY:
        raise InvalidField(FieldError("query.since", f"must be at most {MAX_SUMMARY.days} days before until"))
    return replace(filters, since=since, until=until)
