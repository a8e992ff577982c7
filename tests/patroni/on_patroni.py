"""Patroni replaces a lost leader under load, by itself: nothing that was answered is lost. Run by `make patroni`, where
etcd is installed; no part of `make test`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.test_failover import is_answered
from tests.patroni.cluster import start_cluster
from tests.soak.estate import estate_on
from tests.soak.traffic import Traffic
from tests.soak.verdict import check_log, settle
from tests.watch import compare_with_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.patroni.cluster import Cluster
    from tests.soak.estate import Estate


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with start_cluster(tmp_path) as made:
        yield made


@pytest.fixture
async def hurt(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Estate]:
    """The service, which knows all three hosts."""
    leader = cluster.nodes[await cluster.find("leader")]
    admin = f"postgresql://postgres:{leader.passwords['postgres']}@127.0.0.1:{leader.port}/postgres"
    async with estate_on(tmp_path / "state", admin, cluster.hosts, workers=1) as made:
        yield made


@pytest.fixture
async def traffic(hurt: Estate) -> AsyncIterator[Traffic]:
    made = Traffic(hurt)
    await made.prepare()
    async with made.running():
        yield made


async def test_nothing_answered_is_lost_when_patroni_replaces_a_lost_leader(
    cluster: Cluster, hurt: Estate, traffic: Traffic, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    await is_answered(traffic)

    old = await cluster.find("leader")
    lost = time.monotonic()
    await asyncio.to_thread(cluster.nodes[old].lose)
    told.append(f"{old} was lost; the next request was answered after {await is_answered(traffic) - lost:.1f} s")
    assert await cluster.find("leader") != old

    cluster.nodes[old].start()
    await cluster.wait_whole()
    told.append(f"{old} came back as a standby")

    began = time.monotonic()
    await cluster.switch_over()
    told.append(f"a switchover; the next request was answered after {await is_answered(traffic) - began:.1f} s")

    # Longer than the lease of the leader: it goes on because it reaches every other node.
    cluster.lose_etcd()
    await asyncio.sleep(25)
    await is_answered(traffic)
    cluster.start_etcd()
    await cluster.wait_whole()
    told.append("etcd was away for 25 s; requests were answered")

    await traffic.end()
    await settle(hurt)
    found = await check_log(hurt, traffic.answers)
    assert found.good, str(found)
    told.append(f"{traffic.answers.acknowledged} decisions were answered; {found.lost} of them are lost")
    with capsys.disabled():
        print("", *told, sep="\n")
    compare_with_page("The leader of Patroni is lost", told)
