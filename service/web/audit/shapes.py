"""The response bodies of the log's routes. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from service.log.record import Kind
from service.web.http.parameters import fields_parameter, pick_fields
from service.web.http.responses import (
    EXAMPLE_DECISION,
    EXAMPLE_ID,
    EXAMPLE_PERSON,
    Hex,
    Id,
    Names,
    NextCursor,
    TimeText,
    names_body,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.audit.search import LoggedRecord
    from service.audit.summary import Summary

# Examples for the OpenAPI document.
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
        str, Meta(description="The kind of the record", examples=["decision"], extra_json_schema={"enum": list(Kind)})
    ]
    at: Annotated[
        TimeText,
        Meta(
            description="When Postgres stored it. Not proved; `decided_at` in the record is",
            examples=["2026-11-30T09:00:00.125000Z"],
        ),
    ]
    position: Annotated[
        int | None, Meta(description="Its position in the sealed log; null until it is sealed", examples=[7])
    ]
    leaf: Annotated[Hex, Meta(description="The leaf hash, as returned with the decision")]
    # The stored bytes, which are JSON already.
    record: Annotated[
        msgspec.Raw,
        Meta(
            description="The sealed record: the request, the facts, the outcome and its rules; or a change with the"
            " state before and after",
            examples=[EXAMPLE],
            extra_json_schema={"type": "object"},
        ),
    ]
    texts: Annotated[
        dict[str, str] | None,
        Meta(
            description="The free texts that the record commits to; null in lists",
            examples=[None],
        ),
    ] = None
    erased: Annotated[
        list[str] | None,
        Meta(description="The names of texts that were erased; null in lists", examples=[None]),
    ] = None
    # Names are today's, and not proved.
    names: Names = msgspec.UNSET


class RecordPage(msgspec.Struct):
    """A page of records, newest first unless `order` says otherwise."""

    items: Annotated[list[RecordBody], Meta(description="The records of this page")]
    next_cursor: NextCursor


RecordFields = Annotated[list[str] | None, fields_parameter(RecordBody)]


class SummaryBody(msgspec.Struct):
    """Counts of decisions."""

    since: Annotated[
        TimeText,
        Meta(
            description="Decided at this time or later. Later than the query's `since` if more than 200,000 decisions"
            " match: then the newest are counted"
        ),
    ]
    until: Annotated[TimeText, Meta(description="Decided before this time", examples=["2026-11-24T09:00:00Z"])]
    total: Annotated[int, Meta(description="The total", ge=0, examples=[7])]
    day: Annotated[dict[str, int], Meta(description="By UTC date", examples=[{"2026-11-23": 7}])]
    denied: Annotated[dict[str, int], Meta(description="The denials by UTC date", examples=[{"2026-11-23": 7}])]
    action: Annotated[dict[str, int], Meta(description="By action", examples=[{"approve": 7}])]
    outcome: Annotated[dict[str, int], Meta(description="By outcome", examples=[{"deny": 7}])]
    applied: Annotated[
        dict[str, int],
        Meta(
            description="By whether the change was applied, `true` or `false`; reads and lists count under neither",
            examples=[{"false": 7}],
        ),
    ]
    reason: Annotated[dict[str, int], Meta(description="By reason", examples=[{"deny-rule": 7}])]


def record_body(record: LoggedRecord, *, texts: bool) -> RecordBody:
    """The response body of a record, with or without its texts."""
    body = RecordBody(
        str(record.uid),
        record.kind,
        record.at,
        record.position,
        record.leaf,
        msgspec.Raw(record.json),
        names=names_body(record.names),
    )
    if texts:
        body.texts = dict(record.texts)
        body.erased = sorted(record.committed - record.texts.keys())
    return body


def record_page(
    records: Sequence[LoggedRecord],
    next_cursor: str | None,
    fields: frozenset[str] | None = None,
    *,
    texts: bool = False,
) -> RecordPage:
    """The response body of a page of records, with all members or only these."""
    return RecordPage(pick_fields([record_body(record, texts=texts) for record in records], fields), next_cursor)


def summary_body(summary: Summary, since: str, until: str) -> SummaryBody:
    """The response body of a summary."""
    return SummaryBody(since=since, until=until, total=summary.total, **summary.facets)
