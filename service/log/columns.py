"""The search copies of a record: fixed paths into its body, nothing else. Pure.

A verifier recomputes them from the bytes with `columns`, so that editing what people search by is found out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

Column: TypeAlias = "UUID | datetime | str | int | bool | list[str] | list[UUID] | None"

# RFC 3339, UTC, exactly six digits: one way to write a time, so that equal times are equal bytes.
MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")

# A btree entry may hold some 2,700 bytes; a longer word would be refused by the index in the middle of a flush.
LONGEST_WORD = 300
LARGEST_INTEGER = 2**31 - 1


def columns(body: Mapping[str, object]) -> dict[str, Column]:
    """What the log's table keeps beside the body, by column name. Missing members give None or an empty list.

    Raises ValueError, naming the path, where a member is not what its column can hold.
    """
    return {
        "decision_uid": _uuid(body, "decision"),
        "decided_at": _moment(body, "decided_at"),
        "person_id": _uuid(body, "principal.person"),
        "client_id": _word(body, "principal.client"),
        "action": _word(body, "action"),
        "resource_kind": _word(body, "resource.kind"),
        "resource_id": _word(body, "resource.id"),
        "owner_id": _uuid(body, "resource.owner"),
        "outcome": _outcome(body),
        "applied": _flag(body, "applied"),
        "reason": _word(body, "reason"),
        "rules": [_checked_word("rules", one) for one in _list(body, "rules")],
        "policy_version": _number(body, "policy.version"),
        "request_id": _word(body, "request.id"),
        "returned": [_checked_uuid("returned", one) for one in _list(body, "returned")],
    }


def moment(time: datetime) -> str:
    """A UTC time as every record writes it, for example 2026-03-02T09:30:00.000000Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def _at(body: Mapping[str, object], path: str) -> object:
    found: object = body
    for name in path.split("."):
        if found is None:
            return None
        if not isinstance(found, Mapping):
            raise ValueError(f"{path}: {name} has no parent to be in")  # noqa: TRY004 - one error for all
        found = found.get(name)
    return found


def _word(body: Mapping[str, object], path: str) -> str | None:
    found = _at(body, path)
    return None if found is None else _checked_word(path, found)


def _checked_word(path: str, found: object) -> str:
    if not isinstance(found, str) or len(found) > LONGEST_WORD:
        raise ValueError(f"{path} is not a string of at most {LONGEST_WORD} characters")
    return found


def _uuid(body: Mapping[str, object], path: str) -> UUID | None:
    found = _at(body, path)
    return None if found is None else _checked_uuid(path, found)


def _checked_uuid(path: str, found: object) -> UUID:
    try:
        read = UUID(str(found))
    except ValueError:
        read = None
    if read is None or str(read) != found:
        raise ValueError(f"{path} is not a UUID in its usual form")
    return read


def _moment(body: Mapping[str, object], path: str) -> datetime | None:
    found = _at(body, path)
    if found is None:
        return None
    if not isinstance(found, str) or not MOMENT.fullmatch(found):
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
    if isinstance(found, bool) or not isinstance(found, int) or abs(found) > LARGEST_INTEGER:
        raise ValueError(f"{path} is not an integer that Postgres can hold")
    return found


def _list(body: Mapping[str, object], path: str) -> Sequence[object]:
    found = _at(body, path)
    if found is None:
        return []
    if not isinstance(found, list):
        raise ValueError(f"{path} is not a list")  # noqa: TRY004 - as above
    return found
