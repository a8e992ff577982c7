"""All events in the Redis stream of a running service, in order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from events.stream import FIELD, open_redis, position_of
from tests.event_schemas import check_event

if TYPE_CHECKING:
    from service.commands.running import Running


async def read_events(addresses: Running) -> list[dict[str, Any]]:
    """The CloudEvents, which must follow their schemas, each with the position of its stream id as `at`."""
    redis = open_redis(addresses.redis_url)
    try:
        entries: list[Any] = await redis.xrange(addresses.stream) or []
        found = [(json.loads(fields[FIELD]), position_of(entry)) for entry, fields in entries]
    finally:
        await redis.aclose()
    for event, _ in found:
        check_event(event)
    return [{**event, "at": position} for event, position in found]
