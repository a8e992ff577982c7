"""The archived log: complete after any crash, in a directory as in an object store, and verified without the service.

The object store is moto's server, which speaks the API of S3.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.commands import audit_retention
from service.commands.doctor_checks import Grade, check_archive
from service.errors import LogDamaged, Misconfigured
from service.keeper import keep
from service.log import tiles
from service.log.anchor import Anchor
from service.log.archive import (
    CHECKPOINT,
    ArchiveBucket,
    ArchiveFolder,
    Archiver,
    open_store,
    read_archived,
    tiles_between,
)
from service.log.checkpoint import Note
from service.log.keeper_status import read_status
from service.log.key_files import make_key
from service.log.log import Log
from service.log.partitions import add_partition
from service.log.retention import prune
from service.log.signing import CheckpointSigner
from service.settings import Settings
from tests.command_line import verify
from tests.example_count import example_count
from tests.integration.log_database import change, decision
from tests.integration.log_trees import ORIGIN, SIGNER, as_superuser, keeper_settings, seal_all
from tests.integration.served import NO_TLS
from tests.integration.test_retention import NOVEMBER, SOON
from tests.ports import unused_port
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from service.database import Database
    from service.log.archive import ArchiveStore
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]
KEY = ("--key", SIGNER.verifier.vkey)


class SignedLog:
    """A log that grows, with a keeper's connections."""

    def __init__(self, log_database: LogDatabase, app: Database, keeper: Database, folder: Path) -> None:
        self.log_database, self.keeper = log_database, keeper
        self._log = Log(app)
        self._signer = CheckpointSigner(keeper, [SIGNER], Anchor(folder / "anchor"))

    async def grow(self, count: int) -> None:
        """Append, seal and sign so many records: reads, which are stored packed, and changes."""
        await self._log.append([decision(rules=[str(number)]) if number % 3 else change() for number in range(count)])
        await seal_all(self.keeper)
        await self._signer.sign()

    def archiver(self, store: ArchiveStore) -> Archiver:
        return Archiver(self.keeper, store, ORIGIN)


@pytest.fixture
async def signed_log(log_database: LogDatabase, tmp_path: Path) -> SignedLog:
    return SignedLog(log_database, await log_database.open("app"), await log_database.open("keeper"), tmp_path)


