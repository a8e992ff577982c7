"""`timewarden serve` as a process: what it cannot start with is told in one sentence, once, with exit code 2."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.development.server_directory import DirectoryLock
from service.errors import Misconfigured
from service.log.roles import check_server
from tests.command_line import run_command
from tests.held_sockets import HeldSockets
from tests.integration.house import activate_unread
from tests.integration.served import Served, serve
from tests.local_http import Answering, http_server
from tests.policy_forge import read_shipped
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from tests.integration.house import House
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ROOT = Path(__file__).resolve().parents[2]
WHOLE = {
    # Nothing listens there, so an early attempt to connect would fail visibly.
    "DATABASE_URL": "postgresql://timewarden_app:secret-word@127.0.0.1:1/timewarden",
    "REDIS_URL": "redis://:secret-word@127.0.0.1:1/0",
    "PUBLIC_URL": "https://api.example",
    "ISSUER": "https://issuer.example/",
    "AUDIENCE": "https://api.example/timesheets",
    "CURSOR_KEY": "secret-word" * 3,
}


def environment_of(changes: Mapping[str, str]) -> dict[str, str]:
    """Ours without any setting, and with these."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
    return {**environment, **{f"TIMEWARDEN_{name}": value for name, value in {**WHOLE, **changes}.items()}}


def run_and_read_error(**changes: str) -> str:
    """Run a process with these settings, and return its standard error; it must end with exit code 2. Unless they name
    a port, its ports are held for it."""
    with HeldSockets() as held:
        return _run(changes, held if "PORT" not in changes else None)


def _run(changes: Mapping[str, str], held: HeldSockets | None) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "service", "serve", *(held.options if held else ())],
        pass_fds=held.numbers if held else (),
        cwd=ROOT,
        env=environment_of(changes),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert "secret-word" not in run.stderr
    return run.stderr


BAD = [
    pytest.param({"REDIS_URL": "redis://:secret-word/x@127.0.0.1/0"}, "TIMEWARDEN_REDIS_URL", id="Redis"),
    pytest.param({"TOKEN_ALGORITHMS": "HS256"}, "Issuer main may use only these algorithms", id="tokens"),
    *(
        pytest.param(changes, sentence, marks=pytest.mark.long, id=name)
        for name, changes, sentence in (
            ("proofs", {"DPOP_ALGORITHMS": "ES256,none"}, "DPoP proofs may use only these algorithms"),
            ("keys", {"JWKS_URL": "http://keys.example/"}, "TIMEWARDEN_JWKS_URL must be an https URL"),
            ("types", {"TOKEN_TYPES": ""}, "Issuer main must accept at least one token type; issuer main is that of"),
            ("issuer", {"ISSUER": ""}, "Set TIMEWARDEN_ISSUER"),
            ("health", {"MANAGEMENT_ADDRESS": "8081"}, "Settings are invalid: TIMEWARDEN_MANAGEMENT_ADDRESS"),
        )
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), BAD)
def test_what_cannot_be_served_is_told_once(changes: dict[str, str], sentence: str) -> None:
    told = run_and_read_error(**changes)
    assert told.startswith(f"timewarden: {sentence}") or f": {sentence}: " in told
    assert told.count("\n") == 1
    # Nothing was asked for yet.
    assert "repeat" not in told


def test_every_fault_of_an_issuers_file_is_told_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "issuers.toml"
    file.write_text(
        '[[issuer]]\nname = "one"\nissuer = "http://plain.example/"\naudience = "a"\nalgoritms = ["RS256"]\n'
    )
    told = run_and_read_error(ISSUERS_FILE=str(file))
    assert told.startswith("timewarden: The issuers file is not valid:\n")
    assert "algoritms" in told
    assert "Traceback" not in told


