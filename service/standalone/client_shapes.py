"""What Timewarden answers, as types: shapes and receipts. Part of `client`, which offers all of it. Pure."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import msgspec


class Receipt(msgspec.Struct, frozen=True):
    """What proves an answer: the id of its recorded decision and the hash of that record. Keep them, and the log cannot
    leave the decision out unnoticed. Both are None where nothing was decided."""

    status: int
    decision: str | None = None
    leaf: str | None = None
    request_id: str | None = None


class Answered(msgspec.Struct, kw_only=True):
    """Whatever is answered, with its receipt; items of a page have the page's. Members that are new are ignored."""

    receipt: Receipt = msgspec.field(default=Receipt(0), name="-")


class Versioned(Answered, kw_only=True):
    """Something whose version is its ETag: changes are made to the `version` that was read. Items of a list have none:
    read the one that is to be changed."""

    version: int | None = None


class Entry(msgspec.Struct):
    """An entry of a sheet."""

    id: str
    day: date
    project: str
    minutes: int
    note: str | None = None
    external_ref: str | None = None


class Timesheet(Answered):
    """A person's week as it was read. Changes are made to this `version` and no other: If-Match is sent from it.
    `submitted_at` and `decided_at`: when it was last handed in, and approved or rejected; `decided_by`: by whom."""

    id: str
    owner: str
    period_start: date
    period_end: date
    time_zone: str
    state: str
    version: int
    minutes: int
    reason: str | None
    created_at: datetime
    updated_at: datetime
    entries: list[Entry]
    submitted_at: datetime | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None
    actions: list[str] | None = None


class Me(Answered):
    """Who the token says one is. `may` holds, for each kind and action, whether this token could."""

    kind: str
    person: str | None
    client: str
    scopes: list[str]
    roles: list[str]
    teams_led: list[dict[str, str]]
    may: list[dict[str, Any]]
    policy_version: int


class UploadRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A day's minutes of somebody; (owner, day, project, external_ref) names it, so that sending it twice is once."""

    owner: str
    day: date
    project: str
    minutes: int
    external_ref: str
    note: str | None = None
    time_zone: str | None = None


class RowProblem(msgspec.Struct):
    """Why a row was refused: the slug of the problem, a sentence, and the field if one is to blame."""

    problem: str
    reason: str
    field: str | None = None


class RowOutcome(msgspec.Struct):
    """What became of a row: `created`, `updated`, `unchanged` or `refused`. `line` is where it begins in a file."""

    row: int
    outcome: str
    line: int | None = None
    timesheet: str | None = None
    entry: str | None = None
    problems: list[RowProblem] = msgspec.field(default_factory=list)


class Uploaded(Answered, kw_only=True):
    """Every row's outcome, how many had which, and a decision for each sheet with the leaf hash of its record."""

    rows: list[RowOutcome]
    decisions: list[str]
    leaves: list[str] = msgspec.field(default_factory=list)
    dry_run: bool = False
    counts: dict[str, int] = msgspec.field(default_factory=dict)


class Waiting(Answered, kw_only=True):
    """A sheet that the caller may approve, its owner's name, and by which relations, such as `delegate`."""

    timesheet: Timesheet
    waiting_since: datetime
    as_: list[str] = msgspec.field(name="as")
    rules: list[str] = msgspec.field(default_factory=list)
    owner_name: str | None = None


class ItemResult(msgspec.Struct):
    """What became of a sheet in a batch. `problem` has the type, title, status and detail of what refused it."""

    id: str
    status: int
    version: int | None
    state: str | None
    decision_id: str
    decision_leaf: str
    problem: dict[str, Any] | None


class Batch(Answered):
    """How many sheets changed, and what became of each."""

    changed: int
    items: list[ItemResult]


class Reminded(Answered):
    """Of how many weeks an event was published; with `more`, ask again for the rest."""

    reminded: int
    more: bool


class Total(msgspec.Struct):
    """Minutes of one person, project, team or week, by its `key`, and in how many sheets. `name` is a team's."""

    key: str | None
    name: str | None
    minutes: int
    sheets: int


class HoursReport(Answered):
    """Totals of the days from `since` to `until`; `minutes` and `sheets` of the whole, each counted once."""

    by: str
    since: date
    until: date
    minutes: int
    sheets: int
    items: list[Total]


class Way(msgspec.Struct):
    """By which `rule`, with which `scope` (None: any token), and what must be known of the sign-in."""

    rule: str
    scope: str | None
    sign_in: list[str]


class Somebody(msgspec.Struct):
    """A person, or a client for itself, what they are to a sheet, and for each action the ways in which they may."""

    person: str | None
    client: str | None
    relations: list[str]
    may: dict[str, list[Way]]


class Access(Answered, kw_only=True):
    """Who may do what to a sheet in its `state`, under the policy `version`; `whoever` brings a word that a rule names,
    such as `role:auditor`. `cut_short`: there are more ways than were told."""

    timesheet: str
    state: str
    version: int
    items: list[Somebody]
    whoever: dict[str, dict[str, list[Way]]]
    cut_short: bool
    next_cursor: str | None = None


class Decision(Answered):
    """A recorded decision; `record` is what was sealed, `position` its place in the log, None until sealed."""

    id: str
    kind: str
    at: datetime
    position: int | None
    leaf: str
    record: dict[str, Any]


class PolicyVersion(Answered, kw_only=True):
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
    """A version with the texts of its files; `cases` is file name to text."""

    model: str
    rules: str
    vocabulary: str
    cases: dict[str, str]


class Replay(Answered, kw_only=True):
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
    result: dict[str, Any] | None = None


class Explanation(Answered):
    """Why a decision is what it is: the rules that decided, or those that would have allowed and what each missed."""

    decision: str
    policy_version: int
    outcome: str
    reason: str
    because: str
    rules: list[dict[str, Any]]
    near_misses: list[dict[str, Any]]
    scopes: list[str]
