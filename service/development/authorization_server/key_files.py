"""Private keys in files that only we may read, written whole or not at all. Owns no state."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def keep_first(path: Path, content: str) -> None:
    """Write the file unless there is one."""
    draft = _draft(path, content)
    try:
        # A link, not a rename: when two servers start at once, the first one's keys stay and both read them.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def replace(path: Path, content: str) -> None:
    """Write the file in place of the one that is there."""
    _draft(path, content).replace(path)


def _draft(path: Path, content: str) -> Path:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft
