"""The search copies of a record: columns that repeat members of its body. Pure.

A verifier recomputes them from the bytes, so that an altered search column is detected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from service.ids import read_id

if TYPE_CHECKING:
    from uuid import UUID

Column: TypeAlias = "UUID | datetime | str | int | bool | list[str] | list[UUID] | None"

# RFC 3339, UTC, exactly six digits: one spelling, so that equal times are equal bytes.
TIME_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")

# A btree entry may hold some 2,700 bytes. A longer word would fail in the index, in the middle of a flush.
MAX_WORD_CHARS = 300
# The columns that hold one word.
WORDS = ("client_id", "action", "resource_kind", "resource_id", "reason", "request_id")
MAX_INTEGER = 2**31 - 1


def search_columns(body: Mapping[str, object]) -> dict[str, Column]:
    """The values of the search columns, by name. A missing member gives None or an empty list.

    Raises ValueError, which names the path, for a member that its column cannot hold.
    """
    return {
        "decision_uid": _uuid(body, "decision"),
        "decided_at": _time(body, "decided_at"),
        "person_id": _uuid(body, "principal.person"),
        "client_id": _word(body, "principal.client"),
        "action": _word(body, "action"),
        "resource_kind": _word(body, "resource.kind"),
        "resource_id": _word(body, "resource.id"),
        "owner_id": _uuid(body, "resource.owner"),
        "outcome": _outcome(body),
        "applied": _flag(body, "applied"),
        "reason": _word(body, "reason"),
        "rules": [_check_word("rules", rule) for rule in _list(body, "rules")],
        "policy_version": _number(body, "policy.version"),
        "request_id": _word(body, "request.id"),
        "returned": [_check_uuid("returned", uid) for uid in _list(body, "returned")],
        # NULL for most records, so that they have no entry in its indexes.
        "actors": [_check_word("principal.actors", name) for name in _list(body, "principal.actors")] or None,
    }


def format_time(time: datetime) -> str:
    """A UTC time as every record writes it, for example 2026-03-02T09:30:00.000000Z."""
    return time.isoformat(timespec="microseconds")[:26] + "Z"


def _at(body: Mapping[str, object], path: str) -> object:
    """The member at `path`: a name, or a name in an object."""
    parent, dot, name = path.partition(".")
    found = body.get(parent)
    if not dot or found is None:
        return found
    if type(found) is not dict and not isinstance(found, Mapping):
        raise ValueError(f"{path}: the parent of {name} is not an object")
    return found.get(name)


def _word(body: Mapping[str, object], path: str) -> str | None:
    found = _at(body, path)
    return None if found is None else _check_word(path, found)


def _check_word(path: str, found: object) -> str:
    if not isinstance(found, str) or len(found) > MAX_WORD_CHARS:
        raise ValueError(f"{path} is not a string of at most {MAX_WORD_CHARS} characters")
    return found


def _uuid(body: Mapping[str, object], path: str) -> UUID | None:
    found = _at(body, path)
    return None if found is None else _check_uuid(path, found)


def _check_uuid(path: str, found: object) -> UUID:
    read = read_id(found) if isinstance(found, str) else None
    if read is None or str(read) != found:
        raise ValueError(f"{path} is not a UUID in canonical form")
    return read


def _time(body: Mapping[str, object], path: str) -> datetime | None:
    found = _at(body, path)
    if found is None:
        return None
    if not isinstance(found, str) or not TIME_PATTERN.fullmatch(found):
        raise ValueError(f"{path} is not a UTC time with microseconds")
    return datetime.fromisoformat(found)


def _outcome(body: Mapping[str, object]) -> str | None:
    found = _at(body, "outcome")
    if found not in {None, "allow", "deny"}:
        raise ValueError("outcome is neither allow nor deny")
    return None if found is None else str(found)


def _flag(body: Mapping[str, object], path: str) -> bool | None:
    found = _at(body, path)
    if found is not None and not isinstance(found, bool):
        raise ValueError(f"{path} is not true or false")
    return found


def _number(body: Mapping[str, object], path: str) -> int | None:
    found = _at(body, path)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or abs(found) > MAX_INTEGER:
        raise ValueError(f"{path} is not a 32-bit integer")
    return found


def _list(body: Mapping[str, object], path: str) -> Sequence[object]:
    found = _at(body, path)
    if found is None:
        return []
    if not isinstance(found, list):
        raise ValueError(f"{path} is not a list")  # noqa: TRY004 - callers catch one error
    return found
