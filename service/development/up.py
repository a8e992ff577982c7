"""Runs everything on one machine: Postgres, Redis, sign-in, API and keeper, each a real process.

This process owns the children and stops them. Durable state is in the state directory (`.local`): the data of Postgres
and Redis, secrets, the last ports. After a kill -9 of everything the next start finds all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx2

from events.stream import stream_name
from service.commands.database import migrate_database, owner_database, update_statistics
from service.commands.policy_files import files_differ
from service.commands.running import DEVELOPMENT_KEY, Running, announce, state_directory, withdraw
from service.database import Database
from service.development.authorization_server.application import running as authorization_server
from service.development.authorization_server.sessions import ACR_MFA
from service.development.demo_directory import fill
from service.development.issuer_file import write_issuer_file
from service.development.panel import print_panel
from service.development.people import CLIENTS
from service.development.processes import die_with_parent
from service.development.server_directory import (
    DirectoryLock,
    held_port,
    last_port,
    readable_failures,
    remember_port,
    secret,
)
from service.development.stores import Stores, open_stores
from service.errors import Misconfigured
from service.log.feed import ChangeFeed
from service.log.key_files import make_key

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping, Sequence

ORIGIN = "timewarden.example/audit/development"
AUDIENCE = "https://timewarden.example/timesheets"
ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
# The settings of the caller that the service gets, too: what an app must cope with, for its developers to try.
PASSED_ON = {"TIMEWARDEN_DPOP_NONCE"}


def say(sentence: str) -> None:
    """Print one line of progress."""
    print(f"  {sentence}", flush=True)


async def run(port: int | None, *, console: bool) -> None:
    """Start everything, print the panel, and wait for Ctrl-C or for a child that ends by itself. `port`: the API's, the
    last one if None."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    state = state_directory()
    state.mkdir(mode=0o700, exist_ok=True)
    with _own_directory(state), open_stores(state, say) as stores:
        say("bringing the schema up to date")
        await migrate_database(stores.owner_url)
        policy = await _load_policy(stores)
        # Each port is held from now on, so that no other server can answer at our addresses.
        with (
            hold_port(state, "API", 8080, asked=port) as api,
            hold_port(state, "management", 8081) as management,
            hold_port(state, "console", 8070) if console else contextlib.nullcontext() as pages,
        ):
            sign_in = hold_port(state, "sign-in", 8090)
            issuer = _address(sign_in)
            async with authorization_server(issuer, AUDIENCE, state / "authorization-server", listener=sign_in):
                await _serve(state, stores, (api, management), pages, issuer, policy, stop)
    print("stopped; the data remain in", state)


@contextlib.contextmanager
def _own_directory(state: Path) -> Iterator[None]:
    """Own the state directory, even if no server runs in it. Raises LocalServerFailed."""
    lock = DirectoryLock(state, "up")
    with readable_failures(state):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


