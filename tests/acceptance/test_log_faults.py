"""Short versions of `make soak`: parts of the service die under load, and the log says of each what was answered.

One estate for all: what a test leaves behind is what the next one finds, and each judges the whole log.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.soak.estate import estate
from tests.soak.traffic import Traffic, for_seconds
from tests.soak.verdict import Verdict, check_log, settle
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.soak.estate import Estate


@pytest.fixture(scope="module")
async def hurt(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Estate]:
    async with estate(tmp_path_factory.mktemp("faults") / "state") as made:
        yield made


@pytest.fixture(scope="module")
async def traffic(hurt: Estate) -> Traffic:
    made = Traffic(hurt)
    await made.prepare()
    return made


async def verdict(traffic: Traffic) -> Verdict:
    await settle(traffic.estate)
    found = await check_log(traffic.estate, traffic.answers)
    assert found.good, str(found)
    return found


@pytest.mark.long
async def test_nothing_answered_is_lost_when_api_workers_and_keepers_are_killed(traffic: Traffic) -> None:
    chance = random.Random(5)  # noqa: S311 - the same mixture every time
    before = traffic.answers.acknowledged

    async def damage() -> None:
        await asyncio.sleep(chance.random() * 0.5)
        await chance.choice((traffic.estate.kill_worker, traffic.estate.kill_keeper))()

    await for_seconds(traffic, 5, damage, enough=lambda: traffic.answers.acknowledged - before > 100)
    assert traffic.answers.acknowledged - before > 100
    found = await verdict(traffic)
    assert found.checkpoints > 1
    assert found.changes > 10


@pytest.mark.long
async def test_nothing_answered_is_lost_when_postgres_is_killed(traffic: Traffic) -> None:
    before = traffic.answers.acknowledged
    ways = [True, False]

    async def damage() -> None:
        await asyncio.sleep(0.8)
        if ways:
            await traffic.estate.kill_postgres(immediate=ways.pop())

    await for_seconds(traffic, 6, damage, enough=lambda: not ways and traffic.answers.acknowledged - before > 50)
    assert not ways
    await verdict(traffic)
    assert traffic.answers.acknowledged - before > 50


@pytest.mark.long
async def test_while_postgres_hangs_answers_are_503(traffic: Traffic) -> None:
    async def damage() -> None:
        await asyncio.sleep(0.5)
        async with traffic.estate.hanging_postgres():
            before = traffic.answers.statuses[503]

            async def is_refused() -> bool:
                return traffic.answers.statuses[503] > before + 5

            # They come while Postgres hangs, so they do not wait for it.
            await until(is_refused)

    await for_seconds(traffic, 3, damage)
    await verdict(traffic)


async def test_a_full_disk_stops_answers_until_there_is_room(traffic: Traffic) -> None:
    recorded, headers = traffic.answers, {"Authorization": f"Bearer {traffic.estate.token}"}
    path, entry = traffic.sheets[0]
    async with httpx2.AsyncClient(
        base_url=traffic.estate.api, headers=headers, timeout=PATIENCE_SECONDS, trust_env=False
    ) as http:
        before = (await http.get(path)).json()
        body = {"day": before["period_start"], "project": "ATLAS", "minutes": before["minutes"] % 1000 + 1}
        async with traffic.estate.full_disk():
            answers: list[httpx2.Response] = []
            # Requests succeed until Postgres has used up the space that it allocated before.
            await traffic.use_up()
            while [answer.status_code for answer in answers[-5:]] != [503] * 5 and len(answers) < 20_000:
                together = await asyncio.gather(*(http.get(path) for _ in range(20)))
                answers += [recorded.hear(answer) for answer in together]
            changes = [
                recorded.hear(await http.put(f"{path}/entries/{entry}", json=body, headers={"If-Match": "*"}))
                for _ in range(5)
            ]
        for answer in (*answers[-5:], *(change for change in changes if change.status_code != 200)):
            assert answer.status_code == 503
            assert answer.json()["type"].startswith("urn:timewarden:problem:")
        await traffic.estate.ready()
        after = (await http.get(path)).json()
        assert after["version"] == before["version"] + sum(item.status_code == 200 for item in changes)
        again = await http.put(f"{path}/entries/{entry}", json=body, headers={"If-Match": "*"})
        assert again.status_code == httpx2.codes.OK
    await verdict(traffic)
