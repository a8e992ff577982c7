"""Access requests: a person asks for a relation to the timesheets of a team or project for a time, and another person
grants it. Owns no state.

The policy says which relations can be asked for, by the edge `granted` of their paths, what they give, and who decides.
It is law that nobody grants their own request, under any account, also after a merge or an erasure. A caller who may
not read the directory gets the same error for a team that does not exist and for one that they are not in.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from service.authorization.enforcement.changes import Target
from service.authorization.enforcement.names import load_names_of_change
from service.authorization.enforcement.team_references import find_team
from service.directory import access_request_store, store
from service.directory.access_request_store import (
    DECLINED,
    ENDED,
    GRANTED,
    KIND,
    OPEN,
    WITHDRAWN,
    describe_change,
)
from service.directory.entities import (
    MAX_ACCESS_REASON_LENGTH,
    MAX_OPEN_ACCESS_REQUESTS,
    RequestedAccess,
    Validity,
    check_wanted_access,
)
from service.directory.recorded_change import DirectoryPage, ids_in, listing, record_changes, single
from service.directory.store import KIND as DIRECTORY
from service.errors import Conflict, Forbidden, InvalidField, WrongState
from service.fields import Fields
from service.ids import make_id
from service.places import FieldError
from service.policy.paths import NodeType, find_requestable

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, Caller, Change
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection
    from service.directory.entities import WantedAccess

NO_PERSON = "must come from a person: a client that acts for itself has no access to ask for"
HIDDEN_TEAM = "names no team that you may see in the directory: give one that you are in"
HIDDEN_PROJECT = "names no active project that you may see"
NO_REFUSAL = (
    "names no refusal of yours that access to a timesheet would change; after a 404, name `relation`, and `team` or"
    " `project`"
)
ALLOWED_NOW = "You may do now what was refused then: you need no access"
OWN = "nobody grants their own access request: another person has to decide it"


class AccessRequests:
    """Every method raises Denied and TryLater; a change also InvalidField, WrongState and Conflict."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def request(
        self, caller: Caller, wanted: WantedAccess, refusal: UUID | None = None
    ) -> Answer[RequestedAccess]:
        """Ask for access. After a `refusal`, a decision on a timesheet, it is for the relation that was missing, on the
        owner's team or the sheet's project; `wanted` names one if there are several. Raises Conflict for a request that
        is open already, beyond MAX_OPEN_ACCESS_REQUESTS, and if the refused request would be allowed now."""
        person = caller.principal.person
        check_wanted_access(wanted.since, wanted.until, wanted.reason, datetime.now(UTC))
        # Locked before the decision: an erasure meanwhile revokes the token, so nothing is stored of who was erased.
        new = access_request_store.describe_new(wanted.relation, wanted.until)
        target = Target(owner=person, hold=store.lock, new=new)
        async with self._gate.change(caller, KIND, "request", target) as change:
            if person is None:
                raise InvalidField(FieldError("body", NO_PERSON))
            relation, team, project = await self._find_subject(change, wanted, refusal)
            await _check_open(change.connection, person, relation, team, project)
            asked = RequestedAccess(
                make_id(), relation, team, project, person, Validity(wanted.since, wanted.until), wanted.reason, refusal
            )
            made = await access_request_store.add(change.permit, change.connection, asked)
            texts = {"reason": wanted.reason}
            await record_changes(change, [describe_change("access.requested", made, texts=texts)])
            change.names = await load_names_of_change(change, ids_in(made))
        return change.answer(made)

    async def grant(
        self, caller: Caller, request: UUID, until: datetime | None = None, reason: str | None = None
    ) -> Answer[RequestedAccess]:
        """Grant what an open request asks for, perhaps with an earlier end. Raises NotFound, WrongState, InvalidField
        for an end that is past or later than asked for, Conflict if the active policy would refuse the request now, and
        Forbidden for one's own."""
        _check_reason(reason)
        async with self._gate.change(caller, KIND, "grant", _target(request)) as change:
            if change.found["owner_id"] in change.lookup.same_human:
                raise Forbidden([OWN])
            _require(change, OPEN)
            _check_requestable(change, await access_request_store.load(change.connection, request))
            begin = max(change.lookup.at, change.found["requested_from"])
            if until is not None and not begin < until <= change.found["requested_until"]:
                raise InvalidField(
                    FieldError("until", "must lie after the beginning, and not after what was asked for")
                )
            granted = await access_request_store.decide(
                change.permit, change.connection, request, GRANTED, until=until, reason=reason
            )
            await _record(change, granted, "access.granted", reason)
        return change.answer(granted)

    async def decline(self, caller: Caller, request: UUID, reason: str) -> Answer[RequestedAccess]:
        """Decline an open request. Raises NotFound and WrongState."""
        return await self._close(caller, request, "decline", DECLINED, reason)

    async def withdraw(self, caller: Caller, request: UUID) -> Answer[RequestedAccess]:
        """Take an open request back. Raises NotFound and WrongState."""
        return await self._close(caller, request, "withdraw", WITHDRAWN)

    async def end(self, caller: Caller, request: UUID) -> Answer[RequestedAccess]:
        """End access before its time; what has not begun never does. Raises NotFound and WrongState."""
        async with self._gate.change(caller, KIND, "end", _target(request)) as change:
            _require(change, GRANTED)
            ended = await access_request_store.end(change.permit, change.connection, request)
            await _record(change, ended, "access.ended")
        return change.answer(ended)

    async def load(self, caller: Caller, request: UUID, *, with_names: bool = False) -> Answer[RequestedAccess]:
        """An access request. Raises NotFound."""
        return await single(
            self._gate, caller, access_request_store.load_visible, request, kind=KIND, with_names=with_names
        )

    async def list(
        self,
        caller: Caller,
        *,
        state: str | None = None,
        mine: bool = False,
        to_decide: bool = False,
        newest_first: bool = False,
        after: UUID | None = None,
        limit: int = 50,
        with_names: bool = False,
    ) -> Answer[DirectoryPage[RequestedAccess]]:
        """Access requests that the caller may see, oldest first unless `newest_first`: those in a state, the caller's
        own (`mine`), or those that the caller may grant now (`to_decide`)."""
        return await listing(
            self._gate,
            caller,
            lambda seen, connection: access_request_store.list_requests(
                seen,
                connection,
                state=state,
                mine=mine,
                to_decide=to_decide,
                newest_first=newest_first,
                after=after,
                limit=limit,
            ),
            limit,
            kind=KIND,
            with_names=with_names,
        )

    async def _close(
        self, caller: Caller, request: UUID, action: str, state: str, reason: str | None = None
    ) -> Answer[RequestedAccess]:
        _check_reason(reason)
        async with self._gate.change(caller, KIND, action, _target(request)) as change:
            _require(change, OPEN)
            closed = await access_request_store.decide(change.permit, change.connection, request, state, reason=reason)
            await _record(change, closed, f"access.{state}", reason)
        return change.answer(closed)

    async def _find_subject(
        self, change: Change, wanted: WantedAccess, refusal: UUID | None
    ) -> tuple[str, UUID | None, str | None]:
        """The relation, and the team or the project."""
        requestable = find_requestable(change.permit.snapshot.vocabulary.paths)
        if refusal is not None:
            relation, sheet = await self._find_missing(change, refusal)
            if NodeType.TEAMS in requestable[relation]:
                return relation, await _choose_team(change, sheet, wanted.team), None
            return relation, None, await _choose_project(change, sheet, wanted.project)
        if wanted.relation not in requestable:
            known = (
                f"those that can: {', '.join(sorted(requestable))}" if requestable else "the policy has none that can"
            )
            raise InvalidField(FieldError("relation", f"cannot be asked for; {known}"))
        relation, where = wanted.relation, requestable[wanted.relation]
        for field, node in (("team", NodeType.TEAMS), ("project", NodeType.PROJECTS)):
            if getattr(wanted, field) is not None and node not in where:
                raise InvalidField(FieldError(field, f"cannot be given: {relation} is not asked for on {node}"))
        if wanted.team is not None:
            return relation, await _find_team(change, wanted.team), None
        return relation, None, await _find_project(change, wanted.project or "")

    async def _find_missing(self, change: Change, refusal: UUID) -> tuple[str, UUID]:
        """The relation that the caller is missing now for what was refused then, and the timesheet. The refusal must
        have been told to the caller: one for which access could not be asked gets the answer of an unknown one."""
        found = await access_request_store.find_refusal(change.connection, refusal)
        if found is None or found.person not in change.lookup.ids:
            _refuse_decision()
        error = await self._gate.find_refusal(change, "timesheet", found.action, found.sheet)
        if error is None:
            raise Conflict(ALLOWED_NOW)
        if not isinstance(error, Forbidden) or error.request_access is None:
            _refuse_decision()
        return error.request_access["relation"], found.sheet


