"""The least that storing hours can cost: the same rows by COPY, in one transaction, into a table like that of entries.

No policy, no log, no sheet: what `uploads` is compared with, on the same server in the same run.
"""

from __future__ import annotations

import time
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = ("id", "timesheet_id", "day", "project", "minutes", "note", "external_ref", "uploader")


async def copy_rows(url: str, rows: Sequence[Sequence[object]]) -> float:
    """The seconds that it takes. `rows` are those of a file: owner, day, project, minutes, reference, note."""
    sheets: dict[tuple[object, int], UUID] = {}
    written = []
    for owner, day, project, minutes, reference, note in rows:
        when = date.fromisoformat(str(day))
        sheet = sheets.setdefault((owner, when.toordinal() // 7), uuid4())
        written.append((uuid4(), sheet, when, project, minutes, note, reference, "importer"))
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url)
    try:
        await connection.execute("DROP TABLE IF EXISTS plain_entry")
        # With the checks and the indexes of the real one.
        await connection.execute("CREATE TABLE plain_entry (LIKE entry INCLUDING ALL)")
        started = time.perf_counter()
        async with connection.transaction():
            await connection.copy_records_to_table("plain_entry", records=written, columns=COLUMNS)
        return time.perf_counter() - started
    finally:
        await connection.close()
