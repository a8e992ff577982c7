"""The types of responses: shapes and receipts. Pure."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    State: TypeAlias = Literal["draft", "submitted", "approved", "rejected", "locked"]
    Sort: TypeAlias = Literal[
        "period_start",
        "-period_start",
        "updated_at",
        "-updated_at",
        "created_at",
        "-created_at",
        "minutes",
        "-minutes",
        "submitted_at",
        "-submitted_at",
        "owner_name",
        "-owner_name",
    ]
else:
    # A type checker refuses a state that does not exist; a program takes one that a later service invents.
    State = Sort = str


class Receipt(msgspec.Struct, frozen=True):
    """The receipt of a response: the id of its recorded decision and the leaf hash of that record. With them an auditor
    can find out whether the log left the decision out. Both are None if nothing was decided."""

    status: int
    decision: str | None = None
    leaf: str | None = None
    request_id: str | None = None


class ApiResult(msgspec.Struct, kw_only=True):
    """A decoded response with its receipt; items of a page have that of the page. Unknown members are ignored."""

    receipt: Receipt = msgspec.field(default=Receipt(0), name="-")


class VersionedResult(ApiResult, kw_only=True):
    """A result with its `version`, from the ETag, which a change sends. Items of a list have none: read the item before
    changing it."""

    version: int | None = None


class Entry(msgspec.Struct):
    """An entry of a sheet."""

    id: str
    day: date
    project: str
    minutes: int
    note: str | None = None
    external_ref: str | None = None
    activity: str | None = None
    billable: bool = False
    tags: list[str] = msgspec.field(default_factory=list)


class GivenApproval(msgspec.Struct):
    """An approval of a sheet: the id of the person or client who gave it, and when."""

    by: str
    at: datetime


class Timesheet(ApiResult):
    """A person's week as it was read. A change sends its `version` in If-Match. `names` are those of the people and
    projects in it, by id, if they were asked for. `submitted_at`: when it was last
    submitted. `decided_at` and `decided_by`: when it was last approved or rejected, and by whom. `approvals` are those
    since it was last submitted; it stays submitted while `approvals_given` is less than `approvals_needed`, or that is
    None, which means that the number is unknown."""

    id: str
    owner: str
    period_start: date
    period_end: date
    time_zone: str
    state: State
    version: int
    minutes: int
    reason: str | None
    created_at: datetime
    updated_at: datetime
    entries: list[Entry]
    submitted_at: datetime | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None
    approvals: list[GivenApproval] = msgspec.field(default_factory=list)
    approvals_given: int = 0
    approvals_needed: int | None = 1
    day_notes: dict[date, str] = msgspec.field(default_factory=dict)
    actions: list[str] | None = None
    names: dict[str, str] | None = None


class Me(ApiResult):
    """The caller. `may` says, for each kind and action, whether this token could. `access` are open access requests and
    granted access, `requestable` the relations that the caller can ask for, on what, and what each would let them do.
    `actors` act for the caller, and `agent` says whether one of them is an agent. `names` are those of the person and
    of projects, by id, if they were asked for."""

    kind: str
    person: str | None
    client: str
    scopes: list[str]
    roles: list[str]
    teams_led: list[dict[str, str]]
    may: list[dict[str, Any]]
    policy_version: int
    actors: list[str] = []
    agent: bool | None = None
    groups: list[str] = []
    projects_led: list[str] = []
    access: list[dict[str, Any]] = []
    requestable: list[dict[str, Any]] = []
    names: dict[str, str] | None = None


class UploadRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A row: minutes of a person on a day. (owner, day, project, external_ref) identifies it; repeating it is
    harmless."""

    owner: str
    day: date
    project: str
    minutes: int
    external_ref: str
    note: str | None = None
    time_zone: str | None = None
    activity: str | None = None
    billable: bool | None = None
    tags: list[str] = msgspec.field(default_factory=list)


class RowProblem(msgspec.Struct):
    """Why a row was refused: the slug of the problem, a sentence, and the invalid field, if any."""

    problem: str
    reason: str
    field: str | None = None


class RowOutcome(msgspec.Struct):
    """The outcome of a row: `created`, `updated`, `unchanged` or `refused`. `line` is its first line in the file."""

    row: int
    outcome: str
    line: int | None = None
    timesheet: str | None = None
    entry: str | None = None
    problems: list[RowProblem] = msgspec.field(default_factory=list)


class Uploaded(ApiResult, kw_only=True):
    """The outcome of each row, counts by outcome, and a decision for each sheet with the leaf hash of its record."""

    rows: list[RowOutcome]
    decisions: list[str]
    leaves: list[str] = msgspec.field(default_factory=list)
    dry_run: bool = False
    counts: dict[str, int] = msgspec.field(default_factory=dict)


class PendingApproval(ApiResult, kw_only=True):
    """A sheet that the caller may approve, and by which relations, such as `delegate`."""

    timesheet: Timesheet
    waiting_since: datetime
    as_: list[str] = msgspec.field(name="as")
    rules: list[str] = msgspec.field(default_factory=list)


