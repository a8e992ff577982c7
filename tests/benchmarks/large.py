"""Makes a large installation once and keeps it: `make bench ARGS="large [--people N] [--weeks N] [--records N]"`.

The service itself first plays a short story, and each record of the log repeats one of the records that this left, with
other people, timesheets, times, ids and nonce. So every record has canonical bytes, a leaf and search columns of its
own, and the tree grows as the sealer grows it: proofs of it verify. By default 10,000 people, a million sheets with
five entries each, and ten million records, a year of them: about an hour of a processor and 14 GB in
`.local/bench/large`, or in the folder that BENCH_LARGE names. `pages` and `growth` measure it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import shutil
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg
import httpx2
import msgspec

from service.development.local_servers import start_postgres
from service.development.stores import prepare
from service.log.columns import format_time, search_columns
from service.log.insert import COLUMNS, RECORD
from service.log.merkle import leaf_hash
from service.log.packing import NEWEST, pack
from service.log.record import Kind, Record, canonical_json, make_nonce, read_body
from service.log.tree import StoredTree, add_leaves
from service.standalone.client import Denied, NotFound
from tests.acceptance.caller import Callers
from tests.acceptance.running_service import RunningService
from tests.benchmarks.crowd import gather
from tests.browser.story_of_weeks import THIS_WEEK, fill_week, fill_weeks, find_week
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    Connection = asyncpg.Connection[asyncpg.Record]
    Body = dict[str, Any]

LONG = True
FOLDER: Final = Path(os.environ.get("BENCH_LARGE", ".local/bench/large"))
# Written when the installation is whole.
DONE: Final = FOLDER / "whole.json"
# Records of one COPY; a multiple of the pattern's length.
CHUNK: Final = 10_000
PROJECTS: Final = 500
# Nothing of a load that breaks off is kept, so it needs neither flushing nor checkpoints.
SETTINGS: Final = {
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "synchronous_commit": "off",
    "shared_buffers": "1GB",
    "maintenance_work_mem": "1GB",
    "autovacuum": "off",
}
# The names of a hundred records that follow one another. A change follows its decision.
CHANGED: Final = ("edit", "edit", "submit", "approve")
PATTERN: Final = (
    *(("read-own", Kind.DECISION) for _ in range(40)),
    *(("read-team", Kind.DECISION) for _ in range(24)),
    *(("list", Kind.DECISION) for _ in range(20)),
    ("search", Kind.ACCESS),
    *(("me", Kind.DECISION) for _ in range(4)),
    *((name, kind) for name in CHANGED for kind in (Kind.DECISION, Kind.CHANGE)),
    *(("refused", Kind.DECISION) for _ in range(2)),
    ("own-approval", Kind.DECISION),
)
# People have names of these.
FIRST: Final = ("Ada", "Bo", "Chi", "Dee", "Eli", "Fay", "Gus", "Hua", "Ida", "Jon", "Kai", "Lea", "Max", "Noa", "Oya")
LAST: Final = ("Abara", "Berg", "Costa", "Dias", "Engel", "Falk", "Grant", "Haas", "Ito", "Jansen", "Kaur", "Lopez")

NAME_PEOPLE = """
    UPDATE person SET display_name = ($2::text[])[n % cardinality($2) + 1] || ' '
                          || ($3::text[])[n / 7 % cardinality($3) + 1],
                      email = 'person' || n || '@example.com'
    FROM generate_series(0, $1::int) AS n WHERE id = md5('person' || n)::uuid
