"""Writes private keys to files that only their owner can read, atomically. Owns no state."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_new(path: Path, content: str) -> None:
    """Write the file unless it exists."""
    draft = _write_draft(path, content)
    try:
        # A link, not a rename: if two servers start at once, the keys of the first remain and both read them.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def replace(path: Path, content: str) -> None:
    """Replace the file."""
    _write_draft(path, content).replace(path)


def _write_draft(path: Path, content: str) -> Path:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft
