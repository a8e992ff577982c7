"""Postgres and Redis of a development machine: embedded, or those of TIMEWARDEN_DATABASE_URL and _REDIS_URL.

Owns the embedded servers while the block runs. Roles and database are created by the same script as in production.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from service.development.local_servers import run_psql_script, start_postgres, start_redis
from service.development.server_directory import secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROLES = Path(__file__).resolve().parents[1] / "migrations" / "roles.sql"
DATABASE = "timewarden"
NAMES = ("owner", "app", "keeper", "auditor")


@dataclass(frozen=True, slots=True)
class Stores:
    """URLs of Postgres for each role, and of Redis."""

    owner_url: str
    app_url: str
    keeper_url: str
    auditor_url: str
    redis_url: str


@contextlib.contextmanager
def open_stores(state: Path, say: Callable[[str], None]) -> Iterator[Stores]:
    """Start the servers that are not configured, create roles and database, and stop the servers at the end.

    The role of TIMEWARDEN_DATABASE_URL must be allowed to create roles and databases.
    """
    with contextlib.ExitStack() as servers:
        admin_url = os.environ.get("TIMEWARDEN_DATABASE_URL", "")
        if not admin_url:
            admin_url = servers.enter_context(start_postgres(state, say=say)).superuser_url
        redis_url = os.environ.get("TIMEWARDEN_REDIS_URL", "")
        if not redis_url:
            redis_url = servers.enter_context(start_redis(state, say=say)).url
        yield Stores(*prepare(state, admin_url), redis_url=redis_url)


def prepare(state: Path, admin_url: str, database: str = DATABASE) -> tuple[str, str, str, str]:
    """Create roles and database at the server of `admin_url`. Returns the URL of each role, in the order of NAMES."""
    passwords = {name: secret(state, f"postgres-{name}") for name in NAMES}
    variables = {f"TIMEWARDEN_{name.upper()}_PASSWORD": value for name, value in passwords.items()}
    run_psql_script(admin_url, ROLES, {**variables, "TIMEWARDEN_DATABASE": database})
    owner, app, keeper, auditor = (
        _as_role(admin_url, f"timewarden_{name}", passwords[name], database) for name in NAMES
    )
    return owner, app, keeper, auditor


def _as_role(url: str, role: str, password: str, database: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(password, safe='')}@{host}", path=f"/{database}"))