"""
# The crowd's teams below the demo's company, whose lead leads all of them; the lead of Atlas leads a division as well.
JOIN_DEMO = (
    "UPDATE team SET parent_id = (SELECT id FROM team WHERE name = 'Example Ltd') WHERE name = 'crowd 0'",
    """INSERT INTO team_path (ancestor_id, descendant_id, depth)
       SELECT up.ancestor_id, down.descendant_id, up.depth + down.depth + 1 FROM team_path AS up, team_path AS down
       WHERE up.descendant_id = (SELECT id FROM team WHERE name = 'Example Ltd')
         AND down.ancestor_id = (SELECT id FROM team WHERE name = 'crowd 0')""",
    """INSERT INTO membership (id, person_id, team_id, part, valid_from)
       SELECT gen_random_uuid(), m.person_id, (SELECT id FROM team WHERE name = 'crowd 1'), 'lead', now()
       FROM membership AS m JOIN team AS t ON t.id = m.team_id WHERE t.name = 'Atlas' AND m.part = 'lead'""",
)
MAKE_PROJECTS = """
    INSERT INTO project (code, name)
    SELECT 'P' || lpad(n::text, 3, '0'), 'Project ' || n FROM generate_series(0, $1::int - 1) AS n
"""
# Five entries in each sheet of the crowd.
MAKE_ENTRIES = """
    INSERT INTO entry (id, timesheet_id, day, project, minutes, note)
    SELECT gen_random_uuid(), t.id, t.period_start + day,
           'P' || lpad((abs(hashint4(n + t.period_start - date '2020-01-01' + day)) % $2)::text, 3, '0'),
           420 + 30 * (day % 3), CASE day WHEN 0 THEN 'Design review with the client' END
    FROM generate_series(0, $1::int - 1) AS n JOIN timesheet AS t ON t.owner_id = md5('person' || n)::uuid,
         generate_series(0, 4) AS day
"""
# Records of the story: their bytes, in order.
STORY = "SELECT body FROM audit_record ORDER BY id"
HEAD = "SELECT size, tree_size, edge, root FROM log_head"
LAST_ID = "SELECT max(id) FROM audit_record"
# All records have places now, so the sealer looks for later ones only; and the next record gets the next id.
SETTLE = (
    "UPDATE log_head SET low_xid = pg_snapshot_xmin(pg_current_snapshot())",
    "SELECT setval(pg_get_serial_sequence('audit_record', 'id'), max(id)) FROM audit_record",
)
PLACE = """
    INSERT INTO audit_position (position, record_id) SELECT $1 + n, $2 + n FROM generate_series(0, $3::bigint - 1) AS n
