"""Records as OCSF events: class API Activity (6003) of version 1.7.0, which is pinned. Pure: owns no state.

OCSF has no class for authorization decisions: outcome and rules go into `action_id` and `authorizations`, members
without a counterpart into `unmapped`. An event holds what its record holds, so ids and no names.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from service import VERSION
from service.audit.sealed_rows import MISSING
from service.log.columns import TIME_PATTERN, format_time
from service.log.record import DAMAGED, read_body
from service.log.sql_times import EPOCH

if TYPE_CHECKING:
    from service.audit.sealed_rows import SealedRow

OCSF_VERSION = "1.7.0"
CATEGORY, CLASS = 6, 6003
CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
ACTIVITIES = {"create": CREATE, "upload": CREATE, "read": READ, "simulate": READ, "delete": DELETE}
ALLOWED, DENIED, UNKNOWN = 1, 2, 0
SUCCESS, FAILURE = 1, 2
INFORMATIONAL, LOW = 1, 2
USER, SYSTEM = 1, 3
METHODS = frozenset({"OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"})
PRODUCT = "timewarden"
MISSING_RECORD = "The record of this position is missing; a proof bundle shows what was sealed"


def encode_line(row: SealedRow) -> bytes:
    """An export row as a line of JSON."""
    if row.missing:
        return msgspec.json.encode(_placeholder(row, MISSING_RECORD, MISSING)) + b"\n"
    try:
        return msgspec.json.encode(event(row)) + b"\n"
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError):
        # The record's bytes were altered and cannot be read.
        return msgspec.json.encode(_placeholder(row, DAMAGED["damaged"], str(row.columns["kind"]))) + b"\n"


def _placeholder(row: SealedRow, message: str, kind: str) -> dict[str, Any]:
    decided = str(row.columns["decided_at"])
    time = decided if TIME_PATTERN.fullmatch(decided) else format_time(EPOCH)
    uid = row.uid or str(UUID(int=0))
    found = event(replace(row, body=msgspec.json.encode({"kind": kind, "uid": uid, "decided_at": time})))
    return {**found, "message": message, "status_id": FAILURE}


def event(row: SealedRow) -> dict[str, Any]:
    """A record as an OCSF event. The row must have a body."""
    body: dict[str, Any] = read_body(row.body or b"{}")
    action, client = body.get("action"), _member(body, "principal", "client")
    activity = OTHER if action is None else ACTIVITIES.get(action, UPDATE)
    # A list is a read, even if its rules are for another action.
    activity = READ if _member(body, "asked", "about") == "list" else activity
    denied = body.get("outcome") == "deny"
    request = _member(body, "request", "id")
    found = {
        "activity_id": activity,
        "category_uid": CATEGORY,
        "class_uid": CLASS,
        "type_uid": CLASS * 100 + activity,
        "severity_id": LOW if denied else INFORMATIONAL,
        "time": int(datetime.fromisoformat(body["decided_at"]).timestamp() * 1000),
        "time_dt": body["decided_at"],
        "status_id": FAILURE if denied or body.get("applied") is False else SUCCESS,
        "status_code": body.get("reason"),
        "status_detail": body.get("not_applied_because"),
        "action_id": DENIED if denied else ALLOWED if "outcome" in body or "change" in body else UNKNOWN,
        "actor": _actor(_member(body, "principal", "person"), client),
        "api": _drop_none(
            {
                "operation": action or body.get("event") or body["kind"],
                "request": {"uid": request} if request else None,
                "service": {"name": PRODUCT, "version": VERSION},
            }
        ),
        "http_request": {"http_method": method} if (method := _member(body, "request", "method")) in METHODS else None,
        "src_endpoint": {"svc_name": client or PRODUCT},
        "resources": _resources(body),
        "authorizations": _authorizations(body),
        "metadata": _metadata(row, body),
        "unmapped": {"kind": body["kind"], "leaf": (row.leaf or b"").hex(), "route": _member(body, "request", "route")},
    }
    return _drop_none(found)


def _actor(person: str | None, client: str | None) -> dict[str, Any]:
    if person is None and client is None:
        return {"app_name": PRODUCT}
    user = {"uid": person or client, "type_id": USER if person else SYSTEM}
    return _drop_none({"user": user, "app_uid": client})


def _resources(body: dict[str, Any]) -> list[dict[str, Any]]:
    resource, listed = body.get("resource") or {}, body.get("returned") or []
    version, owner = resource.get("version"), resource.get("owner")
    first = {
        "uid": resource.get("id"),
        "name": resource.get("id") or resource.get("kind"),
        "type": resource.get("kind"),
        "owner": {"uid": owner} if owner else None,
        "version": None if version is None else str(version),
    }
    return [*([_drop_none(first)] if resource else []), *({"uid": uid} for uid in listed)]


def _authorizations(body: dict[str, Any]) -> list[dict[str, Any]] | None:
    if "outcome" not in body:
        return None
    version = _member(body, "policy", "version")
    shared = {"type": "casbin", "version": None if version is None else str(version)}
    rules = body.get("rules") or [None]
    return [
        {"decision": body["outcome"], "policy": _drop_none({"name": rule, "uid": rule, **shared})} for rule in rules
    ]


def _metadata(row: SealedRow, body: dict[str, Any]) -> dict[str, Any]:
    return _drop_none(
        {
            "version": OCSF_VERSION,
            "profiles": ["security_control", "datetime"],
            "product": {"name": "Timewarden", "vendor_name": "Timewarden", "version": VERSION},
            "log_name": "audit",
            "uid": body["uid"],
            "original_event_uid": body["uid"],
            "correlation_uid": body.get("decision"),
            "sequence": row.position,
            "event_code": _member(body, "change", "type") or body.get("event"),
        }
    )


def _member(body: dict[str, Any], name: str, member: str) -> Any:
    found = body.get(name)
    return found.get(member) if isinstance(found, dict) else None


def _drop_none(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}
