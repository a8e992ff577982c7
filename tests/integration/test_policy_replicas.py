"""Replicas: heartbeats, known words, hints of new versions, and readiness."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

import pytest

from events.stream import open_redis
from service.administration.checks import examination
from service.administration.versions import version_store
from service.administration.versions.administration import PolicyAdministration
from service.api_process import check_policy
from service.authorization.active import replicas, watch
from service.authorization.active.hint import PolicyHint
from service.authorization.active.versions import PolicyVersions, hold_active_version
from service.authorization.active.watch import PolicyWatch
from service.errors import DatabaseUnavailable, Misconfigured, NotFound, Overloaded, PolicyRejected, PolicyUnavailable
from service.log.record import read_body
from service.policy.access_request import AccessRequest
from service.policy.policy_file import PolicyText
from tests.integration.api import InProcess, api
from tests.integration.house import activate_unread, alter_rules, check_in_process, rewriting_versions
from tests.integration.test_policy_life import activate, author, propose, steps, with_rows
from tests.policy_forge import read_shipped
from tests.until import PATIENCE_SECONDS, lock_is_waited_for, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.administration.checks.examination import PolicyReport
    from service.authorization.engine.engine import Snapshot
    from service.errors import TryLater
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
# Longer than any test waits: what happens sooner is not the heartbeat.
SLOW, QUICK = 3_600.0, 0.2


@asynccontextmanager
async def watch_policy(
    house: House, *, interval: float, hint: PolicyHint | None = None
) -> AsyncIterator[tuple[PolicyVersions, PolicyWatch]]:
    """The policy watch of another process."""
    versions = PolicyVersions(await house.log_database.open("app", size=1), examination.build)
    own = await house.log_database.open("app", size=1)
    watch = PolicyWatch(own, versions, listen=hint.listen if hint else None, interval=interval)
    async with watch.running():
        yield versions, watch


async def soon(versions: PolicyVersions, number: int, seconds: float = PATIENCE_SECONDS) -> bool:
    """Whether an idle process loads this version within that time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if versions.current().number == number:
            return True
        await asyncio.sleep(0.02)
    return False


async def decides_by(versions: PolicyVersions, text: PolicyText) -> bool:
    with suppress(PolicyUnavailable):
        return versions.current().digest == text.digest()
    return False


async def trouble(versions: PolicyVersions) -> str | None:
    """The trouble with the active version in this process, once there is any."""

    async def read_trouble() -> str | None:
        return versions.trouble

    return await until(read_trouble)


async def test_a_replica_is_registered_from_start_to_stop(house: House) -> None:
    async with watch_policy(house, interval=QUICK) as (_, watch):
        found = (await steps(house).replicas(author(house))).value
        assert [(replica.id, replica.policy_version, replica.alive) for replica in found] == [(watch.id, 1, True)]
    assert (await steps(house).replicas(author(house))).value == []


async def test_an_idle_replica_learns_of_a_version_by_its_heartbeat(house: House) -> None:
    async with watch_policy(house, interval=QUICK) as (versions, _):
        number = await activate(house, with_rows())
        assert await soon(versions, number)


async def test_a_hint_makes_a_replica_load_a_version_before_its_heartbeat(house: House, redis_url: str) -> None:
    teller, hearer = (PolicyHint(open_redis(redis_url), "policy") for _ in range(2))
    administration = PolicyAdministration(house.gate, house.versions, check_in_process, publish=teller.publish)
    async with watch_policy(house, interval=SLOW, hint=hearer) as (versions, _):
        number = await propose(house, with_rows())
        await asyncio.sleep(0.5)
        await administration.activate(author(house), number, expected=1)
        assert await soon(versions, number)
    await teller.close()
    await hearer.close()


async def test_a_false_hint_changes_nothing(house: House, redis_url: str) -> None:
    hint = PolicyHint(open_redis(redis_url), "policy")
    async with watch_policy(house, interval=SLOW, hint=hint) as (versions, _):
        await asyncio.sleep(0.3)
        redis = open_redis(redis_url)
        for false in (b"77", b"", b"\xff\x00", b"-1"):
            assert await redis.publish("policy", false) == 1
        await redis.aclose()
        await asyncio.sleep(0.5)
        assert (versions.current().number, versions.trouble) == (1, None)
    await hint.close()


