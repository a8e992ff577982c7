"""The whole keeper: it seals, signs and publishes, and does not start if it cannot sign."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from events.stream import open_redis
from events.upkeep import StreamState, read_state
from service import metrics
from service.errors import Misconfigured
from service.keeper import keep
from service.keeper_metrics import KeeperMetrics, respond_metrics
from service.log import checkpoint as notes
from service.log.checkpoint import Checkpoint
from service.log.feed import ChangeFeed
from service.log.keeper_status import read_status
from service.log.key_files import make_key
from service.log.log import Log
from tests.integration.log_database import change
from tests.integration.log_trees import ORIGIN, keeper_settings
from tests.integration.served import fetch
from tests.ports import unused_port
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from service.settings import Settings
    from tests.integration.event_stream import EventStream
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]


def settings(log_database: LogDatabase, redis_url: str, tmp_path: Path, **changes: Any) -> Settings:
    return keeper_settings(log_database.url("keeper"), redis_url, tmp_path, **changes)


async def test_records_are_sealed_signed_anchored_and_published(
    log_database: LogDatabase, redis_url: str, tmp_path: Path
) -> None:
    signer, stop = make_key(tmp_path / "key", ORIGIN), asyncio.Event()
    running = asyncio.create_task(keep(settings(log_database, redis_url, tmp_path), stop))
    await Log(await log_database.open("app")).append([change()])
    auditor = await log_database.connect("auditor")
    newest, note = "SELECT note FROM checkpoint WHERE size = 2", None
    for _ in range(200):
        note = await auditor.fetchval(newest)
        if note is not None:
            break
        await asyncio.sleep(0.05)
    stop.set()
    await running
    assert note is not None
    signed = Checkpoint.parse(notes.verify(note, [signer.verifier]).text)
    anchored = (tmp_path / "anchor").read_text().splitlines()[-1].split(" ")
    assert (signed.origin, signed.size, anchored[1:3]) == (ORIGIN, 2, [ORIGIN, "2"])
    assert {status.part: status.ready for status in await read_status(auditor)} == {
        "sealer": True,
        "signer": True,
        "relay": True,
    }


async def test_a_keeper_says_on_its_address_how_far_the_log_is_sealed_signed_and_published(
    log_database: LogDatabase, redis_url: str, tmp_path: Path
) -> None:
    make_key(tmp_path / "key", ORIGIN)
    stop, port = asyncio.Event(), unused_port()
    wanted = settings(log_database, redis_url, tmp_path, keeper_address=f"127.0.0.1:{port}")
    await Log(await log_database.open("app")).append([change()])
    running = asyncio.create_task(keep(wanted, stop))

    async def read_numbers() -> dict[str, float]:
        """The samples without labels, once the change is published and signed."""
        try:
            page = (await fetch(f"http://127.0.0.1:{port}/metrics", 5.0)).text
        except httpx2.ConnectError:
            return {}
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        found = {sample.name: sample.value for sample in samples if not sample.labels}
        parts = {sample.labels["part"]: sample.value for sample in samples if sample.name == "timewarden_part_ready"}
        done = {"timewarden_event_stream_length": 1, "timewarden_checkpoint_size_records": 2}
        is_done = done.items() <= found.items()
        return found if is_done and parts == {"sealer": 1, "signer": 1, "relay": 1} else {}

    found = await until(read_numbers, 30)
    stop.set()
    await running
    assert found["timewarden_log_sealed_records"] == 2
    assert found["timewarden_log_unsealed_seconds"] == found["timewarden_log_unsigned_seconds"] == 0
    assert found["timewarden_relay_lag_seconds"] == 0
    assert found["timewarden_event_stream_position"] == 1
    assert 0 <= found["timewarden_checkpoint_age_seconds"] < 60


async def test_numbers_that_cannot_be_read_are_left_out(log_database: LogDatabase) -> None:
    database = await log_database.open("keeper")
    nowhere = open_redis("redis://127.0.0.1:1/0", timeout=0.5)
    await KeeperMetrics(ChangeFeed(database), database, database, partial(read_state, nowhere, "stream")).collect()
    await nowhere.aclose()
    assert metrics.COLLECTED.series == {("redis",): [0], ("postgres",): [1]}
    assert metrics.LOG_SIZE.series == {(): [0]}, "no keeper has sealed it yet"
    assert metrics.STREAM_LENGTH.series == metrics.RELAY_LAG.series == {}


async def test_numbers_stay_on_the_page_while_they_are_read_again(event_stream: EventStream) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def read_slowly() -> StreamState:
        begun.set()
        await goes_on.wait()
        return await read_state(event_stream.redis, event_stream.stream)

    measures = KeeperMetrics(event_stream.feed, event_stream.keeper, event_stream.keeper, read_slowly)
    goes_on.set()
    await measures.collect()
    begun.clear()
    goes_on.clear()
    again = asyncio.create_task(measures.collect())
    await begun.wait()
    page = respond_metrics()[2].decode()
    goes_on.set()
    await again
    for name in ("log_unsealed_seconds", "log_sealed_records", "relay_lag_seconds", "event_stream_length"):
        assert f"\ntimewarden_{name} " in page


async def test_a_table_that_a_restore_has_taken_away_is_reported_until_it_is_back(event_stream: EventStream) -> None:
    read_stream = partial(read_state, event_stream.redis, event_stream.stream)
    measures = KeeperMetrics(event_stream.feed, event_stream.keeper, event_stream.keeper, read_stream)
    owner = await event_stream.log_database.connect("owner")
    await measures.collect()
    assert metrics.COLLECTED.series == {("redis",): [1], ("postgres",): [1]}
    await owner.execute("ALTER TABLE keeper_report RENAME TO taken_away")
    await measures.collect()
    assert metrics.COLLECTED.series == {("redis",): [1], ("postgres",): [0]}
    assert metrics.LOG_SIZE.series == {}
    await owner.execute("ALTER TABLE taken_away RENAME TO keeper_report")
    await measures.collect()
    assert metrics.COLLECTED.series == {("redis",): [1], ("postgres",): [1]}
    assert metrics.LOG_SIZE.series == {(): [0]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_key_file": ""}, "Set TIMEWARDEN_LOG_KEY_FILE"),
        ({"log_origin": ""}, "Set TIMEWARDEN_LOG_ORIGIN"),
        ({"log_anchor_file": ""}, "Set TIMEWARDEN_LOG_ANCHOR_FILE"),
        ({"log_origin": "another.example/log"}, "named timesheets.example.com/audit/test"),
        ({"log_key_file": "/nowhere/key"}, "no key file /nowhere/key"),
    ],
)
async def test_a_keeper_that_cannot_sign_does_not_start(
    log_database: LogDatabase, redis_url: str, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    make_key(tmp_path / "key", ORIGIN)
    with pytest.raises(Misconfigured, match=message):
        await keep(settings(log_database, redis_url, tmp_path, **changes), asyncio.Event())
