"""Examples of answers whose fields must fit each other: whoever was refused has no new version, a deputy is somebody
else. Pure: owns no state.

By the name of the shape; what stands here goes before what `documented_shapes` would put together. The tests hold each
to its schema, and to what the running service answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from service.web.openapi.documented_files import DIGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANA: Final = "0198c0de-0000-7000-8000-000000000001"
_MIA: Final = "0198c0de-0000-7000-8000-000000000002"
_CARL: Final = "0198c0de-0000-7000-8000-000000000003"
_SHEET: Final = "0198c0de-4f2a-7000-8000-00000000002a"
_ENTRY: Final = "0198c0de-4f2a-7000-8000-00000000002b"
_DECISION: Final = "0198c0de-4f2b-7000-8000-00000000002c"
_CHANGED: Final = "2026-11-30T09:00:00.125000Z"
_NO_SHEET: Final = "There is no such resource, or it is not for you to know"
_NEVER_OWN: Final = "p, deny, owner, approve, any, timesheet, any, always, never-own-hours"
_REPORTED: Final = "p, allow, role:auditor, read, any, timesheet, read:timesheets, always, read-auditor"

_ENTRY_OF_ANA: Final = {
    "id": _ENTRY,
    "day": "2026-11-23",
    "project": "ATLAS",
    "minutes": 450,
    "note": "Design",
    "external_ref": None,
}
_SHEET_OF_ANA: Final = {
    "id": _SHEET,
    "owner": _ANA,
    "period_start": "2026-11-23",
    "period_end": "2026-11-29",
    "time_zone": "Europe/Berlin",
    "state": "submitted",
    "version": 3,
    "minutes": 450,
    "reason": None,
    "created_at": "2026-11-23T09:00:00.250000Z",
    "updated_at": _CHANGED,
    "submitted_at": _CHANGED,
    "decided_at": None,
    "decided_by": None,
    "entries": [_ENTRY_OF_ANA],
}
_MAY_APPROVE: Final = {"rule": "approve-team", "scope": "approve:timesheets", "sign_in": []}
_MISSING: Final = {"condition": "who", "wanted": "manager", "sentence": "you do not lead this person's team"}
_ROW: Final = {"row": 0, "line": 2, "outcome": "created", "timesheet": _SHEET, "entry": _ENTRY}
_ROW_PROBLEM: Final = {
    "problem": "invalid-field",
    "reason": "must be a whole number from 1 to 1440",
    "field": "minutes",
}
_COMPLAINT: Final = {
    "file": "policy.csv",
    "line": 12,
    "column": 1,
    "message": "read:timesheet is no scope",
    "suggestion": "read:timesheets",
}
_COUNTED: Final = {"change": "allow_to_deny", "by": "rule", "word": "read-auditor", "count": 1}
_FLIPPED: Final = {
    "change": "allow_to_deny",
    "decision": _DECISION,
    "subject": _ANA,
    "action": "read",
    "kind": "timesheet",
    "was": "allowed by read-auditor",
    "now": "no-rule",
}

WHOLE: Final[Mapping[str, Any]] = {
    "EntryBody": _ENTRY_OF_ANA,
    "SheetBody": _SHEET_OF_ANA,
    "ApprovalBody": {
        "timesheet": _SHEET_OF_ANA,
        "waiting_since": _CHANGED,
        "owner_name": "Ana Lima",
        "as": ["manager"],
        "rules": ["approve-team"],
    },
    "WayBody": _MAY_APPROVE,
    "SomebodyBody": {"person": _MIA, "client": None, "relations": ["manager"], "may": {"approve": [_MAY_APPROVE]}},
    "AccessBody": {
        "timesheet": _SHEET,
        "state": "submitted",
        "version": 1,
        "items": [{"person": _MIA, "client": None, "relations": ["manager"], "may": {"approve": [_MAY_APPROVE]}}],
        "whoever": {
            "role:auditor": {"read": [{"rule": "read-auditor", "scope": "read:timesheets", "sign_in": []}]},
        },
        "cut_short": False,
        "next_cursor": None,
    },
    "ItemProblem": {"type": "urn:timewarden:problem:not-found", "title": _NO_SHEET, "status": 404, "detail": _NO_SHEET},
    "ItemResult": {
        "id": _SHEET,
        "status": 200,
        "version": 4,
        "state": "approved",
        "decision_id": _DECISION,
        "decision_leaf": DIGEST,
        "problem": None,
    },
    "TotalBody": {"key": "ATLAS", "name": None, "minutes": 930, "sheets": 2},
    "HoursReport": {
        "by": "project",
        "since": "2026-11-23",
        "until": "2026-11-29",
        "minutes": 930,
        "sheets": 2,
        "items": [{"key": "ATLAS", "name": None, "minutes": 930, "sheets": 2}],
    },
    "RowProblem": _ROW_PROBLEM,
    "RowOutcome": _ROW,
    "Counts": {"created": 1, "updated": 0, "unchanged": 0, "refused": 1},
    "Uploaded": {
        "dry_run": False,
        "counts": {"created": 1, "updated": 0, "unchanged": 0, "refused": 1},
        "decisions": [_DECISION],
        "leaves": [DIGEST],
        "rows": [_ROW, {"row": 1, "line": 3, "outcome": "refused", "problems": [_ROW_PROBLEM]}],
    },
    "ImportedRow": {"row": 0, "line": 2, "record": "team", "outcome": "created"},
    "Imported": {
        "dry_run": False,
        "created": 1,
        "updated": 0,
        "unchanged": 0,
        "rows": [{"row": 0, "line": 2, "record": "team", "outcome": "created"}],
    },
    "DeputyBody": {
        "id": "0198c0de-4f2c-7000-8000-00000000002d",
        "manager": _MIA,
        "deputy": _CARL,
        "valid_from": "2026-12-21T00:00:00Z",
        "valid_to": "2027-01-04T00:00:00Z",
    },
    "May": {
        "kind": "timesheet",
        "action": "approve",
        "may": "depends",
        "as": ["deputy", "fallback", "manager"],
        "states": ["submitted"],
        "scopes": [],
    },
    "Part": {"name": "database", "ready": True, "needed": True, "detail": "answers"},
    "Live": {"status": "live"},
    "Problem": {
        "type": "urn:timewarden:problem:invalid-field",
        "title": "A field of the request is not valid",
        "status": 422,
        "detail": "minutes: must be a whole number from 1 to 1440",
        "fields": [{"field": "minutes", "message": "must be a whole number from 1 to 1440"}],
        "request_id": "0198c0de-4f2e-7000-8000-00000000002f",
    },
    "WrongField": {"field": "minutes", "message": "must be a whole number from 1 to 1440"},
    "PolicyComplaint": _COMPLAINT,
    "ErasureBody": {
        "person": _CARL,
        "dry_run": False,
        "links": 1,
        "texts": 4,
        "notes": 2,
        "sheets": 1,
        "hold": None,
        "waiting": [],
    },
    "RevocationBody": {
        "id": "0198c0de-4f2d-7000-8000-00000000002e",
        "what": "person",
        "issuer": None,
        "token_id": None,
        "person": _CARL,
        "client": None,
        "issued_before": _CHANGED,
        "expires_at": "2026-12-01T09:00:30.125000Z",
        "revoked_at": _CHANGED,
    },
    "ExplainedRow": {"rule": "never-own-hours", "effect": "deny", "line": 31, "text": _NEVER_OWN},
    "ExplanationBody": {
        "decision": _DECISION,
        "policy_version": 1,
        "outcome": "deny",
        "reason": "deny-rule",
        "because": "A rule of the policy denied this, whatever others allowed",
        "rules": [{"rule": "never-own-hours", "effect": "deny", "line": 31, "text": _NEVER_OWN}],
        "near_misses": [],
        "scopes": [],
    },
    "SimulationBody": {
        "verdict": "deny",
        "reason": "deny-rule",
        "rules": ["never-own-hours"],
        "near_misses": [{"rule": "approve-team", "conditions": [["who", "manager"]]}],
        "more_near_misses": 0,
        "denied_because": [{"rule": "never-own-hours", "conditions": [["who", "owner"]]}],
        "told": ["these are your own hours"],
        "version": 1,
        "digest": "1c9a6f0e2d4b8a7c5e3f1d0b9a8c7e6f5d4c3b2a190817263544536271809fae",
        "state": "submitted",
        "relations": ["owner"],
        "facts": {"acted_for_owner": False, "mfa": False, "recent_sign_in": True},
        "assumed": ["the token is valid and was not revoked"],
    },
    "Counted": _COUNTED,
    "Changed": _FLIPPED,
    "ReplayResult": {
        "decided": 107,
        "undecidable": 0,
        "same": 106,
        "allow_to_deny": 1,
        "deny_to_allow": 0,
        "other_reason": 0,
        "other_rules": 0,
        "groups": [_COUNTED],
        "examples": [_FLIPPED],
    },
    "RowChangeBody": {"change": "added", "name": "read-auditor", "line": 85, "before": None, "after": _REPORTED},
    "ChangedVerdictBody": {
        "sentence": "somebody with the role auditor and read:timesheets may now read a timesheet in any state",
        "kind": "timesheet",
        "action": "read",
        "allowed": True,
        "who": ["role:auditor"],
        "scopes": ["read:timesheets"],
        "states": ["approved", "draft", "locked", "rejected", "submitted"],
        "facts": {},
    },
    "CaseChangeBody": {"change": "added", "name": "auditors read every sheet", "file": "audit.yaml", "line": 31},
    "RecordBody": {
        "id": _DECISION,
        "kind": "decision",
        "at": _CHANGED,
        "position": 7,
        "leaf": DIGEST,
        "record": {
            "v": 1,
            "uid": _DECISION,
            "kind": "decision",
            "action": "approve",
            "outcome": "deny",
            "reason": "deny-rule",
            "rules": ["never-own-hours"],
            "principal": {"kind": "user", "person": _ANA, "client": "hours-app"},
            "resource": {"kind": "timesheet", "id": _SHEET, "owner": _ANA, "state": "submitted", "version": 3},
        },
        "names": {_ANA: "Ana Lima"},
        "texts": None,
        "erased": None,
    },
}