"""
# The indexes of a table that no constraint owns.
INDEXES = """
    SELECT indexrelid::regclass::text AS name, replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') AS made
    FROM pg_index WHERE indrelid = $1::regclass
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a process needs to make a chunk of the log. `story`: a record of each name and kind."""

    url: str
    people: int
    weeks: int
    records: int
    first_id: int
    since: datetime
    until: datetime
    story: Mapping[tuple[str, Kind], Body]

    @property
    def teams(self) -> int:
        """As many as `crowd` makes."""
        return self.people // 10


def main(people: int = 10_000, weeks: int = 100, records: int = 10_000_000) -> None:
    if DONE.exists():
        print(f"{FOLDER} holds {DONE.read_text(encoding='utf-8')}")
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    # Others on this machine come first.
    os.nice(19)
    service = RunningService(FOLDER.resolve())
    service.start()
    asyncio.run(play_story(service))
    service.stop()
    with start_postgres(FOLDER, preferred_port=0, durable=False, settings=SETTINGS) as postgres:
        owner = prepare(FOLDER, postgres.superuser_url)[0]
        asyncio.run(_fill(owner, people, weeks, records // len(PATTERN) * len(PATTERN)))
    os.sync()
    DONE.write_text(msgspec.json.encode({"people": people, "weeks": weeks, "records": records}).decode())


async def play_story(service: RunningService) -> None:
    """Weeks of Ana and Mia, and a record of each kind that a large log repeats."""
    async with httpx2.AsyncClient(base_url=service.addresses.api, timeout=PATIENCE_SECONDS, trust_env=False) as http:
        callers = Callers(http, service.addresses)
        await fill_weeks(callers)
        ana, mia, ben = [(await callers(who)).api for who in ("ana", "mia", "ben")]
        submitted = await find_week(ana, THIS_WEEK - timedelta(weeks=1))
        await ana.me()
        for api in (ana, mia):
            await api.timesheet(submitted.id)
        own = await mia.submit(await fill_week(mia, THIS_WEEK))
        for refused, error in ((ben.timesheet(submitted.id), NotFound), (mia.approve(own), Denied)):
            try:
                await refused
            except error:
                continue
        auditor = await callers("audrey")
        assert (await auditor.get("/v1/decisions")).status_code == httpx2.codes.OK

        async def sealed() -> bool:
            answer = await auditor.get("/v1/audit/records", limit=1)
            newest = answer.json()["items"][0]
            return newest["position"] is not None

        await until(sealed)


async def _fill(owner: str, people: int, weeks: int, records: int) -> None:
    started = time.perf_counter()

    def say(what: str) -> None:
        print(f"{time.perf_counter() - started:6.0f} s  {what}", flush=True)

    connection = await asyncpg.connect(owner)
    async with _without_indexes(connection, "entry"):
        await connection.execute(MAKE_PROJECTS, PROJECTS)
        await gather(connection, people, weeks)
        await connection.execute(NAME_PEOPLE, people, FIRST, LAST)
        for statement in JOIN_DEMO:
            await connection.execute(statement)
        say(f"{people * weeks:,} timesheets of {people:,} people")
        await connection.execute(MAKE_ENTRIES, people, PROJECTS, timeout=3600)
    say("their entries")
    head = await connection.fetchrow(HEAD)
    assert head is not None
    assert head["size"] == head["tree_size"]
    bodies = [read_body(row["body"]) for row in await connection.fetch(STORY)]
    now = datetime.now(UTC)
    year = timedelta(days=365)
    last = await connection.fetchval(LAST_ID)
    load = Load(owner, people, weeks, records, last + 1, now - year, now, _choose(bodies))
    async with _without_indexes(connection, "audit_record"):
        stored = StoredTree(head["tree_size"], head["edge"], head["root"])
        with multiprocessing.get_context("fork").Pool(os.cpu_count(), _begin, (load,)) as pool:
            for leaves in pool.imap(_copy_chunk, range(0, records, CHUNK)):
                hashes = [leaves[at : at + 32] for at in range(0, len(leaves), 32)]
                size = stored.size + len(hashes)
                async with connection.transaction():
                    placed = stored.size - head["size"]
                    await connection.execute(PLACE, stored.size, load.first_id + placed, len(hashes))
                    await connection.execute("UPDATE log_head SET size = $1", size)
                    await add_leaves(connection, stored, hashes)
                grown = await connection.fetchrow(HEAD)
                assert grown is not None
                stored = StoredTree(size, grown["edge"], grown["root"])
                if (placed + len(hashes)) % 500_000 < CHUNK:
                    say(f"{placed + len(hashes):,} records")
        for statement in SETTLE:
            await connection.execute(statement)
    say("their indexes")
    await connection.execute("VACUUM (ANALYZE)", timeout=3600)
    say("their statistics")
    await connection.close()


@asynccontextmanager
async def _without_indexes(connection: Connection, table: str) -> AsyncIterator[None]:
    """Drop the table's indexes and make them again: sorting all rows at once is many times as fast."""
    indexes = await connection.fetch(INDEXES, table)
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['name']}")
    yield
    for index in indexes:
        await connection.execute(index["made"], timeout=3600)


def _choose(bodies: Sequence[Body]) -> dict[tuple[str, Kind], Body]:
    """A record of each name and kind in PATTERN, from those of the story. Texts are left out, as if they were
    erased."""
    found: dict[tuple[str, Kind], Body] = {}
    for body in bodies:
        body.pop("commitments", None)
        body.pop("text", None)
        found[_name(body), Kind(body["kind"])] = body
    # The newest are chosen: by then the sheets have entries, and are submitted.
    return {place: found[place] for place in set(PATTERN)}


