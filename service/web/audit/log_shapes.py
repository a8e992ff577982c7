"""How records of the log look in answers. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from service.log.record import Kind
from service.web.http.responses import EXAMPLE_DECISION, EXAMPLE_ID, EXAMPLE_PERSON, Hex, Id, NextCursor, TimeText

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.audit.search import Logged
    from service.audit.summary import Summary

# A checkpoint and hashes as they look, for the OpenAPI document.
HASH: Final = "mVgDLHXeFRSp8KJCnzbHiSIeRpy8wKCyIVVwmQf1IbA="
CHECKPOINT: Final = (
    f"timesheets.example.com/audit/2026a\n157\n{HASH}\n\n\u2014 timesheets.example.com/audit/2026a"
    " An2YWub5k0k/Ty5Pg2CnCzHXQ08DSKL8keBvgHMW2isv43CDEGVa7FfyLPb+teZjK+nOnRpvgj1A+E5ufC4MrWWCIgQ=\n"
)
EXAMPLE: Final = {
    "v": 1,
    "uid": EXAMPLE_DECISION,
    "kind": "decision",
    "action": "approve",
    "outcome": "deny",
    "reason": "deny-rule",
    "rules": ["never-own-hours"],
    "principal": {"kind": "user", "person": EXAMPLE_PERSON, "client": "hours-app"},
    "resource": {"kind": "timesheet", "id": EXAMPLE_ID, "owner": EXAMPLE_PERSON, "state": "submitted", "version": 3},
}


class RecordBody(msgspec.Struct):
    """A record of the log."""

    id: Annotated[Id, Meta(description="The record's id", examples=[EXAMPLE_DECISION])]
    kind: Annotated[
        str, Meta(description="What it tells of", examples=["decision"], extra_json_schema={"enum": list(Kind)})
    ]
    at: Annotated[
        TimeText,
        Meta(
            description="When Postgres took it. Nothing proves it; `decided_at` in the record is proved",
            examples=["2026-11-30T09:00:00.125000Z"],
        ),
    ]
    position: Annotated[
        int | None, Meta(description="Its place in the sealed log; null until it is sealed", examples=[7])
    ]
    leaf: Annotated[Hex, Meta(description="The leaf hash that was answered")]
    record: Annotated[
        dict[str, Any],
        Meta(
            description="What was sealed: who asked for what, everything that was known, the outcome and its rules; or"
            " what changed, before and after",
            examples=[EXAMPLE],
        ),
    ]
    names: Annotated[
        dict[str, str],
        Meta(
            description="What its people are called now, by their ids. Nothing proves these",
            examples=[{EXAMPLE_PERSON: "Ana Lima"}],
        ),
    ]
    texts: Annotated[
        dict[str, str] | None,
        Meta(
            description="The free texts that the record commits to; null in a page that leaves them out",
            examples=[None],
        ),
    ] = None
    erased: Annotated[
        list[str] | None,
        Meta(
            description="The names of those texts that are erased; null in a page that leaves them out", examples=[None]
        ),
    ] = None


class RecordPage(msgspec.Struct):
    """Records, newest first unless the oldest were asked for."""

    items: Annotated[list[RecordBody], Meta(description="The records of this page")]
    next_cursor: NextCursor


class SummaryBody(msgspec.Struct):
    """How many decisions there were."""

    since: Annotated[TimeText, Meta(description="Decided at this time or later")]
    until: Annotated[TimeText, Meta(description="Decided before this time", examples=["2026-11-24T09:00:00Z"])]
    total: Annotated[int, Meta(description="How many in all", ge=0, examples=[7])]
    day: Annotated[dict[str, int], Meta(description="By UTC date", examples=[{"2026-11-23": 7}])]
    action: Annotated[dict[str, int], Meta(description="By action", examples=[{"approve": 7}])]
    outcome: Annotated[dict[str, int], Meta(description="By outcome", examples=[{"deny": 7}])]
    applied: Annotated[
        dict[str, int],
        Meta(
            description="By whether the change took place, `true` or `false`; reads and lists count under neither",
            examples=[{"false": 7}],
        ),
    ]
    reason: Annotated[dict[str, int], Meta(description="By reason", examples=[{"deny-rule": 7}])]


def record_body(logged: Logged, names: Mapping[str, str], *, texts: bool) -> RecordBody:
    """A record as it is answered, with its texts or without."""
    body = RecordBody(
        str(logged.uid), logged.kind, logged.at, logged.position, logged.leaf, logged.body, _mentioned(logged, names)
    )
    if texts:
        committed = logged.body.get("commitments")
        body.texts = dict(logged.texts)
        body.erased = sorted(set(committed) - set(logged.texts)) if isinstance(committed, dict) else []
    return body


def record_page(
    found: Sequence[Logged], names: Mapping[str, str], following: str | None, *, texts: bool = False
) -> RecordPage:
    """A page of records."""
    return RecordPage([record_body(one, names, texts=texts) for one in found], following)


def summary_body(counted: Summary, since: str, until: str) -> SummaryBody:
    """Counts as they are answered."""
    return SummaryBody(since=since, until=until, total=counted.total, **counted.facets)


def _mentioned(logged: Logged, names: Mapping[str, str]) -> dict[str, str]:
    """Of the page's names those in this record."""
    parts = (logged.body.get("principal"), logged.body.get("resource"))
    ids = {value for part in parts if isinstance(part, dict) for value in part.values() if isinstance(value, str)}
    return {person: name for person, name in names.items() if person in ids}