def test_a_port_that_is_taken_is_told() -> None:
    with HeldSockets() as held:
        taken = {"PORT": str(held.port)}
        assert run_and_read_error(**taken).startswith(f"timewarden: Cannot listen on 127.0.0.1, port {held.port}: ")
        with HeldSockets() as other:
            other.sockets[0].close()
            free = {"PORT": str(other.port), "MANAGEMENT_ADDRESS": f"127.0.0.1:{held.management_port}"}
            assert run_and_read_error(**free) == (
                f"timewarden: Cannot listen on 127.0.0.1, port {held.management_port}: Address already in use"
                f" (`ss -ltnp 'sport = :{held.management_port}'` shows by what);"
                " choose another address in TIMEWARDEN_MANAGEMENT_ADDRESS\n"
            )


async def test_a_running_service_shares_its_port_with_nobody(house: House, issuer: str, tmp_path: Path) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path) as service:
        await service.ready()
        port = service.held.port
        assert run_and_read_error(PORT=str(port)).startswith(f"timewarden: Cannot listen on 127.0.0.1, port {port}: ")
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                stranger.bind(("127.0.0.1", port))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers share a socket")
async def test_workers_get_equal_shares_of_many_connections(house: House, issuer: str, tmp_path: Path) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path, WORKERS="2") as service:
        workers = await service.ready(workers=2)
        before = [count_files(worker["pid"]) for worker in workers]
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", service.held.port)))

            async def has_its_share() -> bool:
                after = [count_files(worker["pid"]) for worker in workers]
                return all(now - then >= 20 for then, now in zip(before, after, strict=True))

            await until(has_its_share, 10)


