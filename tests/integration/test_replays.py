"""Replays over a real log: jobs, keepers, permissions, and the law that every verdict is reproduced."""

from __future__ import annotations

import asyncio
import errno
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from uuid_utils.compat import uuid7

from service.administration.replay import batches, jobs, worker
from service.administration.replay.replays import Replays
from service.administration.replay.tally import ReplayOutcome, Tally
from service.administration.replay.worker import ReplayWorker
from service.administration.versions import version_store
from service.errors import Conflict, DatabaseUnavailable, Denied, NotFound
from service.log import recorded_decisions
from service.log.packing import unpack
from service.log.record_query import DECISIONS
from service.log.recorded_decisions import DecisionSelection
from service.policy.policy_file import PolicyText
from service.timesheets.listing import Filters
from tests.integration.house import alter_rules, rewriting_versions
from tests.integration.log_traffic import COLUMNS, auditor, author, multiply_records, traffic
from tests.policy_forge import POLICIES, read_shipped
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from service.administration.replay.jobs import Job
    from service.database import Connection
    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

MONDAY_MORNING = datetime(2020, 1, 6, 8, tzinfo=UTC)


async def draft(house: House, text: PolicyText) -> int:
    """A version that was never activated."""
    made = await version_store.insert(house.owner, text, message="a test", author_person=None, author_client="a test")
    return made.number


async def run_job(house: House, job: Job) -> Job:
    """The job after a keeper has run it."""
    keeper = await house.log_database.open("keeper", size=2)
    assert await ReplayWorker(keeper, processes=1, batch=7).once(asyncio.Event())
    async with keeper.connection() as connection:
        found = await jobs.load(connection, job.kind, job.id)
    assert found is not None
    return found


async def test_every_recorded_decision_is_reproduced(house: House) -> None:
    await traffic(house)
    replays = Replays(house.gate, house.requests)

    job = await run_job(house, (await replays.start(auditor(house), DecisionSelection())).value)

    assert job.state == "done"
    assert job.progress == 1
    assert set(job.totals.counts) == {ReplayOutcome.SAME}
    assert job.totals.records == await house.count("audit_record WHERE kind IN ('decision', 'access')")


async def test_decisions_under_changed_texts_and_damaged_records_are_undecidable(house: House) -> None:
    await traffic(house)
    count = await house.count("audit_record WHERE kind IN ('decision', 'access')")
    # JSON that is nested too deep for any parser.
    columns = COLUMNS.removesuffix(", body")
    await house.owner.execute(
        f"INSERT INTO audit_record (uid, kind, body, {columns}) SELECT $1, kind, $2, {columns} FROM audit_record"
        " WHERE kind = 'decision' ORDER BY id LIMIT 1",
        uuid7(),
        b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    )
    added = "\np, allow, anyone, approve, any, timesheet, any, always, added\n"
    await alter_rules(house, 1, added)
    changed = PolicyText.read(POLICIES)
    digest = replace(changed, rules=changed.rules + added).digest()
    replays = Replays(house.gate, house.requests)

    without_digest = await run_job(house, (await replays.start(auditor(house), DecisionSelection())).value)
    async with rewriting_versions(house):
        await house.owner.execute("UPDATE policy_version SET digest = $1 WHERE number = 1", digest)
    with_digest = await run_job(house, (await replays.start(auditor(house), DecisionSelection())).value)

    for job, cause in (
        (without_digest, "version 1 cannot be read by this code"),
        (with_digest, "the texts of version 1 are not those that decided this"),
    ):
        causes = job.totals.groups[ReplayOutcome.UNDECIDABLE]["cause"]
        assert set(job.totals.counts) == {ReplayOutcome.UNDECIDABLE}
        assert causes.pop("the record does not hold a whole request") == 1
        assert set(causes) == {cause}
        assert causes[cause] >= count