def _check_requestable(change: Change, request: RequestedAccess) -> None:
    """Raise Conflict if the policy has changed since: a grant would give nothing now, and perhaps something else under
    a later version whose relation has the same name."""
    where = find_requestable(change.permit.snapshot.vocabulary.paths).get(request.relation, frozenset())
    if (NodeType.PROJECTS if request.team is None else NodeType.TEAMS) not in where:
        place = "a project" if request.team is None else "a team"
        raise Conflict(f"Under the active policy, {request.relation} can no longer be asked for on {place}: decline it")


def _refuse_decision() -> NoReturn:
    raise InvalidField(FieldError("decision", NO_REFUSAL))


async def _choose_team(change: Change, sheet: UUID, given: UUID | str | None) -> UUID:
    """The team of the timesheet's owner."""
    teams = await access_request_store.find_teams(change.connection, sheet)
    if given is not None:
        found = await access_request_store.find_team(change.connection, given, change.lookup.ids)
        if found is None or found[0] not in teams:
            raise InvalidField(FieldError("team", "names no team of the timesheet's owner"))
        return found[0]
    if len(teams) != 1:
        why = "is required: the timesheet's owner is in several teams" if teams else "is missing: the owner is in none"
        raise InvalidField(FieldError("team", why))
    return teams[0]