async def _serve(
    state: Path,
    stores: Stores,
    sockets: tuple[socket.socket, socket.socket],
    pages: socket.socket | None,
    issuer: str,
    policy: tuple[int, bool],
    stop: asyncio.Event,
) -> None:
    api, management = map(_address, sockets)
    instance = str(uuid4())
    shared = {
        "TIMEWARDEN_ENVIRONMENT": "development",
        "TIMEWARDEN_ISSUERS_FILE": str(write_issuer_file(state / "authorization-server", issuer, AUDIENCE)),
        "TIMEWARDEN_STEP_UP_ACR": ACR_MFA,
        "TIMEWARDEN_PUBLIC_URL": api,
        "TIMEWARDEN_PORT": api.rpartition(":")[2],
        "TIMEWARDEN_MANAGEMENT_ADDRESS": management.removeprefix("http://"),
        "TIMEWARDEN_INSTANCE": instance,
        "TIMEWARDEN_CURSOR_KEY": secret(state, "cursor-key"),
        "TIMEWARDEN_ERASURE_KEYS": secret(state, "erasure-key"),
        "TIMEWARDEN_POLICIES_DIRECTORY": str(ROOT / "policies"),
        "TIMEWARDEN_REDIS_URL": stores.redis_url,
        # All callers have one address here, also in tests and under load.
        "TIMEWARDEN_ADDRESS_RATE": "1000000",
        "TIMEWARDEN_CLIENT_RATE": "1000000",
        **{name: os.environ[name] for name in PASSED_ON & os.environ.keys()},
    }
    console = _address(pages) if pages else ""
    with _open_log(state) as log:
        children = {
            "serve": await start_child("serve", {**shared, "TIMEWARDEN_DATABASE_URL": stores.app_url}, log, sockets),
            "keep": await start_child(
                "keep", {**shared, **log_key(state), "TIMEWARDEN_DATABASE_URL": stores.keeper_url}, log
            ),
        }
        if pages:
            variables = {**shared, **console_variables(state, console, issuer)}
            children["console"] = await start_child("console", variables, log, (pages,))
            pages.close()
        # Now only `serve` holds them, so that callers are refused when it ends, and do not wait in vain.
        for listener in sockets:
            listener.close()
        try:
            await wait_ready(management, instance, children, stop, state)
            if stop.is_set():
                return
            if await fill(api, issuer, state, say):
                async with owner_database(stores.owner_url, "up") as database:
                    await update_statistics(database)
            stream = await _find_stream(stores)
            announce(Running(os.getpid(), api, management, issuer, AUDIENCE, stores.redis_url, stream, console))
            print_panel(api, console, issuer, state, policy[0], differs=policy[1])
            await _wait_for_stop(children, stop, state)
        finally:
            withdraw()
            await _end(children)


def log_key(state: Path) -> dict[str, str]:
    """The keeper's settings for signing: a key in the state directory, made at the first start, and its anchor."""
    key = state / DEVELOPMENT_KEY
    if not key.exists():
        make_key(key, ORIGIN)
    return {
        "TIMEWARDEN_LOG_ORIGIN": ORIGIN,
        "TIMEWARDEN_LOG_KEY_FILE": str(key),
        "TIMEWARDEN_LOG_ANCHOR_FILE": str(state / "log" / "anchor"),
    }


def console_variables(state: Path, console: str, issuer: str) -> dict[str, str]:
    """The settings of the console, for the demo client of the development authorization server."""
    client = CLIENTS["timewarden-console"]
    return {
        "TIMEWARDEN_ISSUER": issuer,
        "TIMEWARDEN_AUDIENCE": AUDIENCE,
        "TIMEWARDEN_CONSOLE_URL": console,
        "TIMEWARDEN_CONSOLE_CLIENT": client.client_id,
        "TIMEWARDEN_CONSOLE_CLIENT_SECRET": client.secret or "",
        "TIMEWARDEN_CONSOLE_KEYS": secret(state, "console-key"),
        "TIMEWARDEN_CONSOLE_SCOPES": " ".join(client.scopes),
    }


async def start_child(
    command: str, variables: Mapping[str, str], log: int, sockets: Sequence[socket.socket] = (), tree: Path = ROOT
) -> asyncio.subprocess.Process:
    """Start `serve`, `keep` or `console` in its own session, so that Ctrl-C reaches only this process. Its only
    settings are `variables`, and its output goes to the open file `log`. `sockets`: its listening sockets; of `serve`,
    for the API and for management. `tree`: the checkout whose code it runs."""
    numbers = [listener.fileno() for listener in sockets]
    options = [f"--{name}={number}" for name, number in zip(("fd", "management-fd"), numbers, strict=False)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "service",
        command,
        *options,
        cwd=tree,
        env={**inherited, **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=numbers,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGTERM),
    )