class ItemResult(msgspec.Struct):
    """The outcome for a sheet in a batch. `problem` has type, title, status and detail of a refusal, `request_access`
    if access could be asked for, and `step_up` if another sign-in would allow it. An approved sheet whose `state` is
    submitted needs more approvals."""

    id: str
    status: int
    version: int | None
    state: State | None
    decision_id: str
    decision_leaf: str
    problem: dict[str, Any] | None
    approvals_given: int | None = None
    approvals_needed: int | None = None
    owner: str | None = None
    names: dict[str, str] | None = None


class Batch(ApiResult):
    """How many sheets changed, and the outcome for each."""

    changed: int
    items: list[ItemResult]


class Reminded(ApiResult):
    """For how many sheets an event was published; if `more`, call again for the rest."""

    reminded: int
    more: bool


class Total(msgspec.Struct):
    """Minutes of a person, project, team, week, day or activity (`key`), and in how many sheets; `then` is the second
    key. `name` is the name of a team; of a person or project, if names were asked for. The sheets have
    `approvals_given` of `approvals_needed`, which is None if it is unknown of a sheet."""

    key: str | None
    name: str | None
    minutes: int
    sheets: int
    approvals_given: int = 0
    approvals_needed: int | None = None
    billable_minutes: int = 0
    absence_minutes: int = 0
    then: str | None = None
    then_name: str | None = None


class HoursReport(ApiResult):
    """Totals of the days from `since` to `until`; `minutes`, `sheets` and approvals of the whole, each counted once."""

    by: str
    since: date
    until: date
    minutes: int
    sheets: int
    items: list[Total]
    approvals_given: int = 0
    approvals_needed: int | None = None
    billable_minutes: int = 0
    absence_minutes: int = 0
    then: str | None = None


class AllowingRule(msgspec.Struct):
    """A `rule` that allows, the `scope` it needs (None: any token), and its conditions on the sign-in."""

    rule: str
    scope: str | None
    sign_in: list[str]


class AccessHolder(msgspec.Struct):
    """A person, or a client acting for itself, their relations to a sheet, and for each action the rules that allow
    it."""

    person: str | None
    client: str | None
    relations: list[str]
    may: dict[str, list[AllowingRule]]
    names: dict[str, str] | None = None


class Access(ApiResult, kw_only=True):
    """The access to a sheet in its `state`, under the policy `version`. `tokens_with` has the rules for tokens with
    a word, such as `role:auditor`. If `cut_short`, there are more rules than are listed."""

    timesheet: str
    state: State
    version: int
    items: list[AccessHolder]
    tokens_with: dict[str, dict[str, list[AllowingRule]]]
    cut_short: bool
    next_cursor: str | None = None


class Decision(ApiResult):
    """A recorded decision; `record` is what was sealed, `position` its place in the log, None until sealed. `names` are
    the present names in it, by id, if they were asked for."""

    id: str
    kind: str
    at: datetime
    position: int | None
    leaf: str
    record: dict[str, Any]
    names: dict[str, str] | None = None


class OwnDecision(ApiResult, kw_only=True):
    """A decision about what the caller asked for (`by_you`), or what others asked for of theirs. `resource` is None for
    a list. `because` and `missing` explain it where one decision was read. `reason` is None for refusals whose reason
    is not the caller's to know."""

    id: str
    decided_at: datetime
    by_you: bool
    person: str | None
    client: str
    actors: list[str]
    action: str
    kind: str
    resource: str | None
    owner: str | None
    state: str | None
    outcome: Literal["allow", "deny"]
    applied: bool | None
    not_applied_because: str | None
    reason: str | None
    rules: list[str]
    on_behalf_of: str | None
    policy_version: int
    names: dict[str, str] | None = None
    because: str | None = None
    missing: list[str] = []


class PolicyVersion(ApiResult, kw_only=True):
    """A policy version; `state` is proposed, active or retired. `warnings` come with a proposal."""

    number: int
    digest: str
    parent: int | None
    message: str
    state: str
    active: bool
    proposed_at: datetime
    warnings: list[dict[str, Any]] = msgspec.field(default_factory=list)


class PolicyTexts(PolicyVersion, kw_only=True):
    """A version with its files; `cases` maps file names to texts."""

    model: str
    rules: str
    vocabulary: str
    cases: dict[str, str]


class Replay(ApiResult, kw_only=True):
    """Recorded requests evaluated again under a version; without one, each under the version that decided it. `state`
    is queued, running, done, failed or cancelled; `progress` goes from 0 to 1. `result` is None in a list."""

    id: str
    version: int | None
    state: str
    progress: float
    filters: dict[str, Any]
    asked_at: datetime
    ended_at: datetime | None
    problem: str | None
    asked_by: str | None = None
    asked_by_client: str = ""
    names: dict[str, str] | None = None
    result: dict[str, Any] | None = None


class Explanation(ApiResult):
    """The explanation of a decision: the rules that decided, or near misses with their missing conditions. `facts` are
    those with an expression, with the values that it saw; `actors` acted for the caller."""

    decision: str
    policy_version: int
    outcome: str
    reason: str
    because: str
    rules: list[dict[str, Any]]
    near_misses: list[dict[str, Any]]
    scopes: list[str]
    actors: list[str] = []
    facts: list[dict[str, Any]] = []
