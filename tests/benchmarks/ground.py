"""What the benchmarks of the log and of HTTP stand on: embedded servers with real flushing, migrated, in a directory of
their own that goes with them."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from service.commands.database import migrate_database
from service.development.stores import open_stores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.development.stores import Stores


@contextlib.asynccontextmanager
async def ground() -> AsyncIterator[Stores]:
    """Fresh servers with an opened log."""
    with tempfile.TemporaryDirectory(prefix="timewarden-bench-") as folder, open_stores(Path(folder), print) as stores:
        await migrate_database(stores.owner_url)
        yield stores
