"""A backup is made and restored by the commands of docs/backup.md: in full, and to an earlier time, which the keeper
notices and a new epoch ends."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import pytest
from click.testing import CliRunner

from service.__main__ import timewarden
from service.commands.database import migrate_database
from service.database import Database
from service.development.stores import NAMES, prepare
from service.keeper import keep
from service.log.anchor import Anchor
from service.log.keeper_status import read_status
from service.log.key_files import make_key
from service.log.log import Log
from tests.conftest import LASTING_DATABASE
from tests.integration.log_database import change
from tests.integration.log_trees import keeper_settings
from tests.standby import commands, paste, start_server
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.development.local_servers import LocalPostgres, LocalRedis

ARCHIVE, COPY, (RESTORE, UNTIL) = commands("Back up")[0], commands("Back up")[1], commands("Restore")
ORIGIN, NEXT_ORIGIN = "restored.example/audit/1", "restored.example/audit/2"
A_TIME = "2026-11-24 09:00:00+00"
COUNT = 40


@dataclass
class Site:
    """A database with its log, and the files beside it, which are no part of a backup."""

    folder: Path
    redis_url: str
    urls: dict[str, str]

    @property
    def anchor(self) -> Path:
        return self.folder / "anchor"

    async def append(self, count: int) -> None:
        database = Database(self.urls["app"], size=1)
        await database.open()
        await Log(database).append([change() for _ in range(count)])
        await database.close()

    async def fetch(self, query: str) -> object:
        connection = await asyncpg.connect(self.urls["owner"])
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def anchored(self) -> int:
        """How many records the anchor file names."""
        last = await asyncio.to_thread(Anchor(self.anchor).last)
        return last.size if last else 0

    @asynccontextmanager
    async def keeper(self, log_origin: str = ORIGIN) -> AsyncIterator[None]:
        """A keeper runs inside the block."""
        settings = keeper_settings(self.urls["keeper"], self.redis_url, self.folder, log_origin=log_origin)
        stop = asyncio.Event()
        running = asyncio.create_task(keep(settings, stop))
        try:
            yield
        finally:
            stop.set()
            await running

    async def signed(self) -> int:
        """How many records there are, once the anchor names all of them; 0 before that."""
        records = int(str(await self.fetch("SELECT count(*) FROM audit_record")))
        return records if await self.anchored() == records else 0

    async def problem(self, start: str = "") -> str:
        """Why the keeper does not sign, if it said that in a sentence that starts so."""
        connection = await asyncpg.connect(self.urls["keeper"])
        try:
            details = [
                part.detail for part in await read_status(connection) if part.part == "signer" and not part.ready
            ]
        finally:
            await connection.close()
        return next((detail for detail in details if detail.startswith(start)), "")


@dataclass
class Archive:
    """A backup in `folder`, made while a log grew up to `records`, of which `early` were there at `moment`.

    The `server` is lost, the files of `site` are not."""

    folder: Path
    server: LocalPostgres
    site: Site
    early: int
    moment: str
    records: int

    @asynccontextmanager
    async def restored(self, folder: Path, redis_url: str, blocks: str) -> AsyncIterator[Site]:
        """A new server with the backup, and the site on it, whose files are copies in `folder`."""
        for name in ("anchor", "key"):
            shutil.copy(self.site.folder / name, folder)
        paste(blocks, self.server, self.folder / folder.name, self.folder)
        with start_server(self.folder / folder.name) as server:
            old, new = f":{self.server.port}/", f":{server.port}/"
            site = Site(folder, redis_url, {name: url.replace(old, new) for name, url in self.site.urls.items()})
            # A server can be read while it recovers.
            await until(lambda: site.fetch("SELECT NOT pg_is_in_recovery()"))
            yield site


@pytest.fixture(scope="module")
async def archive(
    servers_directory: Path, redis_server: LocalRedis, tmp_path_factory: pytest.TempPathFactory
) -> Archive:
    folder, state = servers_directory / "backup", servers_directory / "backed-up"
    for shared in (folder, folder / "wal"):
        # Also for the account of the server, where that is another one.
        shared.mkdir()
        shared.chmod(0o777)
    with start_server(state) as server:
        urls = dict(zip(NAMES, prepare(state, server.superuser_url), strict=True))
        paste(ARCHIVE, server, state, folder)
    with start_server(state) as server:
        await migrate_database(urls["owner"])
        site = Site(tmp_path_factory.mktemp("site"), redis_server.database_url(LASTING_DATABASE), urls)
        make_key(site.folder / "key", ORIGIN)
        async with site.keeper():
            await site.append(COUNT)
            await asyncio.to_thread(paste, COPY, server, state, folder)
            await site.append(COUNT)
            early = await until(site.signed)
            moment = str(await site.fetch("SELECT clock_timestamp()"))
            await site.append(COUNT)
            records = await until(site.signed)
    # What a crash leaves behind: the segments that were not archived yet.
    await asyncio.to_thread(paste, f"cp -n {state}/postgres/data/pg_wal/0* /backup/wal/", server, state, folder)
    return Archive(folder, server, site, early, moment, records)


async def test_a_log_restored_with_all_that_was_signed_goes_on(
    archive: Archive, tmp_path: Path, redis_url: str
) -> None:
    async with archive.restored(tmp_path, redis_url, RESTORE) as site:
        assert await site.fetch("SELECT count(*) FROM audit_record") == archive.records
        async with site.keeper():
            await site.append(COUNT)
            assert await until(site.signed) == archive.records + COUNT


async def test_a_log_restored_to_an_earlier_time_is_not_signed_until_a_new_epoch(
    archive: Archive, tmp_path: Path, redis_url: str
) -> None:
    async with archive.restored(tmp_path, redis_url, RESTORE + UNTIL.replace(A_TIME, archive.moment)) as site:
        assert await site.fetch("SELECT count(*) FROM audit_record") == archive.early
        async with site.keeper():
            assert f"but a checkpoint of {archive.records} was signed" in str(await until(site.problem))
            # It has more records than were signed, but other ones.
            await site.append(2 * COUNT)
            assert await until(lambda: site.problem("The first")) == (
                f"The first {archive.records} records of the log are not those of the checkpoint that was signed;"
                " docs/runbook-restored-log.md says how to go on"
            )
            assert await site.anchored() == archive.records

        words = ["audit", "new-epoch", "--yes", "--anchor", str(site.anchor), "--origin", NEXT_ORIGIN]
        variables = {"TIMEWARDEN_DATABASE_URL": site.urls["owner"]}
        begun = await asyncio.to_thread(CliRunner().invoke, timewarden, words, env=variables)
        assert begun.exit_code == 0, begun.output
        (tmp_path / "next").mkdir()
        following = Site(tmp_path / "next", redis_url, site.urls)
        make_key(following.folder / "key", NEXT_ORIGIN)
        async with following.keeper(log_origin=NEXT_ORIGIN):
            assert await until(following.signed) == archive.early + 2 * COUNT + 1
        # What the record of the new epoch says: how many records of before the loss there are.
        kept = "SELECT convert_from(body, 'UTF8')::jsonb ->> 'kept' FROM audit_record ORDER BY id DESC LIMIT 1"
        assert await following.fetch(kept) == str(archive.early)
