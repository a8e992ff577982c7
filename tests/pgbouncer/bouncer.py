"""A PgBouncer in front of the embedded Postgres, which tests kill and restart. Owns the process that it starts.

It looks up roles in Postgres (`auth_query`), so roles can be created through it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.development.server_directory import secret
from tests.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.development.local_servers import LocalPostgres

START_SECONDS = 20.0


def program() -> str:
    """The path of pgbouncer; Debian installs it in /usr/sbin."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found, "pgbouncer is not installed; install it (Debian: apt-get install pgbouncer)"
    return found


@dataclass
class PgBouncer:
    """Started by `start`; `url` turns a URL of Postgres into a URL through PgBouncer. Its user must be able to enter
    `folder`."""

    postgres: LocalPostgres
    folder: Path
    mode: str
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def url(self, direct: str) -> str:
        return direct.replace(f"127.0.0.1:{self.postgres.port}/", f"127.0.0.1:{self.port}/")

    @property
    def log(self) -> Path:
        return self.folder / "pgbouncer.log"

    def start(self) -> None:
        """Start it, at the same port as before, and return when it takes connections."""
        self.port = self.port or unused_port()
        password = secret(self.postgres.state, "postgres")
        (self.folder / "users").write_text(f'"postgres" "{password}"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(self.folder / "users"),
            "auth_user": "postgres",
            "auth_dbname": "postgres",
            "pool_mode": self.mode,
            # In session mode every connection of ours holds one of Postgres's.
            "default_pool_size": "40" if self.mode == "session" else "6",
            **self.settings,
        }
        lines = [f"* = host=127.0.0.1 port={self.postgres.port}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        (self.folder / "pgbouncer.ini").write_text("\n".join(["[databases]", *lines, ""]))
        account: dict[str, int] = {}
        if os.geteuid() == 0:
            # It refuses to run as root.
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # type: ignore[call-overload]  # user and group come as a dict
                [program(), str(self.folder / "pgbouncer.ini")], stdout=log, stderr=log, **account
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Without waiting for its clients."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None
