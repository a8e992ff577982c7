"""Two tenants on one machine: a Postgres, a log and settings of their own, and one log of checkpoints over both."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
import pytest
from click.testing import CliRunner

from events.stream import open_redis
from service.__main__ import timewarden
from service.commands.database import migrate_database
from service.commands.policy_bootstrap import bootstrap_policy
from service.commands.tenants import read_tenant_file
from service.database import Database
from service.development.local_servers import start_postgres
from service.development.stores import NAMES, prepare
from service.keeper import keep
from service.log.archive import ArchiveFolder, Archiver
from service.log.key_files import make_key
from tests.command_line import verify
from tests.integration.api import token_of
from tests.integration.log_trees import keeper_settings
from tests.integration.served import NO_TLS, ROOT, serve
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.development.local_servers import LocalRedis
    from tests.integration.served import Served

# Six processes and two servers, for what each of them is tested for elsewhere.
pytestmark = pytest.mark.long
NAMES_OF_TENANTS = ("acme", "globex")
GROUP = "group.example/checkpoints/1"


@dataclass(frozen=True, slots=True)
class RunningTenant:
    """A tenant's service. `admin` is the superuser's URL of its database."""

    name: str
    service: Served
    redis_url: str
    owner_url: str
    keeper_url: str
    admin_url: str
    vkey: str
    issuer: str

    @property
    def audience(self) -> str:
        return f"https://{self.name}.example/timesheets"

    def token(self, **claims: Any) -> str:
        return token_of(self.issuer, aud=self.audience, **claims)

    def auditor(self) -> str:
        return self.token(sub="auth0|audrey", scope="read:audit", roles=["auditor"])

    async def get(self, path: str, token: str) -> httpx2.Response:
        async with httpx2.AsyncClient(timeout=20.0, trust_env=False, verify=NO_TLS) as http:
            return await http.get(f"{self.service.held.api}{path}", headers={"Authorization": f"Bearer {token}"})

    async def execute(self, *statements: str) -> None:
        """As a superuser, without triggers."""
        connection = await asyncpg.connect(self.admin_url)
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def signed(self) -> bool:
        """Whether the checkpoint that is served covers all records."""
        connection = await asyncpg.connect(self.owner_url)
        try:
            records = await connection.fetchval("SELECT count(*) FROM audit_record")
        finally:
            await connection.close()
        note = (await self.service.get("/v1/log/checkpoint")).text
        return note.split("\n")[1:2] == [str(records)]


@asynccontextmanager
async def tenant(name: str, folder: Path, redis: LocalRedis, number: int, issuer: str) -> AsyncIterator[RunningTenant]:
    """A Postgres server, a keeper and `serve` for this tenant. `number`: its database in the Redis that they share."""
    await asyncio.to_thread(folder.mkdir)
    origin, redis_url = f"{name}.example/audit/1", redis.database_url(number)
    key = make_key(folder / "key", origin)
    with start_postgres(folder / "server", preferred_port=0, durable=False) as server:
        urls = dict(zip(NAMES, prepare(folder / "server", server.superuser_url), strict=True))
        await migrate_database(urls["owner"])
        await bootstrap_policy(urls["owner"], ROOT / "policies")
        stop = asyncio.Event()
        settings = keeper_settings(urls["keeper"], redis_url, folder, log_origin=origin)
        keeper = asyncio.create_task(keep(settings, stop))
        audience = f"https://{name}.example/timesheets"
        database = urls["owner"].rpartition("/")[2]
        admin = server.superuser_database_url(database)
        try:
            async with serve(urls["app"], issuer, folder, REDIS_URL=redis_url, AUDIENCE=audience) as service:
                await service.ready()
                vkey = key.verifier.vkey
                yield RunningTenant(name, service, redis_url, urls["owner"], urls["keeper"], admin, vkey, issuer)
        finally:
            stop.set()
            await keeper


@pytest.fixture(scope="module")
async def pair(
    servers_directory: Path, redis_server: LocalRedis, issuer: str
) -> AsyncIterator[tuple[RunningTenant, RunningTenant]]:
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(
                tenant(name, servers_directory / f"tenant-{name}", redis_server, number, issuer)
            )
            for number, name in enumerate(NAMES_OF_TENANTS)
        ]
        yield first, second


def write_file(folder: Path, *tenants: RunningTenant) -> Path:
    """The file of the log of checkpoints, with its key."""
    make_key(folder / "group.key", GROUP)
    lines = ['directory = "checkpoints"', 'key_file = "group.key"']
    for item in tenants:
        url = f"{item.service.held.api}/v1/log"
        lines += ["[[tenant]]", f'name = "{item.name}"', f'log = "{url}"', f'key = "{item.vkey}"']
    (folder / "tenants.toml").write_text("\n".join(lines))
    return folder / "tenants.toml"


async def run(*words: str) -> tuple[int, list[dict[str, Any]]]:
    """A command of `timewarden tenants`: its exit code and what it found."""
    ended = await asyncio.to_thread(CliRunner().invoke, timewarden, ["tenants", *words, "--json"])
    return ended.exit_code, json.loads(ended.output)


async def test_a_tenant_knows_nothing_of_the_other(pair: tuple[RunningTenant, RunningTenant]) -> None:
    acme, globex = pair
    for mine, other in ((acme, globex), (globex, acme)):
        answer = await mine.get("/v1/me", mine.token())
        assert answer.status_code == 200
        assert (await other.get("/v1/me", mine.token())).status_code == 401, "its tokens are for another audience"
        decision = answer.headers["Decision-Id"]
        assert (await mine.get(f"/v1/decisions/{decision}", mine.auditor())).status_code == 200
        assert (await other.get(f"/v1/decisions/{decision}", other.auditor())).status_code == 404
    for item in pair:
        await until(item.signed)
    streams = []
    for item in pair:
        redis = open_redis(item.redis_url)
        streams.append({key for key in await redis.keys("timewarden:events*") if b"policy-activated" not in key})
        await redis.aclose()
    assert not streams[0] & streams[1], "each log has its epoch, and a stream named after it"


async def test_both_logs_are_recorded_and_verified(
    pair: tuple[RunningTenant, RunningTenant], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, group = write_file(tmp_path, *pair), tmp_path / "checkpoints"
    for item in pair:
        await until(item.signed)
    code, found = await run("record", str(file))
    assert (code, [(item["tenant"], item["good"]) for item in found]) == (0, [(n, True) for n in NAMES_OF_TENANTS])
    assert all("seen first" in item["found"] for item in found)

    await pair[0].get("/v1/me", pair[0].token())
    await until(pair[0].signed)
    code, found = await run("record", str(file))
    assert code == 0
    assert "that were recorded" in found[0]["found"]
    code, found = await run("check", str(file))
    assert (code, found[0]["found"]) == (0, "3 checkpoints are there as they were recorded")
    vkey = read_tenant_file(file).signer.verifier.vkey
    words = ["archive", str(group), "--key", vkey, "--state", str(tmp_path / "state")]
    code, report = verify(*words, capsys=capsys)
    assert (code, report["checked"]["records"]) == (0, 3)


async def test_a_tenant_whose_log_was_rolled_back_is_named_and_the_other_is_recorded(
    pair: tuple[RunningTenant, RunningTenant], tmp_path: Path
) -> None:
    acme, globex = pair
    file = write_file(tmp_path, *pair)
    for item in pair:
        await until(item.signed)
    served, older = f"{globex.service.held.api}/v1/log", tmp_path / "older"
    await archive(globex, older)
    await globex.get("/v1/me", globex.token())
    await until(globex.signed)
    assert (await run("record", str(file)))[0] == 0
    await acme.get("/v1/me", acme.token())
    await until(acme.signed)

    # As if an older backup had been restored and signed with a new anchor.
    file.write_text(file.read_text().replace(served, str(older)))
    code, found = await run("record", str(file))
    assert (code, found[0]["good"], found[1]["good"]) == (1, True, False)
    assert "rolled back" in found[1]["found"]
    file.write_text(file.read_text().replace(str(older), served))
    code, found = await run("check", str(file))
    assert (code, found[0]["found"]) == (0, "3 checkpoints are there as they were recorded")


async def archive(tenant: RunningTenant, folder: Path) -> None:
    """Copy the tenant's log, as it is now."""
    database = Database(tenant.keeper_url, size=1)
    await database.open()
    archiver = Archiver(database, ArchiveFolder(folder), f"{tenant.name}.example/audit/1")
    while await archiver.archive():
        pass
    await database.close()