async def archive_all(archiver: Archiver) -> int:
    """Archive until there is nothing more; how many records the archive has."""
    size = 0
    while archived := await archiver.archive():
        size = archived.size
    return size


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an object store with the bucket `log`, which the variables of AWS name."""
    address, log = f"http://127.0.0.1:{unused_port()}", tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, "-m", "moto.server", "-p", address.rpartition(":")[2]]
    with log.open("wb") as output, pytest.MonkeyPatch.context() as patch:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "keeper",
            "AWS_SECRET_ACCESS_KEY": "secret-word",
        }.items():
            patch.setenv(name, value)
        try:
            _make_bucket(address)
            yield address
        finally:
            process.kill()
            process.wait()


def _make_bucket(address: str) -> None:
    with httpx2.Client(verify=NO_TLS, trust_env=False) as http:
        for _ in range(600):
            try:
                # Anybody may read it, so that the verifier needs no credentials of S3.
                assert http.put(f"{address}/log", headers={"x-amz-acl": "public-read"}).status_code == 200
            except httpx2.TransportError:
                time.sleep(0.1)
            else:
                return
    pytest.fail("the object store does not start")


@given(st.lists(st.integers(1, 70_000), min_size=1, max_size=5))
@settings(max_examples=example_count(50), deadline=None)
def test_steps_of_any_size_archive_every_tile_of_each_checkpoint(steps: list[int]) -> None:
    stored: set[tuple[int, int, int]] = set()
    size = 0
    for step in steps:
        stored |= {(tile.level, tile.index, tile.width) for tile in tiles_between(size, size + step)}
        size += step
        level = 0
        while size >> (tiles.HEIGHT * level):
            count = -(-(size >> (tiles.HEIGHT * level)) // tiles.WIDTH)
            wanted = {(level, index, tiles.width_at(level, index, size)) for index in range(count)}
            assert wanted <= stored
            level += 1


async def test_an_archive_in_an_object_store_is_that_of_a_directory_and_verified_over_http(
    signed_log: SignedLog, s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket, directory = open_store("s3://log/production", ORIGIN), open_store(f"file://{tmp_path}/archive", ORIGIN)
    assert isinstance(bucket, ArchiveBucket)
    for count in (300, 20, 400):
        await signed_log.grow(count)
        sizes = [await archive_all(signed_log.archiver(store)) for store in (bucket, directory)]
        assert sizes[0] == sizes[1]
        for place in (f"{s3}/log/production/{ORIGIN}", str(tmp_path / "archive" / ORIGIN)):
            code, report = await asyncio.to_thread(lambda at: verify("archive", at, *KEY, capsys=capsys), place)
            assert (code, report["checked"]["records"]) == (0, sizes[0]), report
    for path in (tmp_path / "archive" / ORIGIN).rglob("*"):
        if path.is_file():
            name = str(path.relative_to(tmp_path / "archive" / ORIGIN))
            assert await bucket.get(name) == path.read_bytes(), name


async def test_the_archived_records_are_those_of_the_log(
    signed_log: SignedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await signed_log.grow(400)
    size = await archive_all(signed_log.archiver(ArchiveFolder(tmp_path / "archive")))
    output = tmp_path / "records.jsonl"
    code, _ = verify("archive", str(tmp_path / "archive"), *KEY, "--output", str(output), capsys=capsys)
    assert code == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["position"] for row in rows] == list(range(size))
    auditor = await signed_log.log_database.connect("auditor")
    query = "SELECT r.uid::text FROM audit_position p JOIN audit_record r ON r.id = p.record_id ORDER BY p.position"
    assert [row["record"]["uid"] for row in rows] == [row["uid"] for row in await auditor.fetch(query)]


class Failing(ArchiveFolder):
    """A store that fails at the object `at`, before or after it was written."""

    def __init__(self, path: Path, at: int, *, written: bool) -> None:
        super().__init__(path)
        self._left, self._written = at, written

    async def put(self, path: str, data: bytes) -> None:
        self._left -= 1
        if self._left < 0 and not self._written:
            raise OSError("the store is away")
        await super().put(path, data)
        if self._left < 0:
            raise OSError("the store is away")


async def test_a_crash_at_any_object_leaves_an_archive_that_holds_and_the_next_step_completes_it(
    signed_log: SignedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "archive"
    await signed_log.grow(300)
    first = await archive_all(signed_log.archiver(ArchiveFolder(place)))
    for at in range(0, 12, 2):
        await signed_log.grow(270)
        for written in (False, True):
            with suppress(OSError):
                await archive_all(signed_log.archiver(Failing(place, at, written=written)))
            code, report = verify("archive", str(place), *KEY, capsys=capsys)
            assert code == 0, report
            assert report["checked"]["records"] >= first
        await archive_all(signed_log.archiver(ArchiveFolder(place)))
        archived = await read_archived(ArchiveFolder(place))
        assert archived is not None
        first = archived.size
        assert verify("archive", str(place), *KEY, capsys=capsys)[1]["checked"]["records"] == first


async def test_every_change_of_an_archived_file_is_found(
    signed_log: SignedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "archive"
    await signed_log.grow(300)
    await archive_all(signed_log.archiver(ArchiveFolder(place)))
    chance = random.Random(7)  # noqa: S311 - chooses what to spoil
    files = sorted(path for path in place.rglob("*") if path.is_file())
    for file in files:
        good = file.read_bytes()
        at = chance.randrange(len(good))
        changes = {
            "flipped": good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :],
            "cut off": good[: len(good) // 2],
            "emptied": b"",
        }
        for change_of, data in changes.items():
            file.write_bytes(data)
            assert verify("archive", str(place), *KEY, capsys=capsys)[0] != 0, (file, change_of)
        file.unlink()
        assert verify("archive", str(place), *KEY, capsys=capsys)[0] != 0, file
        file.write_bytes(good)
    assert verify("archive", str(place), *KEY, capsys=capsys)[0] == 0


async def test_a_state_file_shows_that_an_archive_was_replaced_by_an_older_one(
    signed_log: SignedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, state = tmp_path / "archive", ("--state", str(tmp_path / "state"))
    await signed_log.grow(10)
    await archive_all(signed_log.archiver(ArchiveFolder(place)))
    older = (place / CHECKPOINT).read_bytes()
    await signed_log.grow(10)
    await archive_all(signed_log.archiver(ArchiveFolder(place)))
    assert verify("archive", str(place), *KEY, *state, capsys=capsys)[0] == 0
    (place / CHECKPOINT).write_bytes(older)
    code, report = verify("archive", str(place), *KEY, *state, capsys=capsys)
    assert (code, "rolled back" in report["findings"][0]["what"]) == (1, True)


async def test_an_altered_record_is_not_archived(signed_log: SignedLog, tmp_path: Path) -> None:
    await signed_log.grow(20)
    body = "UPDATE audit_record SET body = convert_to('{}', 'UTF8') WHERE id = (SELECT record_id FROM audit_position"
    await as_superuser(signed_log.log_database, f"{body} WHERE position = 7)")
    with pytest.raises(LogDamaged, match="position 7 is not the one that was sealed"):
        await signed_log.archiver(ArchiveFolder(tmp_path / "archive")).archive()
    assert not (tmp_path / "archive" / CHECKPOINT).exists()


async def test_another_log_in_the_archive_is_not_overwritten(signed_log: SignedLog, tmp_path: Path) -> None:
    place = tmp_path / "archive"
    await signed_log.grow(5)
    root = "A" * 43 + "="
    other = SIGNER.sign(f"{ORIGIN}\n3\n{root}\n")
    place.mkdir()
    (place / CHECKPOINT).write_text(str(Note(f"{ORIGIN}\n3\n{root}\n", (other,))))
    with pytest.raises(LogDamaged, match="The first 3 records of the log are not those of the archive"):
        await signed_log.archiver(ArchiveFolder(place)).archive()
    longer = f"{ORIGIN}\n300\n{root}\n"
    (place / CHECKPOINT).write_text(str(Note(longer, (SIGNER.sign(longer),))))
    with pytest.raises(LogDamaged, match="The first 300 records"):
        await signed_log.archiver(ArchiveFolder(place)).archive()


async def test_only_archived_records_are_pruned_and_the_archive_has_them_afterwards(
    signed_log: SignedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "archive"
    owner = await signed_log.log_database.connect("owner")
    await signed_log.grow(30)
    await add_partition(owner, NOVEMBER)
    later: datetime = await owner.fetchval("SELECT clock_timestamp()") + SOON
    size = await archive_all(signed_log.archiver(ArchiveFolder(place)))
    assert size == 31
    # The bundle of the last record may still grow.
    refused = await prune(owner, later, "1d", archived=size)
    assert (refused.records, refused.unarchived) == (0, True)
    await signed_log.grow(300)
    size = await archive_all(signed_log.archiver(ArchiveFolder(place)))
    pruned = await prune(owner, later, "1d", archived=size)
    assert (pruned.records, pruned.unarchived) == (31, False)
    await signed_log.grow(300)
    size = await archive_all(signed_log.archiver(ArchiveFolder(place)))
    code, report = verify("archive", str(place), *KEY, capsys=capsys)
    assert (code, report["checked"]["records"]) == (0, size), "also those that were pruned"


async def test_what_was_pruned_before_it_was_archived_is_said_to_be_missing(
    signed_log: SignedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = await signed_log.log_database.connect("owner")
    await signed_log.grow(30)
    await add_partition(owner, NOVEMBER)
    await signed_log.grow(300)
    await prune(owner, await owner.fetchval("SELECT clock_timestamp()") + SOON, "1d")
    await signed_log.grow(1)
    await archive_all(signed_log.archiver(ArchiveFolder(tmp_path / "archive")))
    code, report = verify("archive", str(tmp_path / "archive"), *KEY, capsys=capsys)
    assert (code, [finding["what"] for finding in report["findings"]]) == (
        2,
        ["the records 0 to 255 are not there, only their hashes"],
    )


async def test_the_command_retains_what_is_not_archived(
    signed_log: SignedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMEWARDEN_ARCHIVE_URL", f"file://{tmp_path}/archive")
    monkeypatch.setenv("TIMEWARDEN_LOG_ORIGIN", ORIGIN)
    assert await audit_retention._archived_size() == 0
    await signed_log.grow(5)
    await archive_all(signed_log.archiver(open_store(f"file://{tmp_path}/archive", ORIGIN)))
    assert await audit_retention._archived_size() == 6


def names_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


async def test_keepers_with_the_same_process_id_write_whole_files_into_a_shared_directory(tmp_path: Path) -> None:
    folders = [ArchiveFolder(tmp_path) for _ in range(2)]
    known = [bytes([number]) * 200_000 for number in range(2)]
    await folders[0].put(CHECKPOINT, known[0])

    async def write(folder: ArchiveFolder, data: bytes) -> None:
        for _ in range(40):
            await folder.put(CHECKPOINT, data)

    writing = asyncio.gather(*map(write, folders, known))
    while not writing.done():
        assert await folders[0].get(CHECKPOINT) in known
    await writing
    assert names_in(tmp_path) == [CHECKPOINT]


async def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).mkdir()
    with pytest.raises(OSError, match=CHECKPOINT):
        await ArchiveFolder(tmp_path).put(CHECKPOINT, b"new")
    assert names_in(tmp_path) == [CHECKPOINT]


async def test_keepers_archive_side_by_side_and_say_so(
    log_database: LogDatabase, redis_url: str, tmp_path: Path, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    signer, stop = make_key(tmp_path / "key", ORIGIN), asyncio.Event()
    archiving: dict[str, Any] = {"archive_url": "s3://log/two-keepers", "archive_interval": 0.05}
    wanted = keeper_settings(log_database.url("keeper"), redis_url, tmp_path, **archiving)
    running = [asyncio.create_task(keep(wanted, stop)) for _ in range(2)]
    log = Log(await log_database.open("app"))
    store = open_store("s3://log/two-keepers", ORIGIN)
    for count in (1, 200, 300):
        await log.append([change() for _ in range(count)])
        await asyncio.sleep(0.3)

    async def archived() -> bool:
        found = await check_archive(wanted)
        return f"has {1 + 501} records" in found.found and found.grade is Grade.GOOD

    await until(archived, 30)
    auditor = await log_database.connect("auditor")
    parts = {status.part: status for status in await read_status(auditor)}
    assert parts["archiver"].ready, parts["archiver"].detail
    stop.set()
    await asyncio.gather(*running)
    assert await store.get(CHECKPOINT) is not None
    place = f"{s3}/log/two-keepers/{ORIGIN}"
    words = ("archive", place, "--key", signer.verifier.vkey)
    code, report = await asyncio.to_thread(lambda: verify(*words, capsys=capsys))
    assert (code, report["checked"]["records"]) == (0, 502)


async def test_a_store_that_fails_makes_the_archiver_unready_and_shows_no_secret(
    signed_log: SignedLog, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await signed_log.grow(3)
    archiver, stop = signed_log.archiver(open_store("s3://no-such-bucket/folder", ORIGIN)), asyncio.Event()
    running = asyncio.create_task(archiver.run(stop, 1.0))
    auditor = await signed_log.log_database.connect("auditor")

    async def reported() -> str:
        return next((status.detail for status in await read_status(auditor) if status.part == "archiver"), "")

    detail = await until(reported)
    stop.set()
    await running
    assert detail.startswith("cannot archive: ")
    assert "secret-word" not in detail
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_port()}")
    found = await check_archive(Settings(log_origin=ORIGIN, archive_url="s3://log/folder"))
    assert (found.grade, "secret-word" in found.found) == (Grade.BAD, False)


async def test_a_store_without_conditional_writes_is_written_all_the_same(
    signed_log: SignedLog, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    store = open_store("s3://log/unconditional", ORIGIN)
    for count in (3, 5):
        await signed_log.grow(count)
        await archive_all(signed_log.archiver(store))
    archived = await read_archived(store)
    assert archived is not None
    assert archived.size == 9


async def test_of_two_that_replace_the_checkpoint_one_is_told(s3: str) -> None:
    first, second = (open_store("s3://log/race", ORIGIN) for _ in range(2))
    for note in (b"1", b"2"):
        seen = [await store.get(CHECKPOINT) for store in (first, second)]
        assert seen[0] == seen[1]
        await first.put(CHECKPOINT, note)
        with pytest.raises(FileExistsError):
            await second.put(CHECKPOINT, b"another")
        assert await second.get(CHECKPOINT) == note


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "s3:///folder", "file://relative/path", "s3://key:secret@bucket/folder", "nothing"]
)
def test_an_url_that_no_archive_can_have_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="TIMEWARDEN_ARCHIVE_URL") as raised:
        open_store(url, ORIGIN)
    assert "secret" not in str(raised.value)