def count_files(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


@pytest.mark.parametrize("number", ["0", "99"])
def test_a_descriptor_without_a_port_is_told(number: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--fd", number],
        cwd=ROOT,
        env=environment_of({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 2
    assert run.stderr.startswith(f"timewarden: File descriptor {number} is ")
    assert run.stderr.count("\n") == 1


async def test_a_password_that_is_wrong_is_told(house: House) -> None:
    told = run_and_read_error(DATABASE_URL=house.log_database.url("app").replace(":a@", ":secret-word@"))
    assert told.startswith("timewarden: TIMEWARDEN_DATABASE_URL does not open a database")
    assert told.count("\n") == 1


def test_a_second_run_in_one_directory_says_so_and_stops(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path, "up")
    lock.acquire()
    run = subprocess.run(
        [sys.executable, "-m", "service", "up"],
        cwd=ROOT,
        env={**environment_of({}), "TIMEWARDEN_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    lock.release()
    assert run.returncode == 2
    assert run.stderr == f"timewarden: {tmp_path} is in use by process {os.getpid()}; stop that one first.\n"


async def test_a_role_that_could_rewrite_the_log_serves_nothing(log_database: LogDatabase) -> None:
    told = run_and_read_error(DATABASE_URL=log_database.url("owner"))
    assert "audit_record" in told
    assert told.count("\n") == 1


LIKE_POSTGRES = [
    pytest.param(
        "CREATE FUNCTION public.pg_try_advisory_xact_lock(bigint) RETURNS boolean LANGUAGE sql RETURN true",
        "two sessions can hold the same exclusive advisory lock",
        id="locks",
    ),
    pytest.param(
        "CREATE FUNCTION public.pg_current_snapshot() RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'unimplemented' USING ERRCODE = 'feature_not_supported'; END $$",
        "it has no snapshots or no advisory locks",
        id="snapshots",
    ),
]


@pytest.mark.parametrize(("function", "sentence"), LIKE_POSTGRES)
async def test_a_server_that_only_looks_like_postgres_serves_and_keeps_nothing(
    house: House, superuser: asyncpg.Connection[asyncpg.Record], function: str, sentence: str
) -> None:
    # The function comes before Postgres's own on the path of both roles.
    await house.owner.execute(function)
    name = house.log_database.name
    for role in ("app", "keeper"):
        await superuser.execute(
            f'ALTER ROLE timewarden_{role} IN DATABASE "{name}" SET search_path = public, pg_catalog'
        )
    told = run_and_read_error(DATABASE_URL=house.log_database.url("app"))
    assert sentence in told
    assert told.count("\n") == 1
    database = await house.log_database.open("keeper")
    with pytest.raises(Misconfigured, match=sentence):
        await check_server(database)


async def test_a_database_without_a_policy_serves_nothing(log_database: LogDatabase) -> None:
    told = run_and_read_error(DATABASE_URL=log_database.url("app"))
    assert told.startswith("timewarden: No policy was ever activated: run `timewarden policy bootstrap` as the owner")
    assert told.count("\n") == 1


async def test_a_policy_that_this_release_cannot_read_serves_nothing(house: House) -> None:
    shipped = read_shipped()
    await activate_unread(house, replace(shipped, rules=shipped.rules.replace("approve,", "aprove,")))
    told = run_and_read_error(DATABASE_URL=house.log_database.url("app"))
    assert told.startswith("timewarden: The active policy version 2 cannot be read by this release: ")
    assert "policy.csv:" in told
    assert "'aprove' is not a known action" in told
    assert told.count("\n") == 1


async def test_an_active_policy_with_a_renamed_word_serves_nothing_and_says_what_to_do(house: House) -> None:
    shipped = read_shipped()
    rules = shipped.rules.replace("delegate,", "deputy,")
    vocabulary = shipped.vocabulary.replace("delegate =", "deputy =")
    await activate_unread(house, replace(shipped, rules=rules, vocabulary=vocabulary))
    told = run_and_read_error(DATABASE_URL=house.log_database.url("app"))
    assert "The service has no relation 'deputy' (it was renamed to 'delegate'). Start the release that" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("limits", "connections", "files"),
    [
        ("ulimit -n 300", 150, 300),
        pytest.param("ulimit -n 1000", 744, 1000, marks=pytest.mark.long),
        pytest.param("ulimit -Sn 600", 4096, 4352, marks=pytest.mark.long),
    ],
)
def test_connections_are_bounded_by_the_open_files_that_a_process_may_have(
    limits: str, connections: int, files: int
) -> None:
    code = (
        "import resource; from service.commands.serve import allowed_connections;"
        " print(allowed_connections(4096), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    run = subprocess.run(
        ["sh", "-c", f'{limits} && exec "$0" -c "$1"', sys.executable, code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *warned, found = run.stdout.splitlines()
    allowed, limit = map(int, found.split())
    assert allowed == connections
    assert limit >= files, "the soft limit is no obstacle"
    assert any("too_few_open_files" in line for line in warned) == (connections < 4096)


@pytest.mark.long
async def test_the_health_command_asks_the_management_address(house: House, issuer: str, tmp_path: Path) -> None:
    async with serve(house.log_database.url("app"), issuer, tmp_path) as service:
        (worker,) = await service.ready()
        # Nothing listens on the API's own address here: it is not what is asked.
        asked = {"PORT": "1", "MANAGEMENT_ADDRESS": f"0.0.0.0:{service.held.management_port}"}
        assert await health_command(asked) == (0, "ready\n", "")
        # A stopped worker stays as it is for half a minute, so that the command surely finds it so.
        os.kill(worker["pid"], signal.SIGSTOP)
        await until(partial(is_not_ready, service), 30)
        code, _, reason = await health_command(asked)
        assert code == 1
        assert '"status":"not ready"' in reason
    code, _, reason = await health_command(asked)
    assert code == 2, "nobody could be asked"
    assert reason.startswith("`timewarden serve` does not answer on 0.0.0.0:")


@pytest.mark.parametrize("body", [b"<h1>It works</h1>", b"[]", b'{"status": "ready"}'])
def test_another_program_on_the_management_address_is_not_taken_for_ready(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Another(Answering):
        def respond(self) -> None:
            self.answer(body)

    with http_server(Another) as url:
        address = url.removeprefix("http://")
        monkeypatch.setenv("TIMEWARDEN_MANAGEMENT_ADDRESS", address)
        ended = run_command("health")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"`timewarden serve` does not answer on {address}: another program does; check that it runs, and"
        " TIMEWARDEN_MANAGEMENT_ADDRESS\n"
    )


async def is_not_ready(service: Served) -> bool:
    return (await service.health()).status_code == 503


async def health_command(changes: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `timewarden health`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "health"),
        cwd=ROOT,
        env=environment_of(changes),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