async def test_a_tenant_whose_log_was_altered_is_named(
    pair: tuple[RunningTenant, RunningTenant], tmp_path: Path
) -> None:
    globex = pair[1]
    file = write_file(tmp_path, *pair)
    for item in pair:
        await until(item.signed)
    assert (await run("record", str(file)))[0] == 0
    flip = "set_byte(hashes, 0, get_byte(hashes, 0) # 1)"
    await globex.execute(f"UPDATE tile SET hashes = {flip} WHERE level = 0 AND index = 0")
    code, found = await run("check", str(file))
    assert (code, [item["good"] for item in found]) == (1, [True, True, False])
    assert found[2]["found"].startswith("tampered: ")
    await globex.execute(f"UPDATE tile SET hashes = {flip} WHERE level = 0 AND index = 0")
    assert (await run("check", str(file)))[0] == 0


async def test_a_recorded_checkpoint_that_was_altered_is_found(
    pair: tuple[RunningTenant, RunningTenant], tmp_path: Path
) -> None:
    file = write_file(tmp_path, *pair)
    for item in pair:
        await until(item.signed)
    assert (await run("record", str(file)))[0] == 0
    (entries,) = (tmp_path / "checkpoints/tile/entries/000.p").iterdir()
    good = entries.read_bytes()
    entries.write_bytes(good.replace(b"acme.example", b"acme.exbmple", 1))
    code, found = await run("check", str(file))
    assert code == 1
    assert "does not have the hash that was sealed" in found[0]["found"]
    entries.write_bytes(good)
    assert (await run("check", str(file)))[0] == 0


async def test_a_tenant_that_does_not_answer_is_named_and_the_other_is_recorded(
    pair: tuple[RunningTenant, RunningTenant], tmp_path: Path
) -> None:
    await until(pair[0].signed)
    file = write_file(tmp_path, *pair)
    port = pair[1].service.held.api.rpartition(":")[2]
    file.write_text(file.read_text().replace(f":{port}/", ":9/"))
    code, found = await run("record", str(file))
    assert (code, [item["good"] for item in found]) == (1, [True, False])
    assert found[1]["found"].startswith("incomplete: ")
