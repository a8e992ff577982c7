"""Replays over a real log: jobs, their keepers, and the law that every verdict is reproduced."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from service.audit import recorded, search
from service.audit.recorded import Wanted
from service.authorization import replay_jobs
from service.authorization.policy_replays import PolicyReplays
from service.authorization.replay_tally import Outcome
from service.authorization.replay_work import ReplayWork
from service.errors import Conflict, Denied, NotFound
from tests.integration.log_traffic import auditor, author, multiplied, traffic
from tests.policy_forge import shipped

if TYPE_CHECKING:
    from service.authorization.policy_file import PolicyText
    from service.authorization.replay_jobs import Job
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

MONDAY_MORNING = datetime(2020, 1, 6, 8, tzinfo=UTC)


async def draft(house: House, text: PolicyText) -> int:
    """A version that nobody activated."""
    number: int = await house.owner.fetchval(
        "INSERT INTO policy_version (number, digest, model, rules, vocabulary, cases, message, author_client)"
        " SELECT max(number) + 1, $1, $2, $3, $4, '{}', 'a test', 'a test' FROM policy_version RETURNING number",
        text.digest(),
        text.model,
        text.rules,
        text.vocabulary,
    )
    return number


async def done(house: House, job: Job) -> Job:
    """The job when a keeper has done it."""
    keeper = await house.log_database.open("keeper", size=2)
    assert await ReplayWork(keeper, processes=1, batch=7).once(asyncio.Event())
    async with keeper.connection() as connection:
        found = await replay_jobs.job(connection, job.id, redecision=job.version is None)
    assert found is not None
    return found


async def test_every_recorded_decision_is_reproduced(house: House) -> None:
    await traffic(house)
    replays = PolicyReplays(house.enforcement, house.requests)

    job = await done(house, (await replays.redecide(auditor(house), Wanted())).value)

    assert job.state == "done"
    assert job.progress == 1
    assert set(job.totals.counts) == {Outcome.SAME}
    assert job.totals.records == await house.count("audit_record WHERE kind IN ('decision', 'access')")


async def test_a_draft_is_tried_against_what_was_asked(house: House) -> None:
    await traffic(house)
    text = shipped()
    rules = "\n".join(line for line in text.rules.splitlines() if not line.endswith(" approve-team"))
    number = await draft(house, replace(text, rules=rules + "\n"))
    replays = PolicyReplays(house.enforcement, house.requests)

    asked = await replays.replay(author(house), number, Wanted(action="approve"))
    job = await done(house, asked.value)

    assert job.state == "done"
    assert job.totals.counts[Outcome.ALLOW_TO_DENY] == 1
    [example] = job.totals.examples[Outcome.ALLOW_TO_DENY]
    assert (example.action, example.subject) == ("approve", str(house.people["mia"]))
    assert example.was == "allowed by approve-team"
    assert job.totals.groups[Outcome.ALLOW_TO_DENY]["rule"] == {"approve-team": 1}
    assert (await replays.replayed(author(house), job.id)).value == job
    record = await house.owner.fetchval(
        "SELECT convert_from(body, 'UTF8') FROM audit_record WHERE kind = 'system' ORDER BY id DESC LIMIT 1",
    )
    assert str(job.id) in record


async def test_a_version_that_there_is_not_is_not_replayed(house: House) -> None:
    with pytest.raises(NotFound):
        await PolicyReplays(house.enforcement, house.requests).replay(author(house), 77, Wanted())
    assert await house.count("policy_replay") == 0


async def test_only_those_who_may_replay_do(house: House) -> None:
    replays = PolicyReplays(house.enforcement, house.requests)
    with pytest.raises(Denied):
        await replays.replay(auditor(house), 1, Wanted())
    with pytest.raises(Denied):
        await replays.redecide(author(house), Wanted())
    assert await house.count("policy_replay") == 0


async def test_so_many_replays_wait_and_no_more(house: House) -> None:
    replays = PolicyReplays(house.enforcement, house.requests)
    for _ in range(replay_jobs.MOST_OPEN):
        await replays.redecide(auditor(house), Wanted())

    with pytest.raises(Conflict) as full:
        await replays.redecide(auditor(house), Wanted())
    assert full.value.decision is not None
    with pytest.raises(Conflict):
        await replays.replay(author(house), 1, Wanted())


async def test_a_job_that_was_left_goes_on_behind_its_cursor_and_counts_nothing_twice(house: House) -> None:
    await traffic(house)
    replays = PolicyReplays(house.enforcement, house.requests)
    job = (await replays.redecide(auditor(house), Wanted())).value
    keeper = await house.log_database.open("keeper", size=2)
    stop = asyncio.Event()
    stop.set()
    first = ReplayWork(keeper, processes=1, batch=5)
    assert await first.once(stop)
    async with keeper.connection() as connection:
        half = await replay_jobs.job(connection, job.id, redecision=True)
    assert half is not None
    assert half.state == "running"
    assert 0 < half.totals.records <= 5
    # Another keeper may not have it while the first is believed to be alive.
    assert not await ReplayWork(keeper, processes=1).once(asyncio.Event())
    await house.owner.execute("UPDATE policy_replay SET claimed_at = claimed_at - interval '1 minute'")

    whole = await done(house, job)

    assert whole.state == "done"
    assert whole.totals.records == await house.count(
        f"audit_record WHERE kind IN ('decision', 'access') AND id <= {whole.last_id}"
    )


async def test_a_replay_that_never_gets_further_fails(house: House) -> None:
    job = (await PolicyReplays(house.enforcement, house.requests).redecide(auditor(house), Wanted())).value
    await house.owner.execute(
        "UPDATE policy_replay SET state = 'running', attempts = 5, claimed_at = now() - interval '1 hour'"
    )
    keeper = await house.log_database.open("keeper", size=2)

    assert not await ReplayWork(keeper, processes=1).once(asyncio.Event())

    async with keeper.connection() as connection:
        found = await replay_jobs.job(connection, job.id, redecision=True)
    assert found is not None
    assert (found.state, found.problem is None) == ("failed", False)


async def test_an_installation_whose_policy_does_not_know_the_word_refuses_it(house: House) -> None:
    text = shipped()
    older = replace(
        text,
        rules="\n".join(line for line in text.rules.splitlines() if " replay," not in line) + "\n",
        vocabulary="\n".join(line for line in text.vocabulary.splitlines() if not line.startswith("replay ")) + "\n",
    )
    number = await draft(house, older)
    await house.owner.execute("UPDATE policy_head SET active = $1", number)

    with pytest.raises(Denied):
        await PolicyReplays(house.enforcement, house.requests).replay(author(house), 1, Wanted())


async def test_the_stream_of_a_replay_goes_by_the_logs_key_whatever_it_filters(house: House) -> None:
    await traffic(house)
    await multiplied(house, 20_000)
    await house.owner.execute("ANALYZE audit_record")
    kinds = [one.value for one in search.DECISIONS]
    lines = await house.owner.fetch(
        f"EXPLAIN {recorded.WANTED}", 9_000, 10_000, kinds, MONDAY_MORNING, None, "approve", "timesheet", 1_000
    )
    plan = "\n".join(line[0] for line in lines)

    assert "audit_record_0_pkey" in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_a_span_starts_where_the_time_starts(house: House) -> None:
    await traffic(house)
    async with house.requests.connection() as connection:
        all_of_it = await recorded.span(connection, Wanted())
        nothing = await recorded.span(connection, Wanted(until=MONDAY_MORNING))
        last = await connection.fetchval("SELECT max(id) FROM audit_record")
        window = await recorded.window(connection, Wanted(since=MONDAY_MORNING), after=0, last=last, limit=1_000)
        later = await recorded.window(connection, Wanted(until=MONDAY_MORNING), after=0, last=last, limit=1_000)

    assert all_of_it == (0, last)
    assert nothing[0] == 0
    assert len(window.found) == await house.count("audit_record WHERE kind IN ('decision', 'access')")
    assert later.found == []
