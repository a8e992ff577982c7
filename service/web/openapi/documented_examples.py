"""Examples for the fields of answers, by the fields' names, so that every answer in the document shows one. Pure.

Fields of requests say their own, with `msgspec.Meta(examples=[...])`, and so may those of answers: this table is for
names that mean one thing wherever they stand. `Shape.field` goes before `field`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from service.web.openapi.documented_files import CHECKPOINT, DIGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOMEBODY: Final = "0198c0de-0000-7000-8000-000000000001"
_SOMETHING: Final = "0198c0de-4f2a-7000-8000-00000000002a"
_MOMENT: Final = "2026-11-23T09:00:00Z"

NAMED: Final[Mapping[str, Any]] = {
    "activated_at": _MOMENT,
    "activated_by": _SOMEBODY,
    "activated_by_client": "timesheets-cli",
    "asked_at": _MOMENT,
    "asked_by": _SOMEBODY,
    "asked_by_client": "timesheets-cli",
    "author": _SOMEBODY,
    "author_client": "timesheets-cli",
    "authorization_servers": ["https://acme.eu.auth0.com/"],
    "bearer_methods_supported": ["header"],
    "cases": {"timesheets.yaml": "- case: an employee reads their own week\n  ..."},
    "client": "hours-app",
    "code": "ATLAS",
    "condition": "who",
    "conditions": [["who", "manager"]],
    "cut_short": [],
    "detail": "answered in 2 ms",
    "digest": DIGEST,
    "display_name": "Ana Lima",
    "effect": "allow",
    "ended_at": _MOMENT,
    "email": "ana@example.com",
    "field": "minutes",
    "files": ["policy.csv"],
    "id": _SOMETHING,
    "message": "Leads may reopen",
    "model": "[request_definition]\n...",
    "name": "Atlas",
    "next_cursor": "bm90IGEgcmVhbCBvbmU",
    "parent": "0198c0de-0000-7000-8000-000000000006",
    "part": "member",
    "person": _SOMEBODY,
    "proposed_at": _MOMENT,
    "reason": "rule",
    "resource": "https://api.acme.com/timesheets",
    "resource_name": "Timewarden",
    "role": "auditor",
    "rule": "approve-team",
    "scopes": ["approve:timesheets"],
    "scopes_supported": ["read:timesheets", "create:timesheets"],
    "sentence": "you do not lead this person's team",
    "seen_at": _MOMENT,
    "started_at": _MOMENT,
    "status": "ready",
    "team": "0198c0de-0000-7000-8000-000000000007",
    "text": "p, allow, manager, approve, submitted, timesheet, approve:timesheets, always, approve-team",
    "valid_to": "2027-01-01T00:00:00Z",
    "vocabulary": "[kinds.timesheet]\n...",
    "wanted": "manager",
    "words": [],
    "LedTeam.id": "0198c0de-0000-7000-8000-000000000007",
    "Me.kind": "user",
    "PersonBody.id": _SOMEBODY,
    "GrantBody.client": "payroll-import",
    "Me.roles": ["manager"],
    "PolicyDiffBody.against": 1,
    "PolicyDiffBody.number": 2,
    "PolicyDiffBody.same": False,
    "ProposedVersion.activated_at": None,
    "ProposedVersion.activated_by": None,
    "ProposedVersion.activated_by_client": None,
    "ProposedVersion.active": False,
    "ProposedVersion.state": "proposed",
    "ReplayBody.state": "done",
    "ReplayBody.progress": 1.0,
    "ReplayBody.problem": None,
    "ReplayBody.version": 1,
    "PersonBody.merged_into": "0198c0de-0000-7000-8000-000000000009",
    "SignIn.acr_values": "mfa",
    "SignIn.max_age": 900,
    "ReplaySummary.problem": "the version could not be read",
    "ReplaySummary.state": "failed",
    "VersionBody.state": "active",
    "VersionTexts.rules": "p, allow, ...",
    "TeamBody.id": "0198c0de-0000-7000-8000-000000000007",
    "VersionBody.number": 2,
    "VersionBody.parent": 1,
    "BatchResult.changed": 1,
    "ConsistencyBody.hashes": ["3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
    "ConsistencyBody.checkpoint": CHECKPOINT,
    "HoldBody.about": _SOMEBODY,
    "HoldBody.reason": "Labour court, case 12/26",
    "HoldBody.since": _MOMENT,
    "HoldBody.until": "2027-01-01T00:00:00Z",
    "HoldBody.what": "person",
    "ExplainedCondition.sentence": "the caller was not manager of the timesheet",
    "SummaryBody.action": {"approve": 7},
    "SummaryBody.applied": {"false": 7},
    "SummaryBody.day": {"2026-11-23": 7},
    "SummaryBody.outcome": {"deny": 7},
    "SummaryBody.reason": {"deny-rule": 7},
    "SummaryBody.since": _MOMENT,
    "SummaryBody.until": "2026-11-24T09:00:00Z",
}
# Types of which any value says enough.
OF_TYPE: Final[Mapping[type[msgspec.inspect.Type], Any]] = {
    msgspec.inspect.BoolType: True,
    msgspec.inspect.IntType: 7,
    msgspec.inspect.FloatType: 0.5,
    msgspec.inspect.DateType: "2026-11-23",
    msgspec.inspect.DateTimeType: _MOMENT,
}
