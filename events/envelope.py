"""The envelope of an event: CloudEvents 1.0, JSON structured. Pure.

`id` is the record's uid, by which consumers recognise a repeated event. `sequence` is the record's position,
zero-padded so that it sorts as text. `previous` is the position of the change before it, by which a consumer notices a
gap. The data hold ids and fixed words only, no free text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent

PREFIX = "dev.timewarden."
CONTENT_TYPE = JSONFormat.CONTENT_TYPE
DIGITS = 20

TYPES = (
    "timesheet.created",
    "timesheet.edited",
    "timesheet.deleted",
    "timesheet.submitted",
    "timesheet.withdrawn",
    "timesheet.approval-given",
    "timesheet.approved",
    "timesheet.rejected",
    "timesheet.reopened",
    "timesheet.locked",
    "timesheet.unlocked",
    "timesheet.reminded",
    "timesheet.uploaded",
    "policy.proposed",
    "policy.activated",
    "directory.changed",
    "token.revoked",
)


@dataclass(frozen=True, slots=True)
class PublishedChange:
    """A published change, as recorded in the sealed log.

    `position` is its place in the log and `previous` that of the change before it (None for the first, and for a change
    that was read alone), or of the last pruned record if no change before it is left; `uid` and `leaf` (hex SHA-256)
    name its record; `type` is one of TYPES; `subject` the id of what changed; `time` when it was decided; `trace` the
    W3C traceparent of the request, if there was one.
    """

    position: int
    previous: int | None
    uid: UUID
    leaf: str
    type: str
    subject: str
    time: datetime
    data: Mapping[str, object]
    trace: str | None = None

    @property
    def same_record(self) -> tuple[int, UUID, str]:
        """Equal for two copies of an event, different for events of different logs."""
        return self.position, self.uid, self.leaf


def serialize(change: PublishedChange, source: str) -> bytes:
    """The event as bytes; the same change always gives the same bytes. `source` is the URI of this service."""
    attributes = {
        "specversion": "1.0",
        "id": str(change.uid),
        "source": source,
        "type": PREFIX + change.type,
        "subject": change.subject,
        "time": change.time.astimezone(UTC),
        "datacontenttype": "application/json",
        "sequence": _digits(change.position),
        "partitionkey": change.subject,
        "leafhash": change.leaf,
    }
    if change.previous is not None:
        attributes["previous"] = _digits(change.previous)
    if change.trace is not None:
        attributes["traceparent"] = change.trace
    return JSONFormat().write(CloudEvent(attributes, dict(change.data)))


def parse(raw: bytes) -> PublishedChange:
    """Parse an event. Raises ValueError for bytes that `serialize` would not have written."""
    try:
        event = JSONFormat().read(CloudEvent, raw)
        data, time = event.get_data(), event.get_time()
        if not isinstance(data, Mapping) or time is None:
            raise ValueError("no data or no time")
        return PublishedChange(
            position=int(_extension(event, "sequence")),
            previous=int(_extension(event, "previous")) if event.get_extension("previous") is not None else None,
            uid=UUID(event.get_id()),
            leaf=_extension(event, "leafhash"),
            type=event.get_type().removeprefix(PREFIX),
            subject=event.get_subject() or "",
            time=time,
            data=data,
            trace=None if event.get_extension("traceparent") is None else _extension(event, "traceparent"),
        )
    except Exception as error:
        # The SDK lets the errors of its parsers through.
        raise ValueError(f"not an event of this service: {type(error).__name__}") from error


def _digits(position: int) -> str:
    return str(position).zfill(DIGITS)


def _extension(event: BaseCloudEvent, name: str) -> str:
    value = event.get_extension(name)
    if not isinstance(value, str):
        raise TypeError(name)
    return value