async def wait_ready(
    management: str, instance: str, children: Mapping[str, asyncio.subprocess.Process], stop: asyncio.Event, state: Path
) -> None:
    """Wait until the API that we started can decide and record. Raises Misconfigured if a child ends, or when the time
    is up."""
    async with httpx2.AsyncClient(timeout=2, trust_env=False) as http:
        for _ in range(int(READY_SECONDS / 0.1)):
            if stop.is_set():
                return
            _check_running(children, state)
            with contextlib.suppress(httpx2.HTTPError):
                answer = await http.get(f"{management}/health/ready")
                if answer.status_code == httpx2.codes.OK and answer.json()["instance"] == instance:
                    return
            await asyncio.sleep(0.1)
    raise Misconfigured(f"The API is not ready after {READY_SECONDS:.0f} s; see {state / 'logs' / 'service.log'}")


async def _wait_for_stop(children: Mapping[str, asyncio.subprocess.Process], stop: asyncio.Event, state: Path) -> None:
    ends = [asyncio.create_task(child.wait()) for child in children.values()]
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([*ends, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in (*ends, stopped):
        task.cancel()
    if not stop.is_set():
        _check_running(children, state)


def _check_running(children: Mapping[str, asyncio.subprocess.Process], state: Path) -> None:
    for name, child in children.items():
        if child.returncode is not None:
            raise Misconfigured(f"`timewarden {name}` ended unexpectedly; see {state / 'logs' / 'service.log'}")


async def _end(children: Mapping[str, asyncio.subprocess.Process]) -> None:
    for child in children.values():
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
    for child in children.values():
        try:
            async with asyncio.timeout(10):
                await child.wait()
        except TimeoutError:
            say(f"process {child.pid} does not end")
        # Kill what remains of its session, such as a worker whose leader was killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


async def _load_policy(stores: Stores) -> tuple[int, bool]:
    """The active version, and whether policies/ differs from it. If there is no version, policies/ becomes version 1;
    later versions come only through the API."""
    database = Database(stores.owner_url, size=1, name="up", enforced=False)
    await database.open()
    try:
        async with database.connection() as connection:
            known = await connection.fetchrow(
                "SELECT number, digest FROM policy_version WHERE number = (SELECT active FROM policy_head)"
            )
    finally:
        await database.close()
    if known is None:
        from service.commands.policy_bootstrap import bootstrap_policy  # noqa: PLC0415 — slow to load, needed once

        version = await bootstrap_policy(stores.owner_url, ROOT / "policies")
        say(f"policies/ became version {version}")
        return version, False
    return known["number"], files_differ(ROOT / "policies", known["digest"])


async def _find_stream(stores: Stores) -> str:
    database = Database(stores.keeper_url, size=1, name="up")
    await database.open()
    try:
        return stream_name("timewarden:events", (await ChangeFeed(database).head()).epoch)
    finally:
        await database.close()


def hold_port(state: Path, name: str, first: int, *, asked: int | None = None) -> socket.socket:
    """A socket on the port that was asked for, else on the last one, so that addresses in tokens and bookmarks stay
    valid. If it is taken, on the next free one, and that is said. `first`: the port of the first start."""
    file = name.lower()
    wanted = asked or last_port(state, file, first)
    held = held_port(wanted)
    port = held.getsockname()[1]
    if port != wanted:
        say(f"port {wanted} is taken (`ss -ltnp 'sport = :{wanted}'` shows by what): {name} listens on {port}")
    remember_port(state, file, port)
    return held


def _address(held: socket.socket) -> str:
    return f"http://127.0.0.1:{held.getsockname()[1]}"


@contextlib.contextmanager
def _open_log(state: Path) -> Iterator[int]:
    """The log file of the children. It grows until `make clean`; a large one is rotated here."""
    file = state / "logs" / "service.log"
    file.parent.mkdir(exist_ok=True)
    if file.exists() and file.stat().st_size > 50_000_000:  # noqa: PLR2004 — bytes
        file.replace(file.with_suffix(".old"))
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
