"""The primary is lost under load and a synchronous standby is promoted: nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.development.stores import DATABASE
from service.log.anchor import Anchor
from tests.acceptance.running_service import processes
from tests.ports import unused_port
from tests.soak.estate import estate
from tests.soak.traffic import Traffic
from tests.soak.verdict import check_log, settle
from tests.standby import copy_server, follow_synchronously, promote, start_server
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.development.local_servers import LocalPostgres
    from tests.soak.estate import Estate


@pytest.fixture
async def hurt(tmp_path: Path) -> AsyncIterator[tuple[Estate, LocalPostgres]]:
    """An estate whose processes know two hosts, and the standby that its primary waits for."""
    port = unused_port()
    async with estate(tmp_path / "primary", workers=1, further_hosts=(f"127.0.0.1:{port}",)) as made:
        copy_server(made.postgres, tmp_path / "standby")
        with start_server(tmp_path / "standby", port) as standby:
            await follow_synchronously(made.postgres, tmp_path / "standby")
            yield made, standby


@pytest.fixture
async def traffic(hurt: tuple[Estate, LocalPostgres]) -> AsyncIterator[Traffic]:
    made = Traffic(hurt[0])
    await made.prepare()
    async with made.running():
        yield made


async def is_answered(traffic: Traffic, count: int = 50) -> float:
    """Wait until so many more requests were answered with a decision; when the first one was."""
    before = traffic.answers.acknowledged

    async def more(count: int) -> bool:
        return traffic.answers.acknowledged >= before + count

    await until(partial(more, 1))
    first = time.monotonic()
    await until(partial(more, count))
    return first


async def has_fallen_silent(traffic: Traffic, seconds: float = 0.3, patience: float = 20) -> None:
    """Wait until no request was answered with a decision for so long: what was confirmed before has then arrived."""
    seen = -1
    async with asyncio.timeout(patience):
        while seen != traffic.answers.acknowledged:
            seen = traffic.answers.acknowledged
            await asyncio.sleep(seconds)


async def test_nothing_answered_is_lost_when_a_standby_is_promoted(
    hurt: tuple[Estate, LocalPostgres], traffic: Traffic, capsys: pytest.CaptureFixture[str]
) -> None:
    estate, standby = hurt
    await is_answered(traffic)

    # No answer leaves while the standby does not confirm: its decision would be on one disk only.
    stopped = [item for item in processes() if standby.pid in (item.pid, item.parent)]
    for process in stopped:
        process.send(signal.SIGSTOP)
    try:
        await has_fallen_silent(traffic)
        before = traffic.answers.acknowledged
        await asyncio.sleep(0.7)
        assert traffic.answers.acknowledged == before
    finally:
        for process in stopped:
            process.send(signal.SIGCONT)
    await is_answered(traffic)

    lost = time.monotonic()
    await asyncio.to_thread(estate.postgres.kill)
    promote(standby)
    first = await is_answered(traffic) - lost

    await traffic.end()
    await settle(estate)
    found = await check_log(estate, traffic.answers)
    assert found.good, str(found)
    with capsys.disabled():
        print(
            f"\nthe primary was killed, a standby promoted, and the next request answered within {first:.2f} s; {found}"
        )


@pytest.mark.long
async def test_the_old_primary_comes_back_as_a_standby(
    hurt: tuple[Estate, LocalPostgres], traffic: Traffic, tmp_path: Path
) -> None:
    estate, standby = hurt
    await is_answered(traffic)
    await asyncio.to_thread(estate.postgres.kill)
    promote(standby)
    await is_answered(traffic)

    shutil.rmtree(estate.postgres.data)
    copy_server(standby, estate.state)
    with start_server(estate.state) as old:
        await follow_synchronously(standby, old.state)
        await is_answered(traffic)
        await traffic.end()
        await settle(estate)
        await asyncio.to_thread(standby.kill)
        promote(old)
        found = await check_log(estate, traffic.answers)
    assert found.good, str(found)


@pytest.mark.long
async def test_what_no_standby_confirmed_is_not_signed(hurt: tuple[Estate, LocalPostgres], traffic: Traffic) -> None:
    """Rows of a commit whose wait for the standby was cut short, by a cancellation or a restart, are visible."""
    estate, standby = hurt
    await is_answered(traffic)
    superuser = await asyncpg.connect(estate.postgres.superuser_database_url(DATABASE))
    stopped = [item for item in processes() if standby.pid in (item.pid, item.parent)]
    for process in stopped:
        process.send(signal.SIGSTOP)
    await asyncio.sleep(0.5)
    signed = Anchor(estate.anchor).last()

    async def shows_more() -> bool:
        # End every wait for the standby but the signer's own.
        await superuser.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event = 'SyncRep' AND query NOT LIKE '%pg_logical_emit_message%'"
        )
        # How many records have a place, as this server shows them.
        return signed is not None and await superuser.fetchval("SELECT size FROM log_head") > signed.size

    await until(shows_more)
    # Several times the interval between checkpoints.
    await asyncio.sleep(2)
    assert Anchor(estate.anchor).last() == signed
    await superuser.close()

    for process in stopped:
        process.send(signal.SIGCONT)
    await is_answered(traffic)
    await traffic.end()
    await settle(estate)
    found = await check_log(estate, traffic.answers)
    assert found.good, str(found)
