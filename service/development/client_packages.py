"""Writes the source trees of the wheels timewarden-client and timewarden-verify: `python -m ...client_packages FOLDER`.

The client exists once, in async code. Its `sync` package is the same text without `async` and `await`.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STANDALONE = ROOT / "service" / "standalone"
# Each wheel's folder and the page that introduces it.
PACKAGES = {"client": "docs/client.md", "verify": "docs/auditor.md"}
# Modules without I/O, which the async and the sync client share.
SHARED = ("directory_shapes", "dpop", "problems", "proofs", "shapes")
SYNC = (
    # The sync client uses the class of the same name, which follows.
    (re.compile(r"^class Async(\w+):.*?(?=^class \1:)", re.MULTILINE | re.DOTALL), ""),
    (re.compile(r"\basync (def|with|for)\b"), r"\1"),
    (re.compile(r"\bawait "), ""),
    (re.compile(r"\bAsync(Client|Iterator|Generator|Renewal)\b"), r"\1"),
    (re.compile(r"\b__a(enter|exit)__"), r"__\1__"),
    (re.compile(r"\basynccontextmanager\b"), "contextmanager"),
    (re.compile(r"\.a(close|read|iter_\w+)\("), r".\1("),
    (re.compile(r"\basyncio\.sleep\("), "time.sleep("),
    (re.compile(r"\basyncio\.Lock\("), "threading.Lock("),
    (re.compile(rf"^from \.({'|'.join(SHARED)}) ", re.MULTILINE), r"from ..\1 "),
    (re.compile(rf"^    from \.({'|'.join(SHARED)}) ", re.MULTILINE), r"    from ..\1 "),
)
MODULES = ("threading", "time")


def write_packages(folder: Path) -> list[Path]:
    """Write a tree for each wheel; returns their folders."""
    trees = []
    for name, page in PACKAGES.items():
        tree = folder / name
        package = tree / f"timewarden_{name}"
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(STANDALONE / name, package, ignore=shutil.ignore_patterns("__pycache__", "pyproject.toml"))
        (package / "py.typed").touch()
        shutil.copy(STANDALONE / name / "pyproject.toml", tree)
        shutil.copy(ROOT / page, tree / "README.md")
        shutil.copy(ROOT / "LICENSE", tree)
        trees.append(tree)
    client = folder / "client" / "timewarden_client"
    (client / "sync").mkdir()
    for module in client.glob("*.py"):
        if module.stem not in SHARED:
            text = make_sync(module.read_text(encoding="utf-8"))
            (client / "sync" / module.name).write_text(text, encoding="utf-8")
    return trees


def make_sync(text: str) -> str:
    """The sync form of a module of the client."""
    for pattern, replacement in SYNC:
        text = pattern.sub(replacement, text)
    needed = [name for name in MODULES if f"{name}." in text and f"\nimport {name}\n" not in text]
    return text.replace("import asyncio\n", "".join(f"import {name}\n" for name in needed))


if __name__ == "__main__":
    for written in write_packages(Path(sys.argv[1])):
        print(written)