def _name(body: Body) -> str:
    """The name in PATTERN of a record like this."""
    action, rules = body.get("action"), body.get("rules", [])
    if body["kind"] == Kind.ACCESS:
        name = "search"
    elif body.get("resource", {}).get("kind") == "me":
        name = "me"
    elif body.get("outcome") == "deny":
        name = "own-approval" if action == "approve" else "refused"
    elif action == "read" and body["asked"]["about"] == "list":
        name = "list"
    elif action == "read":
        name = rules[0] if rules else "read"
    else:
        name = str(action)
    return name


# Of each process that makes chunks.
_load: Load
_loop: asyncio.AbstractEventLoop
_connection: Connection


def _begin(load: Load) -> None:
    global _load, _loop, _connection  # noqa: PLW0603 - what a process of the pool keeps
    _load, _loop = load, asyncio.new_event_loop()
    _connection = _loop.run_until_complete(asyncpg.connect(load.url))


def _copy_chunk(first: int) -> bytes:
    """Make the records from `first` on, store them, and return their leaves."""
    rows, leaves = _make_rows(_load, first, min(first + CHUNK, _load.records))
    columns = ("id", "at", *RECORD)
    _loop.run_until_complete(_connection.copy_records_to_table("audit_record", records=rows, columns=columns))
    return b"".join(leaves)


def _make_rows(load: Load, first: int, end: int) -> tuple[list[tuple[object, ...]], list[bytes]]:
    chance = random.Random(first)  # noqa: S311 - no secret
    rows: list[tuple[object, ...]] = []
    leaves: list[bytes] = []
    decision, owner, week = "", 0, 0
    for number in range(first, end):
        name, kind = PATTERN[number % len(PATTERN)]
        moment = load.since + (load.until - load.since) * (number / load.records)
        bits = chance.getrandbits(74)
        milliseconds = int(moment.timestamp() * 1000)
        uid = UUID(int=milliseconds << 80 | 7 << 76 | (bits >> 62) << 64 | 2 << 62 | bits & (1 << 62) - 1)
        if kind is not Kind.CHANGE:
            owner, week = chance.randrange(load.people), chance.randrange(load.weeks)
        body = _rewrite(load, load.story[name, kind], name, number, owner, week)
        body |= {"uid": str(uid), "nonce": make_nonce(), "decided_at": format_time(moment)}
        if kind is Kind.CHANGE:
            body["decision"] = decision
        decision = str(uid)
        canonical = canonical_json(body)
        record = Record(uid, kind, canonical, leaf_hash(canonical), search_columns(body))
        leaves.append(record.leaf)
        values = (record.columns[column] for column in COLUMNS)
        rows.append((load.first_id + number, moment, uid, kind.value, pack(record, NEWEST), *values))
    return rows, leaves


def _rewrite(load: Load, told: Body, name: str, number: int, owner: int, week: int) -> Body:
    """The record of the story about this sheet: its owner asks, or who leads the owner's team, or a stranger."""
    lead = owner % load.teams
    asker = {"read-team": lead, "approve": lead, "refused": (owner * 7 + 1) % load.people, "search": 0}.get(name, owner)
    body = {**told, "principal": {**told["principal"], "person": _id(f"person{asker}"), "token": f"{asker:032x}"}}
    body["request"] = {**told["request"], "id": f"{number:032x}"}
    if number % 1_000 == 3:
        body["principal"]["actors"] = ["assistant"]
    if number % 100_000 == 7:
        body["principal"]["client"] = "rare-job"
    resource = told["resource"]
    if resource["kind"] == "timesheet" and resource["id"] is not None:
        sheet = _id(f"sheet{owner} {week}")
        body["resource"] = {**resource, "id": sheet, "owner": _id(f"person{owner}")}
        if told.get("returned"):
            body["returned"] = [sheet]
    elif name == "list":
        body["returned"] = [_id(f"sheet{owner} {(week + more) % load.weeks}") for more in range(10)]
    return body


def _id(what: str) -> str:
    """An id as `crowd` makes it."""
    return str(UUID(md5(what.encode(), usedforsecurity=False).hexdigest()))


if __name__ == "__main__":
    main()
