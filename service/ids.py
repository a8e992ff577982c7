"""Makes and reads ids. Pure.

They are UUIDs of asyncpg's class, as columns give them: it makes and writes them five to ten times as fast as Python's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import uuid_utils
from asyncpg.pgproto import pgproto

if TYPE_CHECKING:
    from uuid import UUID


def make_id() -> UUID:
    """A new id: a UUID of version 7 (RFC 9562 section 5.7)."""
    return pgproto.UUID(uuid_utils.uuid7().bytes)


def read_id(text: str) -> UUID | None:
    """The id that a text is in its usual spelling, in lower or upper case; None for any other text."""
    try:
        found = pgproto.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None
