"""GET /v1/decisions: auditors search and count decisions. Reading them is decided and recorded like everything else.

Owns no state.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from litestar import Response, get
from litestar.di import Provide
from litestar.params import FromPath  # noqa: TC002 — Litestar reads handler signatures

from service.audit import people, search
from service.audit.summary import Summary, summary
from service.errors import InvalidField, NotFound
from service.log.record_query import DECISIONS
from service.places import FieldError
from service.web.audit.log_pages import PageRequest, answer_search
from service.web.audit.log_questions import TAG, AskedOfLog, read_question
from service.web.audit.log_reading import read_log
from service.web.audit.log_shapes import RecordBody, RecordPage, SummaryBody, record_body, summary_body
from service.web.http.operations import COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import CurrentCaller, Cursor, Limit, parse_uuid, shift_time
from service.web.http.responses import make_response

if TYPE_CHECKING:
    from service.audit.search import Logged
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection
    from service.log.record_query import RecordFilters
    from service.web.http.paging import Cursors

LISTING = "decisions"
SCOPE = "read:audit"
LONGEST_SUMMARY = timedelta(days=92)
USUAL_SUMMARY = timedelta(days=30)


def decision_routes(gate: Gate, cursors: Cursors) -> list[Any]:
    """The handlers, bound to the log."""

    @get(
        "/v1/decisions",
        dependencies={"asked": Provide(read_question)},
        **operation("Search decisions", scope=SCOPE, problems=COMMON, tag=TAG),
    )
    async def list_decisions(
        caller: CurrentCaller,
        asked: AskedOfLog,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[RecordPage]:
        wanted = PageRequest(cursors, LISTING, asked.bound(), cursor, limit)
        return await answer_search(gate, caller, asked, wanted, DECISIONS)

    @get(
        "/v1/decisions/summary",
        dependencies={"asked": Provide(read_question)},
        **operation(
            "Count decisions by day, action, outcome, applied and reason", scope=SCOPE, problems=COMMON, tag=TAG
        ),
    )
    async def count_decisions(caller: CurrentCaller, asked: AskedOfLog) -> Response[SummaryBody]:
        filters = _bounded(asked.filters)

        async def load(connection: Connection) -> tuple[Summary, list[str]]:
            resolved = replace(await asked.resolved(connection), since=filters.since, until=filters.until)
            return await summary(connection, resolved), [str(person) for person in resolved.persons or ()]

        answer = await read_log(gate, caller, load, put=replace(asked, filters=filters).put(kinds=DECISIONS))
        times = (str(one and one.isoformat()) for one in (filters.since, filters.until))
        return make_response(summary_body(answer.value, *times), answer.receipt)

    @get(
        "/v1/decisions/{decision_id:str}",
        **operation("Read a decision", scope=SCOPE, problems=ROW, tag=TAG),
    )
    async def read_decision(caller: CurrentCaller, decision_id: FromPath[str]) -> Response[RecordBody]:
        uid = parse_uuid(decision_id, "path.decision_id")

        async def load(connection: Connection) -> tuple[tuple[Logged, dict[str, str]], list[str]]:
            found = await search.decision(connection, uid)
            if found is None:
                raise NotFound("There is no such decision")
            return (found, await people.names(connection, [found])), [str(uid)]

        answer = await read_log(gate, caller, load)
        return make_response(record_body(*answer.value, texts=True), answer.receipt)

    return [list_decisions, count_decisions, read_decision]


def _bounded(asked: RecordFilters) -> RecordFilters:
    """The same for a time that can be counted. Raises InvalidField."""
    until = asked.until or datetime.now(UTC)
    since = asked.since or shift_time(until, -USUAL_SUMMARY)
    if since >= until:
        raise InvalidField(FieldError("query.since", "must be in the past, or say until too"))
    if until - since > LONGEST_SUMMARY:
        raise InvalidField(FieldError("query.since", f"must lie at most {LONGEST_SUMMARY.days} days before until"))
    return replace(asked, since=since, until=until)
