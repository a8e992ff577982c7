"""`timewarden events`: the Redis stream, its consumer groups and the events that they gave up.

Reads TIMEWARDEN_DATABASE_URL, as the auditor or the keeper, for the log's epoch and changes; and TIMEWARDEN_REDIS_URL.
Owns no state.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click
from rich.console import Console

from events.stream import REDIS_ERRORS, open_redis, stream_name
from events.upkeep import MAX_COUNTED, compare_with_log, describe, list_dead, read_groups, replay_dead
from service import settings as configuration
from service.commands.groups import as_json
from service.commands.tables import table
from service.database import Database
from service.errors import TryLater
from service.log.feed import ChangeFeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from events.upkeep import DeadEvent, GroupProgress, StreamComparison

T = TypeVar("T")
# The pending deliveries of a replayed event stand under this name until a member takes them over.
MEMBER = "timewarden-events"
MAX_DEAD = 1_000


class _EntryId(click.ParamType[str]):
    """The id of an entry of a Redis stream."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same text; fails unless it is an id."""
        if not re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", value):
            self.fail("for example 1764396000000-0, as `timewarden events dead list` prints it", param, ctx)
        return value


@dataclass(frozen=True, slots=True)
class _Stream:
    redis: Any
    name: str
    feed: ChangeFeed


@click.group()
def events() -> None:
    """Consumer groups of the event stream, and the events that they gave up."""


@events.command()
@as_json
def lag(*, as_json: bool) -> None:
    """How far each consumer group is."""
    groups = _run(_read_groups)
    if as_json:
        print(json.dumps([asdict(group) for group in groups], indent=2))
        return
    if not groups:
        print("The stream has no consumer group.")
        return
    shown = table("group", "members", "delivered up to", "behind", "pending", "oldest pending")
    for group in groups:
        behind = f"{group.behind} or more" if group.behind == MAX_COUNTED else str(group.behind)
        oldest = "" if group.oldest_pending is None else str(group.oldest_pending)
        shown.add_row(group.name, str(group.members), str(group.delivered), behind, str(group.pending), oldest)
    Console().print(shown)


@events.command()
@as_json
def verify(*, as_json: bool) -> None:
    """Compare the stream with the log. Exit with 0 if they agree, with 1 if they differ."""
    found = _run(_compare)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        print(f"{found.equal} events equal the log.")
        if found.unpublished:
            print("The log has changes that are not published yet.")
        if found.difference:
            print(f"They differ: {found.difference}.")
    sys.exit(1 if found.difference else 0)


@events.group()
def dead() -> None:
    """Events that a group gave up after several failures."""


@dead.command("list")
@click.option("--after", type=_EntryId(), help="Continue after this id.")
@click.option("--limit", type=click.IntRange(1, MAX_DEAD), default=100, show_default=True)
@as_json
def list_command(*, after: str | None, limit: int, as_json: bool) -> None:
    """List events that were given up, oldest first."""
    found = _run(lambda stream: list_dead(stream.redis, stream.name, after=after, limit=limit))
    if as_json:
        print(json.dumps([_to_dict(item) for item in found], indent=2))
        return
    shown = table("id", "position", "group", "error", "type")
    for item in found:
        kind = describe(item.event).get("type", "no event")
        shown.add_row(item.id, str(item.position), item.group, item.error, str(kind))
    Console().print(shown)


@dead.command()
@click.argument("dead_id", metavar="ID", type=_EntryId())
def show(dead_id: str) -> None:
    """Print one event that was given up, as JSON."""
    item = _run(lambda stream: _find(stream, dead_id))
    print(json.dumps({**_to_dict(item), "event": item.event.decode(errors="replace")}, indent=2))


@dead.command()
@click.argument("dead_id", metavar="ID", type=_EntryId())
def replay(dead_id: str) -> None:
    """Give an event to its group again. The group must be running, and its handler must accept the event now."""
    replayed = _run(lambda stream: _replay(stream, dead_id))
    if not replayed:
        raise click.ClickException(
            "The event is no longer in the stream, or its group was removed: read its subject from the API"
        )
    print("The group gets the event again.")


async def _read_groups(stream: _Stream) -> list[GroupProgress]:
    return await read_groups(stream.redis, stream.name)


async def _compare(stream: _Stream) -> StreamComparison:
    return await compare_with_log(stream.redis, stream.name, stream.feed.read_changes, _say_progress)


async def _replay(stream: _Stream, dead_id: str) -> bool:
    return await replay_dead(stream.redis, stream.name, await _find(stream, dead_id), MEMBER)


async def _find(stream: _Stream, dead_id: str) -> DeadEvent:
    found = await list_dead(stream.redis, stream.name, only=dead_id)
    if not found:
        raise click.ClickException("No event with this id was given up; `timewarden events dead list` lists them")
    return found[0]


def _to_dict(item: DeadEvent) -> dict[str, Any]:
    return {
        "id": item.id,
        "position": item.position,
        "group": item.group,
        "error": item.error,
        **describe(item.event),
    }


def _say_progress(equal: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{equal} events compared", end="", file=sys.stderr, flush=True)


def _run(work: Callable[[_Stream], Awaitable[T]]) -> T:
    settings = configuration.load()
    settings.need("database_url", "redis_url")
    return asyncio.run(_with_stream(settings, work))


async def _with_stream(settings: configuration.Settings, work: Callable[[_Stream], Awaitable[T]]) -> T:
    async with _open(settings) as stream:
        try:
            return await work(stream)
        except REDIS_ERRORS as error:
            raise TryLater("Redis does not answer, or refuses the command", cause=type(error).__name__) from error


@asynccontextmanager
async def _open(settings: configuration.Settings) -> AsyncIterator[_Stream]:
    database = Database(settings.database_url, size=1, timeout=30.0, name="events", enforced=False)
    await database.open()
    redis = open_redis(settings.redis_url)
    try:
        feed = ChangeFeed(database)
        yield _Stream(redis, stream_name(settings.event_stream, (await feed.head()).epoch), feed)
    finally:
        await redis.aclose()
        await database.close()
