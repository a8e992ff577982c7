"""How records of the log look in answers. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.audit.search import Logged
    from service.audit.summary import Summary


class RecordBody(msgspec.Struct):
    """A record. `record` is what was sealed: who asked for what, everything that was known, the outcome and its rules;
    or what changed, before and after. `position` is its place in the sealed log, null until sealed; `leaf` is the hash
    that was answered. `at`: when Postgres took it; nothing proves it, only the `decided_at` in the record. `texts`: the
    free texts that the record commits to, `erased` the names of those that are gone; both are null where a page leaves
    them out. `names`: what its people are called now, by their ids; nothing proves these."""

    id: str
    kind: str
    at: str
    position: int | None
    leaf: str
    record: dict[str, Any]
    names: dict[str, str]
    texts: dict[str, str] | None = None
    erased: list[str] | None = None


class RecordPage(msgspec.Struct):
    """Records, newest first unless the oldest were asked for. `next_cursor` is null on the last page."""

    items: list[RecordBody]
    next_cursor: str | None


class SummaryBody(msgspec.Struct):
    """How many decisions there were from `since` until `until`, in all and by facet. Days are UTC dates. `applied`
    counts changes that took place (`true`) and that did not (`false`); reads and lists stand under neither."""

    since: str
    until: str
    total: int
    day: dict[str, int]
    action: dict[str, int]
    outcome: dict[str, int]
    applied: dict[str, int]
    reason: dict[str, int]


def record_body(one: Logged, names: Mapping[str, str], *, texts: bool) -> RecordBody:
    """A record as it is answered, with its texts or without."""
    body = RecordBody(str(one.uid), one.kind, one.at, one.position, one.leaf, one.body, _mentioned(one, names))
    if texts:
        committed = one.body.get("commitments")
        body.texts = dict(one.texts)
        body.erased = sorted(set(committed) - set(one.texts)) if isinstance(committed, dict) else []
    return body


def record_page(
    found: Sequence[Logged], names: Mapping[str, str], following: str | None, *, texts: bool = False
) -> RecordPage:
    """A page of records."""
    return RecordPage([record_body(one, names, texts=texts) for one in found], following)


def summary_body(counted: Summary, since: str, until: str) -> SummaryBody:
    """Counts as they are answered."""
    return SummaryBody(since=since, until=until, total=counted.total, **counted.facets)


def _mentioned(one: Logged, names: Mapping[str, str]) -> dict[str, str]:
    """Of the page's names those in this record."""
    parts = (one.body.get("principal"), one.body.get("resource"))
    ids = {value for part in parts if isinstance(part, dict) for value in part.values() if isinstance(value, str)}
    return {person: name for person, name in names.items() if person in ids}