async def _choose_project(change: Change, sheet: UUID, given: str | None) -> str:
    """The project of the timesheet."""
    projects = await access_request_store.find_projects(change.connection, sheet)
    if given is not None:
        if given not in projects:
            raise InvalidField(FieldError("project", "has no hours in the timesheet"))
        return given
    if len(projects) != 1:
        why = "is required: the timesheet has several projects" if projects else "is missing: the timesheet has none"
        raise InvalidField(FieldError("project", why))
    return projects[0]


async def _find_team(change: Change, team: UUID | str) -> UUID:
    found = await access_request_store.find_team(change.connection, team, change.lookup.ids)
    reads_directory = change.permit.may_read(DIRECTORY)
    if found is not None and (found[1] or reads_directory):
        return found[0]
    if reads_directory and isinstance(team, str):
        return await find_team(change.connection, team, "team")
    raise InvalidField(FieldError("team", HIDDEN_TEAM))


async def _find_project(change: Change, code: str) -> str:
    known = await access_request_store.has_project(change.connection, code)
    if known and (change.permit.may_read(DIRECTORY) or change.permit.may_read("project")):
        return code
    raise InvalidField(FieldError("project", HIDDEN_PROJECT))


async def _check_open(
    connection: Connection, person: UUID, relation: str, team: UUID | None, project: str | None
) -> None:
    """Raise Conflict for a request that is open already, and beyond the bound."""
    waiting = await access_request_store.list_open_of(connection, person)
    for request in waiting:
        if (request.relation, request.team, request.project) == (relation, team, project):
            raise Conflict(
                "You have asked for this already, and nobody has decided it", extra={"held": str(request.id)}
            )
    if len(waiting) >= MAX_OPEN_ACCESS_REQUESTS:
        raise Conflict(f"You have {MAX_OPEN_ACCESS_REQUESTS} open access requests: withdraw one of them first")


def _target(request: UUID) -> Target:
    async def lock(connection: Connection) -> UUID | None:
        return await store.lock_row(connection, "access_request", request)

    return Target(str(request), lock, row_id=request, must_exist=True, hold=store.lock)


def _check_reason(reason: str | None) -> None:
    if reason is not None:
        fields = Fields()
        fields.text("reason", reason, MAX_ACCESS_REASON_LENGTH)
        fields.refuse()


def _require(change: Change, wanted: str) -> None:
    """Raise WrongState unless the locked request is in this state, whatever the rules allow."""
    state = change.found["state"]
    if state != wanted:
        stands = "has ended" if state == ENDED else f"is {state}"
        raise WrongState(
            f"The access request {stands}; this needs it to be {wanted}", extra={"state": state, "wanted": wanted}
        )


async def _record(change: Change, after: RequestedAccess, what: str, reason: str | None = None) -> None:
    """Record a change of the locked request, and name those in it if the caller asks for names."""
    before = {"state": change.found["state"]}
    texts = {} if reason is None else {"reason": reason}
    await record_changes(change, [describe_change(what, after, before=before, texts=texts)])
    change.names = await load_names_of_change(change, ids_in(after), after.state)