async def test_a_replay_waits_for_decisions_in_flight(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await traffic(house)
    started = (await Replays(house.gate, house.requests).start(auditor(house), DecisionSelection())).value
    keeper, looks = await house.log_database.open("keeper", size=2), 0
    look = recorded_decisions.list_writers

    async def look_and_count(connection: Connection) -> frozenset[str]:
        nonlocal looks
        looks += 1
        return await look(connection)

    async def has_looked() -> bool:
        return looks > 2

    monkeypatch.setattr(recorded_decisions, "list_writers", look_and_count)
    async with house.requests.transaction() as under_way:
        await under_way.execute(
            f"INSERT INTO audit_record (uid, kind, {COLUMNS}) SELECT $1, kind, {COLUMNS} FROM audit_record"
            " WHERE kind = 'decision' ORDER BY id LIMIT 1",
            uuid7(),
        )
        # A later record is committed already, so the log ends after both.
        await house.timesheets.list(house.caller("ana"), Filters())
        work = asyncio.create_task(ReplayWorker(keeper, processes=1, batch=7).once(asyncio.Event()))
        await until(has_looked)
        assert await house.owner.fetchval("SELECT state = 'running' AND last_id IS NULL FROM policy_replay")
    assert await work

    async with keeper.connection() as connection:
        found = await jobs.load(connection, jobs.LOG, started.id)
    assert found is not None
    assert found.totals.records == await house.count("audit_record WHERE kind IN ('decision', 'access')")


async def test_a_draft_is_replayed_against_recorded_requests(house: House) -> None:
    await traffic(house)
    text = read_shipped()
    rules = "\n".join(line for line in text.rules.splitlines() if not line.endswith(" approve-team"))
    number = await draft(house, replace(text, rules=rules + "\n"))
    replays = Replays(house.gate, house.requests)

    asked = await replays.start(author(house), DecisionSelection(action="approve"), number)
    job = await run_job(house, asked.value)

    assert job.state == "done"
    assert job.totals.counts[ReplayOutcome.ALLOW_TO_DENY] == 1
    [example] = job.totals.examples[ReplayOutcome.ALLOW_TO_DENY]
    assert (example.action, example.subject) == ("approve", str(house.people["mia"]))
    assert example.was == "allowed by approve-team"
    assert job.totals.groups[ReplayOutcome.ALLOW_TO_DENY]["rule"] == {"approve-team": 1}
    assert (await replays.read(author(house), job.id)).value == job
    # Its people have names for who asks; a list of replays, which has no results, names those who asked.
    mia = house.people["mia"]
    await house.directory.amend_person(house.administrator(), mia, {"display_name": "Mia Novak"})
    named = (await replays.read(author(house), job.id, with_names=True)).names
    assert (named or {})[str(mia)] == "Mia Novak"
    listed = await replays.list(author(house), before=None, limit=10, with_names=True)
    assert str(mia) not in (listed.names or {})
    record = await house.owner.fetchval(
        "SELECT convert_from(body, 'UTF8') FROM audit_record WHERE kind = 'system' ORDER BY id DESC LIMIT 1",
    )
    assert str(job.id) in record


async def test_an_unknown_version_is_not_replayed(house: House) -> None:
    with pytest.raises(NotFound):
        await Replays(house.gate, house.requests).start(author(house), DecisionSelection(), 77)
    assert await house.count("policy_replay") == 0


async def test_authors_replay_versions_and_auditors_the_log(house: House) -> None:
    replays = Replays(house.gate, house.requests)
    with pytest.raises(Denied):
        await replays.start(auditor(house), DecisionSelection(), 1)
    with pytest.raises(Denied):
        await replays.start(author(house), DecisionSelection())
    assert await house.count("policy_replay") == 0


WHOLE_SCOPE = "read:policies write:policies read:audit"


@pytest.mark.parametrize("scope", [WHOLE_SCOPE, "read:policies write:policies", "read:audit", "read:timesheets"])
@pytest.mark.parametrize("role", ["policy-author", "employee"])
async def test_a_hidden_replay_is_answered_like_an_unknown_one(
    house: House, running: InProcess, role: str, scope: str
) -> None:
    replays = Replays(house.gate, house.requests)
    of_log = (await replays.start(auditor(house), DecisionSelection())).value.id
    of_version = (await replays.start(author(house), DecisionSelection(), 1)).value.id
    token = running.token(sub="auth0|paula", roles=[role], scope=scope)
    may_read_versions = role == "policy-author" and "read:policies" in scope
    for hidden in [of_log] if may_read_versions else [of_log, of_version]:
        for method, path in (("GET", ""), ("POST", "/cancel")):
            known, unknown = [
                await running.send(method, f"/v1/replays/{job}{path}", token) for job in (hidden, uuid7())
            ]
            assert known.status_code in {403, 404}
            assert [known.status_code, *(known.json().get(name) for name in ("type", "detail", "required_scope"))] == [
                unknown.status_code,
                *(unknown.json().get(name) for name in ("type", "detail", "required_scope")),
            ]
    assert await house.count("policy_replay WHERE state = 'cancelled'") == 0


async def test_a_caller_who_may_read_both_kinds_lists_both_with_a_decision_each(
    house: House, running: InProcess
) -> None:
    replays = Replays(house.gate, house.requests)
    started = [
        (await replays.start(*asked)).value.id
        for asked in (
            (author(house), DecisionSelection(), 1),
            (auditor(house), DecisionSelection()),
            (author(house), DecisionSelection(), 1),
        )
    ]
    token = running.token(sub="auth0|audrey", roles=["auditor"], scope="read:policies read:audit")
    decisions = await house.count("audit_record WHERE kind IN ('decision', 'access')")
    first = (await running.send("GET", "/v1/replays?limit=2", token)).json()
    assert await house.count("audit_record WHERE kind IN ('decision', 'access')") == decisions + 2
    last = (await running.send("GET", f"/v1/replays?cursor={first['next_cursor']}", token)).json()
    listed = [*first["items"], *last["items"]]
    assert [replay["id"] for replay in listed] == [str(job) for job in reversed(started)]
    assert [replay["version"] for replay in listed] == [1, None, 1]
    for job in started:
        assert (await running.send("GET", f"/v1/replays/{job}", token)).json()["id"] == str(job)
    only_log = running.token(sub="auth0|audrey", roles=["auditor"], scope="read:audit")
    answer = (await running.send("GET", "/v1/replays", only_log)).json()
    assert [replay["id"] for replay in answer["items"]] == [str(started[1])]


async def test_replays_are_listed_newest_first_in_pages(house: House, running: InProcess) -> None:
    replays = Replays(house.gate, house.requests)
    asked = [str((await replays.start(author(house), DecisionSelection(action="read"), 1)).value.id) for _ in range(3)]
    await replays.start(auditor(house), DecisionSelection())
    token = running.token(sub="auth0|paula", roles=["policy-author"], scope="read:policies")
    first = await running.send("GET", "/v1/replays?limit=2", token)
    assert first.status_code == 200, first.text
    assert [item["id"] for item in first.json()["items"]] == asked[:0:-1]
    assert first.json()["items"][0]["filters"]["action"] == "read"
    assert (first.json()["items"][0]["version"], first.json()["items"][0]["state"]) == (1, "queued")
    more = first.json()["next_cursor"]
    last = (await running.send("GET", f"/v1/replays?limit=2&cursor={more}", token)).json()
    assert ([replay["id"] for replay in last["items"]], last["next_cursor"]) == (asked[:1], None)
    stranger = running.token(scope="read:policies")
    assert (await running.send("GET", "/v1/replays", stranger)).status_code in {403, 404}


async def test_the_number_of_open_replays_is_bounded_for_each_kind(house: House) -> None:
    replays = Replays(house.gate, house.requests)
    for _ in range(jobs.MAX_OPEN_JOBS_PER_KIND):
        await replays.start(auditor(house), DecisionSelection())

    with pytest.raises(Conflict) as full:
        await replays.start(auditor(house), DecisionSelection())
    assert full.value.decision is not None
    # Authors do not wait for auditors, and have their own bound.
    for _ in range(jobs.MAX_OPEN_JOBS_PER_KIND):
        await replays.start(author(house), DecisionSelection(), 1)
    with pytest.raises(Conflict):
        await replays.start(author(house), DecisionSelection(), 1)


async def test_a_cancelled_job_frees_its_place_and_is_not_started(house: House) -> None:
    replays = Replays(house.gate, house.requests)
    asked = [
        (await replays.start(auditor(house), DecisionSelection())).value for _ in range(jobs.MAX_OPEN_JOBS_PER_KIND)
    ]
    answers = [await replays.cancel(auditor(house), job.id) for job in asked]
    assert all(answer.value.state == "cancelled" and answer.value.ended_at is not None for answer in answers)

    keeper = await house.log_database.open("keeper", size=2)
    assert not await ReplayWorker(keeper, processes=1).once(asyncio.Event())
    await replays.start(auditor(house), DecisionSelection())
    bodies = await house.owner.fetch(
        "SELECT body FROM audit_record WHERE uid = $1 OR decision_uid = $1 ORDER BY id",
        answers[-1].receipt.uid,
    )
    decision, change = (json.loads(unpack(row["body"])) for row in bodies)
    assert (decision["kind"], decision["outcome"], decision["applied"]) == ("access", "allow", True)
    assert change["change"] == {"type": "policy.replay-cancelled", "from": {}, "to": {"replay": str(asked[-1].id)}}
    assert (change["resource"]["kind"], change["resource"]["id"]) == ("log", None)


async def test_only_authors_cancel_a_replay_of_a_version_and_it_is_recorded(house: House) -> None:
    replays = Replays(house.gate, house.requests)
    job = (await replays.start(author(house), DecisionSelection(), 1)).value
    with pytest.raises((Denied, NotFound)) as refused:
        await replays.cancel(auditor(house), job.id)
    assert refused.value.decision is not None

    done_so = await replays.cancel(author(house), job.id)

    assert done_so.value.state == "cancelled"
    record = json.loads(
        await house.owner.fetchval(
            "SELECT convert_from(body, 'UTF8') FROM audit_record WHERE decision_uid = $1", done_so.receipt.uid
        )
    )
    assert record["change"] == {"type": "policy.replay-cancelled", "from": {}, "to": {"replay": str(job.id)}}
    assert (record["resource"]["kind"], record["resource"]["id"]) == ("policy", "1")
    with pytest.raises(Conflict) as again:
        await replays.cancel(author(house), job.id)
    assert again.value.decision is not None
    with pytest.raises(NotFound):
        await replays.cancel(author(house), uuid7())


def unhurriedly(under: int | None, bodies: Sequence[bytes], texts: Mapping[int, Mapping[str, str]]) -> Tally:
    """A slow batch."""
    time.sleep(0.3)
    return batches.tally_here(under, bodies, texts)


async def test_a_keeper_stops_after_the_batch_in_which_its_job_is_cancelled(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await traffic(house)
    await multiply_records(house, 1_000)
    replays = Replays(house.gate, house.requests)
    job = (await replays.start(author(house), DecisionSelection(), 1)).value
    monkeypatch.setattr(worker, "tally_here", unhurriedly)
    keeper = await house.log_database.open("keeper", size=2)
    work = asyncio.create_task(ReplayWorker(keeper, processes=1, batch=5).once(asyncio.Event()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await replays.read(author(house), job.id)).value.totals.records:  # noqa: ASYNC110 — a process does it
            await asyncio.sleep(0.05)

    await replays.cancel(author(house), job.id)
    assert await work

    found = (await replays.read(author(house), job.id)).value
    assert found.state == "cancelled"
    assert 0 < found.totals.records < 1_000
    assert found.progress < 1


async def test_old_jobs_are_deleted_a_few_at_a_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_JOBS_REMOVED_AT_ONCE", 2)
    replays = Replays(house.gate, house.requests)
    asked = [(await replays.start(auditor(house), DecisionSelection())).value.id for _ in range(6)]
    for days, job in zip((50, 40, 35, 31, 29), asked, strict=False):
        await house.owner.execute(
            "UPDATE policy_replay SET state = 'done', asked_at = now() - interval '99 days',"
            " ended_at = now() - make_interval(days => $2) WHERE id = $1", job, days,
        )  # fmt: skip
    await house.owner.execute("UPDATE policy_replay SET asked_at = now() - interval '99 days' WHERE id = $1", asked[5])

    for left in (asked[2:], asked[4:], asked[4:]):
        await replays.start(author(house), DecisionSelection(), 1)
        rows = await house.owner.fetch("SELECT id FROM policy_replay WHERE version IS NULL ORDER BY id")
        assert [row["id"] for row in rows] == left


async def test_an_abandoned_job_continues_after_its_cursor_and_counts_nothing_twice(house: House) -> None:
    await traffic(house)
    replays = Replays(house.gate, house.requests)
    job = (await replays.start(auditor(house), DecisionSelection())).value
    keeper = await house.log_database.open("keeper", size=2)
    stop = asyncio.Event()
    stop.set()
    first = ReplayWorker(keeper, processes=1, batch=5)
    assert await first.once(stop)
    async with keeper.connection() as connection:
        half = await jobs.load(connection, jobs.LOG, job.id)
    assert half is not None
    assert half.state == "running"
    assert 0 < half.totals.records <= 5
    # Another keeper does not get the job while the claim of the first is valid.
    assert not await ReplayWorker(keeper, processes=1).once(asyncio.Event())
    await house.owner.execute("UPDATE policy_replay SET claimed_at = claimed_at - interval '1 minute'")

    whole = await run_job(house, job)

    assert whole.state == "done"
    assert whole.totals.records == await house.count(
        f"audit_record WHERE kind IN ('decision', 'access') AND id <= {whole.last_id}"
    )


async def test_a_replay_without_progress_fails(house: House) -> None:
    job = (await Replays(house.gate, house.requests).start(auditor(house), DecisionSelection())).value
    await house.owner.execute(
        "UPDATE policy_replay SET state = 'running', attempts = 5, claimed_at = now() - interval '1 hour'"
    )
    keeper = await house.log_database.open("keeper", size=2)

    assert not await ReplayWorker(keeper, processes=1).once(asyncio.Event())

    async with keeper.connection() as connection:
        found = await jobs.load(connection, jobs.LOG, job.id)
    assert found is not None
    assert (found.state, found.problem is None) == ("failed", False)


async def test_a_replay_waits_for_a_locked_table_and_fails_only_when_a_keeper_died(house: House) -> None:
    await traffic(house)
    job = (await Replays(house.gate, house.requests).start(auditor(house), DecisionSelection())).value
    # Four keepers have died with this job.
    await house.owner.execute("UPDATE policy_replay SET attempts = 4")
    keeper = await house.log_database.open("keeper", size=2, lock_timeout=0.1)
    first = ReplayWorker(keeper, processes=1, batch=7)

    async with house.owner.transaction():
        await house.owner.execute("LOCK TABLE audit_record IN ACCESS EXCLUSIVE MODE")
        for _ in range(jobs.MAX_ATTEMPTS + 2):
            with pytest.raises(DatabaseUnavailable):
                await first.once(asyncio.Event())
    assert tuple(await house.owner.fetchrow("SELECT state, attempts FROM policy_replay") or ()) == ("running", 5)

    assert await first.once(asyncio.Event())
    async with keeper.connection() as connection:
        found = await jobs.load(connection, jobs.LOG, job.id)
    assert found is not None
    assert (found.state, found.problem) == ("done", None)

    # The claim of another keeper is an attempt, even if this keeper was interrupted at the same job before.
    await house.owner.execute(
        "UPDATE policy_replay SET state = 'running', attempts = 5, claimed_by = $1, claimed_at = '-infinity'", uuid7()
    )
    async with keeper.connection() as connection:
        assert await jobs.claim(connection, uuid7(), job.id) is None
    assert await house.owner.fetchval("SELECT state FROM policy_replay") == "failed"


async def test_a_full_temporary_folder_fails_a_replay(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay waits without end only for the database."""

    def refuse(_self: batches.Versions, _number: int, _text: PolicyText) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await Replays(house.gate, house.requests).start(author(house), DecisionSelection(), 1)
    monkeypatch.setattr(batches.Versions, "put", refuse)
    keeper = await house.log_database.open("keeper", size=2)
    first = ReplayWorker(keeper, processes=1)
    for attempt in range(1, 3):
        with pytest.raises(OSError, match="No space left on device"):
            await first.once(asyncio.Event())
        assert await house.owner.fetchval("SELECT attempts FROM policy_replay") == attempt


def slowly(under: int | None, bodies: Sequence[bytes], texts: Mapping[int, Mapping[str, str]]) -> Tally:
    """A batch that takes longer than a lease."""
    time.sleep(4)
    return batches.tally_here(under, bodies, texts)


async def test_a_slow_batch_keeps_its_claim(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await traffic(house)
    await Replays(house.gate, house.requests).start(auditor(house), DecisionSelection())
    monkeypatch.setattr(jobs, "LEASE", 3.5)
    monkeypatch.setattr(worker, "tally_here", slowly)
    keeper = await house.log_database.open("keeper", size=2)

    work = asyncio.create_task(ReplayWorker(keeper, processes=1).once(asyncio.Event()))
    async with keeper.connection() as connection:
        while not work.done():
            await asyncio.sleep(0.2)
            if await house.owner.fetchval("SELECT state FROM policy_replay") == "running":
                assert await jobs.claim(connection, uuid7()) is None

    assert await work
    assert await house.owner.fetchval("SELECT state FROM policy_replay") == "done"


async def test_a_replay_that_fails_here_does_not_stop_the_keeper_and_ends(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The sealer and the relay run in the same process."""
    await Replays(house.gate, house.requests).start(auditor(house), DecisionSelection())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such place"))
    monkeypatch.setattr(worker, "LOOK_EVERY", 0.01)
    keeper, stop = await house.log_database.open("keeper", size=2), asyncio.Event()

    work = asyncio.create_task(ReplayWorker(keeper, processes=1).run(stop))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await house.owner.fetchval("SELECT state FROM policy_replay") != "failed":
            assert not work.done(), work.exception()
            await asyncio.sleep(0.02)
    stop.set()
    await work


def test_replay_workers_have_a_low_priority(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=batches.begin, initargs=(tmp_path,)) as pool:
        assert pool.submit(os.nice, 0).result() > os.nice(0)


async def test_a_policy_without_the_replay_action_refuses_replays(house: House) -> None:
    text = read_shipped()
    older = replace(
        text,
        rules="\n".join(line for line in text.rules.splitlines() if " replay," not in line) + "\n",
        vocabulary="\n".join(line for line in text.vocabulary.splitlines() if not line.startswith("replay ")) + "\n",
    )
    number = await draft(house, older)
    await house.owner.execute("UPDATE policy_head SET active = $1", number)

    with pytest.raises(Denied):
        await Replays(house.gate, house.requests).start(author(house), DecisionSelection(), 1)


async def test_a_replay_reads_the_log_by_its_primary_key_with_any_filter(house: House) -> None:
    await traffic(house)
    await multiply_records(house, 20_000)
    await house.owner.execute("ANALYZE audit_record")
    kinds = [decision.value for decision in DECISIONS]
    lines = await house.owner.fetch(
        f"EXPLAIN {recorded_decisions.SELECTED}",
        9_000,
        10_000,
        kinds,
        MONDAY_MORNING,
        None,
        "approve",
        "timesheet",
        1_000,
    )
    plan = "\n".join(line[0] for line in lines)

    assert "audit_record_0_pkey" in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_a_span_starts_at_the_first_record_of_the_period(house: House) -> None:
    await traffic(house)
    async with house.requests.connection() as connection:
        all_of_it = await recorded_decisions.find_span(connection, DecisionSelection())
        nothing = await recorded_decisions.find_span(connection, DecisionSelection(until=MONDAY_MORNING))
        last = await connection.fetchval("SELECT max(id) FROM audit_record")
        window = await recorded_decisions.read_window(
            connection, DecisionSelection(since=MONDAY_MORNING), after=0, last=last, limit=1_000
        )
        later = await recorded_decisions.read_window(
            connection, DecisionSelection(until=MONDAY_MORNING), after=0, last=last, limit=1_000
        )

    assert all_of_it == (0, last)
    assert nothing[0] == 0
    assert len(window.decisions) == await house.count("audit_record WHERE kind IN ('decision', 'access')")
    assert later.decisions == []
