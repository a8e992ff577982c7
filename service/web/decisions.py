"""GET /v1/decisions: auditors search the decision log. Reading it is decided and recorded like everything else."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath, Parameter

from service.audit import search
from service.audit.record import Kind
from service.audit.search import Filters, Logged
from service.errors import InvalidField, NotFound
from service.places import FieldError
from service.web.answers import answered
from service.web.operations import COMMON, ROW, operation
from service.web.paging import DEFAULT_LIMIT, MOST
from service.web.parameters import Asking, optional_plain_text, optional_time, optional_uuid, uuid_of

if TYPE_CHECKING:
    from service.authorization.enforcement import Enforcement
    from service.authorization.permit import Permit
    from service.authorization.relationships import Seen
    from service.database import Connection
    from service.web.paging import Cursors

LISTING = "decisions"
Text = Annotated[str | None, Parameter(max_length=255)]
Id = Annotated[str | None, Parameter(max_length=255, schema_extra={"format": "uuid"})]
Time = Annotated[str | None, Parameter(max_length=255, schema_extra={"format": "date-time"})]


class DecisionBody(msgspec.Struct):
    """A recorded decision. `record` is what was sealed: who asked for what, everything that was known, the outcome and
    its rules. `position` is its place in the sealed log, null until sealed; `leaf` is the hash that was answered."""

    id: str
    kind: str
    at: str
    position: int | None
    leaf: str
    record: dict[str, Any]


class DecisionPage(msgspec.Struct):
    """Decisions, newest first. `next_cursor` is null on the last page."""

    items: list[DecisionBody]
    next_cursor: str | None


def decision_routes(enforcement: Enforcement, cursors: Cursors) -> list[Any]:
    """The handlers, bound to the log."""

    @get("/v1/decisions", **operation("Search decisions", scope="read:audit", problems=COMMON, tag="Decision log"))
    async def list_decisions(
        ask: Asking,
        subject: Id = None,
        client: Text = None,
        action: Text = None,
        resource: Text = None,
        resource_kind: Text = None,
        outcome: Annotated[str | None, Parameter(schema_extra={"enum": ["allow", "deny"]})] = None,
        reason: Text = None,
        rule: Text = None,
        policy_version: Annotated[int | None, Parameter(ge=1, le=2_147_483_647)] = None,
        since: Time = None,
        until: Time = None,
        cursor: Annotated[str | None, Parameter(max_length=600)] = None,
        limit: Annotated[int, Parameter(ge=1, le=MOST)] = DEFAULT_LIMIT,
    ) -> Response[DecisionPage]:
        if outcome not in {None, "allow", "deny"}:
            raise InvalidField(FieldError("query.outcome", "must be allow or deny"))
        filters = Filters(
            person=optional_uuid(subject, "query.subject"),
            client=optional_plain_text(client, "query.client"),
            action=optional_plain_text(action, "query.action"),
            resource=optional_plain_text(resource, "query.resource"),
            resource_kind=optional_plain_text(resource_kind, "query.resource_kind"),
            outcome=outcome,
            reason=optional_plain_text(reason, "query.reason"),
            rule=optional_plain_text(rule, "query.rule"),
            policy_version=policy_version,
            since=optional_time(since, "query.since"),
            until=optional_time(until, "query.until"),
        )
        if filters.since and filters.until and filters.since >= filters.until:
            raise InvalidField(FieldError("query.until", "must be later than since"))
        bound = asdict(filters)
        after = cursors.read(LISTING, bound, cursor)

        async def load(_permit: Permit, _seen: Seen, connection: Connection) -> tuple[list[Logged], list[str]]:
            before = int(after[0]) if after else None
            found = await search.decisions(connection, filters, before=before, limit=limit + 1)
            return found, [str(one.uid) for one in found[:limit]]

        answer = await enforcement.read(ask, "log", "read", load, record_kind=Kind.ACCESS)
        page = answer.value[:limit]
        following = cursors.make(LISTING, bound, [page[-1].id]) if len(answer.value) > limit else None
        return answered(DecisionPage([_body(one) for one in page], following), answer.receipt)

    @get(
        "/v1/decisions/{decision_id:str}",
        **operation("Read a decision", scope="read:audit", problems=ROW, tag="Decision log"),
    )
    async def read_decision(ask: Asking, decision_id: FromPath[str]) -> Response[DecisionBody]:
        uid = uuid_of(decision_id, "path.decision_id")

        async def load(_permit: Permit, _seen: Seen, connection: Connection) -> tuple[Logged | None, list[str]]:
            found = await search.decision(connection, uid)
            return found, [str(uid)] if found else []

        answer = await enforcement.read(ask, "log", "read", load, record_kind=Kind.ACCESS)
        if answer.value is None:
            missing = NotFound("There is no such decision")
            missing.decision = (str(answer.receipt.uid), answer.receipt.leaf)
            raise missing
        return answered(_body(answer.value), answer.receipt)

    return [list_decisions, read_decision]


def _body(one: Logged) -> DecisionBody:
    return DecisionBody(str(one.uid), one.kind, one.at.isoformat(), one.position, one.leaf, one.body)