async def test_an_activation_does_not_wait_for_redis(house: House) -> None:
    nobody = PolicyHint(open_redis("redis://127.0.0.1:1/0"), "policy")
    administration = PolicyAdministration(house.gate, house.versions, check_in_process, publish=nobody.publish)
    number = await propose(house, with_rows())
    async with watch_policy(house, interval=QUICK, hint=nobody) as (versions, _):
        assert (await administration.activate(author(house), number, expected=1)).value.active
        assert await soon(versions, number)
    await nobody.close()


async def test_a_version_with_words_that_a_live_replica_lacks_is_not_activated(house: House) -> None:
    number = await propose(house, with_rows())
    old, gone = uuid4(), uuid4()
    known = sorted(replicas.words_of_code() - {"relation policy.proposer"})
    for replica in (old, gone):
        await house.owner.execute("INSERT INTO api_replica (id, words) VALUES ($1, $2)", replica, known)
    silence = replicas.ALIVE_SECONDS + 1
    dead = "UPDATE api_replica SET seen_at = clock_timestamp() - make_interval(secs => $2) WHERE id = $1"
    await house.owner.execute(dead, gone, silence)

    with pytest.raises(PolicyRejected) as refused:
        await steps(house).activate(author(house), number, expected=1)
    told = [str(complaint) for complaint in refused.value.complaints]
    assert len(told) == 1
    assert "1 of the running replicas do not know the relation policy.proposer" in told[0]
    assert await house.owner.fetchval("SELECT active FROM policy_head") == 1

    await house.owner.execute(dead, old, silence)
    assert (await steps(house).activate(author(house), number, expected=1)).value.active


async def test_a_replica_that_starts_during_an_activation_loads_the_new_version(house: House) -> None:
    """It registers under the policy lock before it loads, so it waits for a running activation."""
    number = await propose(house, with_rows())
    async with house.requests.transaction() as activation:
        await hold_active_version(activation, exclusively=True)
        own = await house.log_database.open("app", size=1)
        versions = PolicyVersions(await house.log_database.open("app", size=1), examination.build)
        starting = asyncio.create_task(PolicyWatch(own, versions).running().__aenter__())
        await lock_is_waited_for(house.owner)
        assert not starting.done()
        await activation.execute("UPDATE policy_head SET active = $1", number)
    await starting
    assert versions.current().number == number


