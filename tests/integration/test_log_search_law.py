"""The law of log searches, as a property: with any filters combined, in both orders and with pages of any size, a
search finds exactly the records that a plain filter over all of them keeps, each once and in order; and the counts by
facet are those of the same records.

The log has few people, clients, rules and moments, so that filters meet, and several partitions, whose records were not
decided in the order of their ids."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.audit.search import NewestRecords, search_records
from service.audit.summary import FACETS, summarize_decisions
from service.log.columns import format_time
from service.log.log import Log
from service.log.partitions import add_partition
from service.log.record import Kind, Record, read_body
from service.log.record_query import ANY_ACTOR, DECISIONS, RecordFilters
from tests.example_count import example_count
from tests.integration.log_database import copy_database, open_new_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    import asyncpg

    from service.development.local_servers import LocalPostgres

    Body = dict[str, Any]
    # Whether a record matches the value of a filter.
    Matches = Callable[["Logged", Any], bool]

pytest_plugins = ["tests.integration.log_fixtures"]

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
PEOPLE, SHEETS = ([UUID(int=start + number) for number in range(4)] for start in (1, 11))
CLIENTS, ACTORS = ["web", "approvals", "payroll-import"], ["scheduler", "gateway", "web"]
ACTIONS = ["read", "read", "read", "list-approvals", "review", "edit", "approve", "delete"]
RESOURCE_KINDS = ["timesheet", "timesheet", "me", "directory", "log", "token"]
RULES, REASONS = ["read-own", "read-team", "never-own-hours"], ["allowed", "no-rule", "law"]
# Of UUIDs: the record's id may begin as the request's does, as in most records of the service.
REQUESTS = ["request-1", "request-2", str(UUID(int=99)), "01a2305c-684d-76e0-90f1-81d5a3f4d3b4"]
VERSIONS = [1, 2, 3]
MOMENTS = [JANUARY + timedelta(hours=12 * number) for number in range(-2, 60)]
PARTITIONS, EACH = 4, 40
WITHOUT = [None, None, None]


@dataclass(frozen=True, slots=True)
class Logged:
    """A record, its number in the order of the log, and what its body says."""

    number: int
    uid: UUID
    kind: Kind
    body: Body

    def at(self, *path: str) -> Any:
        """The member at a path, None if it is missing."""
        found: Any = self.body
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found


class World:
    """A log and all that it holds, oldest first. Not a dataclass: Hypothesis would show all records in a failure."""

    def __init__(
        self, auditor: asyncpg.Connection[asyncpg.Record], newest: NewestRecords, records: list[Logged]
    ) -> None:
        self.auditor, self.newest, self.records = auditor, newest, records
        # The decisions of changes by resource, and the number of the record that approved a sheet first.
        self.deciding: dict[str, set[str]] = {}
        self.approved: dict[str, int] = {}
        for record in records:
            if record.kind is Kind.CHANGE:
                self.deciding.setdefault(record.at("resource", "id"), set()).add(record.at("decision"))
                if record.at("change", "type") == "timesheet.approved":
                    self.approved.setdefault(record.at("resource", "id"), record.number)


def make_decision(chance: Random) -> Record:
    action, denied = chance.choice(ACTIONS), chance.random() < 0.3
    is_change = action in {"edit", "approve", "delete"}
    resource: Body = {"kind": chance.choice(RESOURCE_KINDS)}
    if resource["kind"] == "timesheet":
        resource |= {"id": chance.choice([*map(str, SHEETS), None]), "owner": chance.choice([*PEOPLE, None])}
    elif resource["kind"] == "directory":
        resource |= {"id": chance.choice([*map(str, PEOPLE), "no-uuid"]), "owner": chance.choice([*PEOPLE, *WITHOUT])}
    listed = chance.sample(SHEETS, chance.choice([0, 0, 1, 1, 2, 3]))
    principal: Body = {"person": chance.choice([*PEOPLE, None]), "client": chance.choice(CLIENTS)}
    if chance.random() < 0.4:
        principal["actors"] = chance.choices(ACTORS, k=chance.choice([1, 1, 2, 3]))
    body: Body = {
        "decided_at": chance.choice(MOMENTS),
        "action": action,
        "outcome": "deny" if denied else "allow",
        "applied": (not denied and chance.random() < 0.8) if is_change else None,
        "reason": chance.choice(REASONS),
        "rules": chance.sample(RULES, chance.choice([0, 1, 1, 2, 3])),
        "policy": {"version": chance.choice(VERSIONS)},
        "request": {"id": chance.choice(REQUESTS)},
        "resource": resource,
        "principal": principal,
        "returned": listed,
    }
    if chance.random() < 0.2:
        body["on_behalf_of"] = chance.choice(PEOPLE)
    begin = body["request"]["id"][:11]
    uid = UUID(f"{begin}{chance.getrandbits(88):022x}") if begin.startswith("0") and chance.random() < 0.5 else None
    return Record.make(Kind.ACCESS if resource["kind"] == "log" else Kind.DECISION, body, uid=uid)


def make_change(chance: Random, decision: Record) -> Record:
    """A change that a decision allowed, of the resource that it names or of one that it created."""
    action = str(decision.columns["action"])
    event = {
        "edit": "timesheet.edited",
        "delete": "timesheet.deleted",
        "approve": chance.choice(["timesheet.approved", "timesheet.approval-given"]),
    }[action]
    body = read_body(decision.body)
    resource = {"kind": "timesheet", "id": str(chance.choice(SHEETS)), "owner": chance.choice([*PEOPLE, None])}
    told = {name: body[name] for name in ("action", "principal", "request")}
    return Record.make(
        Kind.CHANGE,
        {
            **told,
            "decided_at": decision.columns["decided_at"],
            "decision": decision.uid,
            "resource": resource,
            "change": {"type": event, "from": {}, "to": {}},
        },
    )


@pytest.fixture(scope="module")
async def world(
    postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], log_template: str
) -> AsyncIterator[World]:
    chance = Random(2026)  # noqa: S311 — no secret
    async with copy_database(postgres, superuser, log_template) as database:
        await open_new_log(database)
        app, owner = await database.open("app"), await database.connect("owner")
        made: list[Record] = []
        for part in range(PARTITIONS):
            if part:
                await add_partition(owner, date(2026, part, 1))
            for _ in range(EACH):
                decision = make_decision(chance)
                batch = [decision]
                if decision.columns["applied"] and chance.random() < 0.9:
                    batch.append(make_change(chance, decision))
                await Log(app).append(batch)
                made += batch
        await owner.execute("ANALYZE audit_record")
        opening = await owner.fetchrow("SELECT uid, body FROM audit_record ORDER BY id LIMIT 1")
        assert opening is not None
        records = [Logged(0, opening["uid"], Kind.SYSTEM, read_body(opening["body"]))]
        records += [
            Logged(number, record.uid, record.kind, read_body(record.body)) for number, record in enumerate(made, 1)
        ]
        yield World(await database.connect("auditor"), NewestRecords(app, timeout=5), records)


def is_among(*path: str) -> Matches:
    return lambda record, ids: record.at(*path) in {str(uid) for uid in ids}


def equals(*path: str) -> Matches:
    return lambda record, value: bool(record.at(*path) == value)


def concerns(record: Logged, ids: Sequence[UUID], *, by_others: bool | None) -> bool:
    theirs = {str(uid) for uid in ids}
    person, owner = record.at("principal", "person"), record.at("resource", "owner")
    is_own = person in theirs
    about = owner is None and record.at("resource", "kind") == "directory" and record.at("resource", "id") in theirs
    is_others = record.kind is Kind.DECISION and not is_own and (owner in theirs or about)
    return (is_own and not by_others) or (is_others and by_others is not False)


def matches(world: World, record: Logged, filters: RecordFilters, kinds: Sequence[Kind]) -> bool:
    """Whether a record has every wanted property, by what its body says."""
    resource, returned = record.at("resource", "id"), record.at("returned") or []

    def decided(*of: str) -> bool:
        return any(str(record.uid) in world.deciding.get(sheet, set()) for sheet in of)

    tests: dict[str, Matches] = {
        "persons": is_among("principal", "person"),
        "owners": is_among("resource", "owner"),
        "on_behalf_of": is_among("on_behalf_of"),
        "client": equals("principal", "client"),
        "action": equals("action"),
        "resource_kind": equals("resource", "kind"),
        "outcome": equals("outcome"),
        "applied": equals("applied"),
        "reason": equals("reason"),
        "policy_version": equals("policy", "version"),
        "request_id": equals("request", "id"),
        "resource": lambda _, wanted: resource == wanted or wanted in returned,
        "history": lambda _, wanted: resource == wanted or decided(wanted),
        "sheets": lambda _, wanted: any(
            resource == str(uid) or str(uid) in returned or decided(str(uid)) for uid in wanted
        ),
        "rule": lambda _, wanted: wanted in (record.at("rules") or []),
        "actor": lambda _, wanted: (
            bool(record.at("principal", "actors"))
            and (wanted == ANY_ACTOR or wanted in record.at("principal", "actors"))
        ),
        "since": lambda _, wanted: record.at("decided_at") >= format_time(wanted),
        "until": lambda _, wanted: record.at("decided_at") < format_time(wanted),
        "after_approval": lambda _, wanted: (
            not wanted
            or (record.kind is Kind.CHANGE and record.number > world.approved.get(resource, len(world.records)))
        ),
        "concerned": lambda _, wanted: concerns(record, wanted, by_others=filters.by_others),
        # Tells what `concerned` means.
        "by_others": lambda _, __: True,
        "without_reads": lambda _, wanted: (
            not wanted
            or record.at("outcome") == "deny"
            # The record that opens the log has no action.
            or record.at("action") not in {"read", "list-approvals", "review", None}
        ),
    }
    assert tests.keys() == {field.name for field in fields(RecordFilters)}
    wanted = {name: value for name in tests if (value := getattr(filters, name)) is not None}
    return (not kinds or record.kind in kinds) and all(tests[name](record, value) for name, value in wanted.items())


def some(values: Sequence[UUID]) -> st.SearchStrategy[tuple[UUID, ...]]:
    return st.lists(st.sampled_from(values), max_size=3, unique=True).map(tuple)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "persons": some(PEOPLE),
    "owners": some(PEOPLE),
    "on_behalf_of": some(PEOPLE),
    "concerned": some(PEOPLE),
    "sheets": some(SHEETS),
    "client": st.sampled_from([*CLIENTS, "nobody"]),
    "action": st.sampled_from([*ACTIONS, "lock"]),
    "resource_kind": st.sampled_from([*RESOURCE_KINDS, "policy"]),
    "resource": st.sampled_from([*map(str, SHEETS), *map(str, PEOPLE), "no-uuid"]),
    "history": st.sampled_from(list(map(str, SHEETS))),
    "outcome": st.sampled_from(["allow", "deny"]),
    "applied": st.booleans(),
    "reason": st.sampled_from(REASONS),
    "rule": st.sampled_from([*RULES, "no-such-rule"]),
    "actor": st.sampled_from([*ACTORS, ANY_ACTOR, "nobody"]),
    "policy_version": st.sampled_from([*VERSIONS, 7]),
    "request_id": st.sampled_from(REQUESTS),
    "since": st.sampled_from(MOMENTS),
    "until": st.sampled_from(MOMENTS),
    "after_approval": st.just(True),
    "by_others": st.booleans(),
    "without_reads": st.just(True),
}
drawn_filters = st.lists(st.sampled_from(sorted(VALUES)), unique=True, min_size=1, max_size=5).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)
# The number of a record that the filters are to keep: few records match several filters by chance.
targets = st.none() | st.integers(0, PARTITIONS * EACH)


def aim(drawn: dict[str, Any], record: Logged | None) -> RecordFilters:
    """The filters, with the values that this record has, where it has any."""
    values = {} if record is None else _values_of(record)
    return RecordFilters(**{name: values.get(name) or value for name, value in drawn.items()})


def _values_of(record: Logged) -> dict[str, Any]:
    person, owner = record.at("principal", "person"), record.at("resource", "owner")
    resource, returned = record.at("resource", "id"), record.at("returned") or []
    people = {
        "persons": person,
        "owners": owner,
        "on_behalf_of": record.at("on_behalf_of"),
        "concerned": owner or person,
    }
    listed = returned[-1] if returned else resource
    moment = datetime.fromisoformat(record.at("decided_at"))
    return {
        **{name: (UUID(uid),) for name, uid in people.items() if uid is not None},
        "sheets": (UUID(listed),) if listed in map(str, SHEETS) else None,
        "resource": listed,
        "history": resource,
        "client": record.at("principal", "client"),
        "action": record.at("action"),
        "resource_kind": record.at("resource", "kind"),
        "outcome": record.at("outcome"),
        "reason": record.at("reason"),
        "rule": (record.at("rules") or [None])[-1],
        "actor": (record.at("principal", "actors") or [None])[-1],
        "policy_version": record.at("policy", "version"),
        "request_id": record.at("request", "id"),
        "since": moment,
        "until": moment + timedelta(microseconds=1),
    }


drawn_kinds = st.sampled_from(
    [(), (), DECISIONS, DECISIONS, (Kind.CHANGE,), (Kind.DECISION, Kind.CHANGE), (Kind.ACCESS,)]
)


@settings(max_examples=example_count(150), suppress_health_check=list(HealthCheck))
@given(
    drawn=drawn_filters,
    target=targets,
    kinds=drawn_kinds,
    limit=st.sampled_from([7, 30, 200]),
    oldest_first=st.booleans(),
)
async def test_a_search_finds_what_a_plain_filter_keeps(
    world: World, drawn: dict[str, Any], target: int | None, kinds: tuple[Kind, ...], limit: int, *, oldest_first: bool
) -> None:
    filters = aim(drawn, None if target is None else world.records[target])
    wanted = [record for record in world.records if matches(world, record, filters, kinds)]
    wanted.sort(key=lambda record: (record.at("decided_at"), record.number), reverse=not oldest_first)
    found = await read_all_pages(world, filters, kinds, limit, oldest_first=oldest_first)
    assert found == [record.uid for record in wanted]


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_every_filter_alone_finds_what_a_plain_filter_keeps(world: World, *, oldest_first: bool) -> None:
    """By the values of some records, or without any filter. Each keeps some records and leaves some: otherwise the
    laws would say nothing about it."""
    examples = [RecordFilters()]
    for name in sorted(VALUES.keys() - {"by_others"}):
        flags: dict[str, list[Any]] = {"after_approval": [True], "without_reads": [True], "applied": [False, True]}
        values = [value for record in world.records if (value := _values_of(record).get(name)) is not None]
        alone = [RecordFilters(**{name: value}) for value in flags.get(name) or values[:: len(values) // 2]]
        numbers = [sum(matches(world, record, each, ()) for record in world.records) for each in alone]
        assert any(0 < number < len(world.records) for number in numbers), name
        examples += alone
    for filters in examples:
        wanted = [record for record in world.records if matches(world, record, filters, ())]
        wanted.sort(key=lambda record: (record.at("decided_at"), record.number), reverse=not oldest_first)
        found = await read_all_pages(world, filters, (), 40, oldest_first=oldest_first)
        assert found == [record.uid for record in wanted], filters


async def read_all_pages(
    world: World, filters: RecordFilters, kinds: tuple[Kind, ...], limit: int, *, oldest_first: bool
) -> list[UUID]:
    found: list[UUID] = []
    after = None
    while page := await search_records(
        world.auditor, filters, kinds=kinds, after=after, limit=limit, oldest_first=oldest_first
    ):
        if filters == RecordFilters() and not oldest_first:
            assert await world.newest.read(kinds, after, limit) in (None, page)
        found += [record.uid for record in page]
        after = page[-1].place
        if len(page) < limit:
            break
    return found


@settings(max_examples=example_count(75), suppress_health_check=list(HealthCheck))
@given(drawn=drawn_filters, target=targets)
async def test_the_counts_by_facet_are_those_of_the_records_found(
    world: World, drawn: dict[str, Any], target: int | None
) -> None:
    filters = aim(drawn, None if target is None else world.records[target])
    wanted = [record for record in world.records if matches(world, record, filters, DECISIONS)]
    counted = await summarize_decisions(world.auditor, filters)
    assert (counted.total, counted.since) == (len(wanted), None)
    for facet in FACETS:
        path = ("decided_at",) if facet == "day" else (facet,)
        values = [value for record in wanted if (value := record.at(*path)) is not None]
        expected = Counter(value[:10] if facet == "day" else str(value).lower() for value in values)
        assert counted.facets[facet] == dict(expected)