async def test_a_watch_can_be_stopped_at_any_point(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Python 3.11 the heartbeat once missed a cancellation in the same turn of the loop as a hint."""
    monkeypatch.setattr(watch, "SHORTEST", 0.0)
    versions = PolicyVersions(await house.log_database.open("app", size=1), examination.build)
    own = await house.log_database.open("app", size=1)

    async def always_something(heard: Callable[[], object]) -> None:
        while True:
            heard()
            await asyncio.sleep(0)

    for turns in range(120):
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            PolicyWatch(own, versions, listen=always_something, interval=SLOW).running(),
        ):
            for _ in range(turns):
                await asyncio.sleep(0)


async def test_a_deleted_row_is_registered_again(house: House) -> None:
    async with watch_policy(house, interval=QUICK) as (_, watch):
        await house.owner.execute("DELETE FROM api_replica")
        assert await until(lambda: house.owner.fetchval("SELECT id FROM api_replica")) == watch.id


async def test_a_process_does_not_start_on_a_database_that_lacks_a_migration(house: House) -> None:
    for older in (
        "UPDATE alembic_version SET version_num = '0041'",
        # A release that did not let this role read it ran the last step.
        "REVOKE SELECT ON alembic_version FROM timewarden_app",
    ):
        await house.owner.execute(older)
        with pytest.raises(Misconfigured, match="timewarden migrate"):
            async with watch_policy(house, interval=SLOW):
                pass
    await house.owner.execute("GRANT SELECT ON alembic_version TO timewarden_app")
    # One of a later release, which still serves this one.
    await house.owner.execute("UPDATE alembic_version SET version_num = '9999'")
    async with watch_policy(house, interval=SLOW):
        pass


async def broken_version(house: House) -> int:
    """An unreadable version becomes active, which only the database's owner can do."""
    return await activate_unread(house, PolicyText("m", "r", "v"))


async def readiness(running: InProcess) -> tuple[int, int, str]:
    """The status, the reported version, and the detail about the policy."""
    answer = await running.send("GET", "/health/ready")
    parts = {part["name"]: part for part in answer.json()["parts"]}
    return answer.status_code, answer.json()["policy_version"], parts["policy"]["detail"]


async def test_a_version_that_cannot_be_loaded_stops_decisions_and_readiness_says_so(house: House, issuer: str) -> None:
    async with api(house, issuer) as running:
        assert (await running.send("GET", "/v1/me", running.token())).status_code == 200
        number = await broken_version(house)
        refused = await running.send("GET", "/v1/me", running.token())
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:timewarden:problem:policy-unavailable")
        status, version, told = await readiness(running)
        assert (status, version) == (503, 1)
        assert told == f"version {number} is active and cannot be loaded here; version 1 was the last loaded one"

        await house.owner.execute("UPDATE policy_head SET active = 1")
        assert (await running.send("GET", "/v1/me", running.token())).status_code == 200


async def test_a_version_whose_texts_were_changed_in_the_database_decides_nothing(house: House, issuer: str) -> None:
    text = read_shipped()
    made = await version_store.insert(house.owner, text, message="good", author_person=None, author_client="c")
    await alter_rules(house, made.number, "\np, allow, anyone, read, any, timesheet, any, always, added\n")
    async with api(house, issuer) as running:
        await house.owner.execute("UPDATE policy_head SET active = $1", made.number)
        answer = await running.send("GET", "/v1/me", running.token())
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:timewarden:problem:policy-unavailable")
    with pytest.raises(PolicyUnavailable, match=f"The texts of policy version {made.number} were changed in the data"):
        await house.versions.load(made.number)


async def give_number_again(house: House, number: int, text: PolicyText) -> None:
    """As if the database was restored to the day before and a version with this text got the number."""
    async with rewriting_versions(house):
        await house.owner.execute(
            "UPDATE policy_version SET model = $2, rules = $3, vocabulary = $4, cases = '{}', digest = $5"
            " WHERE number = $1",
            number,
            text.model,
            text.rules,
            text.vocabulary,
            text.digest(),
        )


async def test_a_number_that_a_restore_gave_again_is_that_of_its_new_texts(house: House) -> None:
    lost = await activate(house, with_rows())
    assert (await house.versions.switch_to(lost)).number == lost
    await house.versions.switch_to(1)
    text = with_rows("# another version")
    await give_number_again(house, lost, text)
    assert (await house.versions.switch_to(lost)).digest == text.digest()


async def test_a_version_is_loaded_with_the_texts_that_a_restore_gave_its_number(house: House) -> None:
    """Simulations decide by them, and explanations compare their digest with that of the record."""
    lost = await activate(house, with_rows())
    await steps(house).activate(author(house), 1, expected=lost)
    text = with_rows("# another version")
    await give_number_again(house, lost, text)
    loaded = await house.versions.load(lost)
    assert loaded.digest == text.digest()
    assert await house.versions.load(lost) is loaded


async def test_a_version_that_a_restore_has_lost_is_unknown(house: House) -> None:
    lost = await propose(house, with_rows())
    await house.versions.load(lost)
    async with rewriting_versions(house):
        await house.owner.execute("DELETE FROM policy_version WHERE number = $1", lost)
    with pytest.raises(PolicyUnavailable) as refused:
        await house.versions.load(lost)
    assert isinstance(refused.value.__cause__, NotFound)


async def test_the_record_of_an_activation_names_the_texts_that_a_restore_gave_the_number(house: House) -> None:
    lost = await activate(house, with_rows())
    await steps(house).activate(author(house), 1, expected=lost)
    text = with_rows("# another version")
    await give_number_again(house, lost, text)
    await steps(house).activate(author(house), lost, expected=1)
    body = await house.owner.fetchval("SELECT body FROM audit_record WHERE kind = 'policy' ORDER BY id DESC LIMIT 1")
    change: Any = read_body(body)["change"]
    assert (change["type"], change["to"]["digest"]) == ("policy.activated", text.digest())


async def test_a_version_whose_texts_a_restore_replaced_during_its_check_is_not_activated(house: House) -> None:
    number = await propose(house, with_rows())

    async def check(text: PolicyText, version: int, before: PolicyText | None) -> PolicyReport:
        report = await check_in_process(text, version, before)
        await give_number_again(house, number, with_rows("# nobody has checked this one"))
        return report

    with pytest.raises(PolicyUnavailable) as refused:
        await PolicyAdministration(house.gate, house.versions, check).activate(author(house), number, expected=1)
    assert refused.value.cause == f"version {number}: its texts were replaced during the check"
    assert await house.owner.fetchval("SELECT active FROM policy_head") == 1


async def test_a_replica_learns_by_its_heartbeat_that_a_restore_gave_its_number_to_other_texts(house: House) -> None:
    """The facts of a decision name only the number, which is the same."""
    lost = await activate(house, with_rows())
    text = with_rows("# another version")
    watch = PolicyWatch(await house.log_database.open("app", size=1), house.versions, interval=QUICK)
    async with watch.running():
        await give_number_again(house, lost, text)
        await until(lambda: decides_by(house.versions, text))
        await steps(house).read(author(house), lost)
    body = await house.owner.fetchval("SELECT body FROM audit_record ORDER BY id DESC LIMIT 1")
    assert read_body(body)["policy"] == {"version": lost, "digest": text.digest()}


async def test_a_replica_whose_texts_a_restore_has_lost_refuses_requests_until_it_loads_the_new_ones(
    house: House,
) -> None:
    lost = await activate(house, with_rows())
    watch = PolicyWatch(await house.log_database.open("app", size=1), house.versions, interval=QUICK)
    async with watch.running():
        await give_number_again(house, lost, PolicyText("m", "r", "v"))
        assert await trouble(house.versions) == f"version {lost} is active and cannot be loaded here"
        with pytest.raises(PolicyUnavailable):
            await steps(house).read(author(house), lost)
        with pytest.raises(PolicyUnavailable):
            check_policy(house.versions)

        text = with_rows("# another version")
        await give_number_again(house, lost, text)
        await until(lambda: decides_by(house.versions, text))
        await steps(house).read(author(house), lost)
    assert check_policy(house.versions).ready


async def test_readiness_reports_requests_that_the_policy_could_not_decide(house: House, issuer: str) -> None:
    async with api(house, issuer) as running:
        status, version, told = await readiness(running)
        assert (status, version) == (200, 1)
        assert told == "version 1 decides; 0 requests could not be decided by it"


async def test_readiness_counts_requests_that_the_policy_could_not_decide(house: House) -> None:
    nothing: frozenset[str] = frozenset()
    unknown = AccessRequest("timesheet", "burn", "", nothing, nothing, frozenset())
    assert not house.versions.current().decide(unknown).allowed
    assert check_policy(house.versions).detail == "version 1 decides; 1 requests could not be decided by it"


async def test_a_replica_that_cannot_load_the_version_in_time_refuses_requests(house: House) -> None:
    versions = PolicyVersions(await house.log_database.open("app", size=1), examination.build, timeout=0.3)
    await versions.start()
    number = await activate(house, with_rows())
    lock = await house.log_database.connect("owner")
    async with lock.transaction():
        # No texts of a version can be read meanwhile.
        await lock.execute("LOCK TABLE policy_version IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(PolicyUnavailable):
            await versions.switch_to(number)
        assert versions.current().number == 1
        assert versions.trouble is not None

    async def has_learned() -> bool:
        # On a busy machine the time limit may be reached once more.
        with suppress(PolicyUnavailable):
            return (await versions.switch_to(number)).number == number
        return False

    await until(has_learned)
    assert versions.trouble is None


@pytest.mark.parametrize("problem", [Overloaded, DatabaseUnavailable])
async def test_an_activation_succeeds_although_no_connection_is_free_after_its_commit(
    house: House, monkeypatch: pytest.MonkeyPatch, problem: type[TryLater]
) -> None:
    """An answer that says that nothing was changed makes clients repeat the activation."""
    number = await propose(house, with_rows())

    def refuse() -> NoReturn:
        raise problem(cause="policy: every connection was busy")

    with monkeypatch.context() as changed:

        def make_busy(_number: int) -> None:
            changed.setattr(house.versions, "connection", refuse)

        administration = PolicyAdministration(house.gate, house.versions, check_in_process, publish=make_busy)
        assert (await administration.activate(author(house), number, expected=1)).value.active
        assert not check_policy(house.versions).ready
        with pytest.raises(PolicyUnavailable, match="nothing was decided"):
            await steps(house).read(author(house), number)
    assert (await steps(house).read(author(house), number)).value.version.active
    assert check_policy(house.versions).ready


async def test_an_unexpected_error_of_a_version_refuses_requests_and_does_not_stop_the_heartbeat(house: House) -> None:
    """After an unexpected error the version is loaded as soon as it can be read."""
    broken = Event()
    broken.set()

    def build(text: PolicyText, number: int) -> Snapshot:
        if number > 1 and broken.is_set():
            raise KeyError("a mistake in our code")
        return examination.build(text, number)

    versions = PolicyVersions(await house.log_database.open("app", size=1), build)
    watch = PolicyWatch(await house.log_database.open("app", size=1), versions, interval=QUICK)
    async with watch.running():
        number = await activate(house, with_rows())
        assert await trouble(versions) == f"version {number} is active and cannot be loaded here"
        with pytest.raises(PolicyUnavailable):
            await versions.switch_to(number)
        broken.clear()
        assert await soon(versions, number)
        assert versions.trouble is None


async def test_a_heartbeat_goes_on_after_an_unexpected_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watch_policy(house, interval=QUICK) as (versions, _):
        with monkeypatch.context() as changed:
            changed.setattr(replicas, "beat", None)
            assert await trouble(versions) == "the heartbeat fails (TypeError)"
            assert not check_policy(versions).ready
        number = await activate(house, with_rows())
        assert await soon(versions, number)
        assert versions.trouble is None


async def test_loading_other_versions_does_not_delay_the_active_one(house: House) -> None:
    release = Event()

    def slowly(text: PolicyText, number: int) -> Snapshot:
        if number != 7:
            release.wait(60)
        return examination.build(text, number)

    numbers = [await propose(house, with_rows(f"# {number}")) for number in range(2, 8)]
    assert numbers == [2, 3, 4, 5, 6, 7]
    versions = PolicyVersions(await house.log_database.open("app", size=1), slowly, timeout=30)
    # All default threads of the process are busy.
    others = [asyncio.get_running_loop().run_in_executor(None, release.wait, 60) for _ in range(64)]
    asked = [asyncio.create_task(versions.load(number)) for number in numbers[:-1]]
    try:
        assert (await versions.switch_to(7)).number == 7
        assert not any(task.done() for task in asked)
        assert not any(other.done() for other in others)
    finally:
        release.set()
    assert [snapshot.number for snapshot in await asyncio.gather(*asked)] == [2, 3, 4, 5, 6]
    await asyncio.gather(*others)


async def test_a_process_does_not_start_with_an_unreadable_policy(house: House) -> None:
    number = await broken_version(house)
    with pytest.raises(PolicyUnavailable) as refused:
        async with watch_policy(house, interval=SLOW):
            pass
    assert f"version {number}" in str(refused.value.cause)
    assert await house.count("api_replica") == 0
