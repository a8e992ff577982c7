"""Records whose bytes somebody with every right has spoilt: they hide no others, crash nothing, and are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import jsonschema_rs
import pytest

from service.audit import people, search
from service.audit.export_formats import FORMATS
from service.audit.feed import Feed
from service.audit.log import Log
from service.audit.questions import Filters
from service.audit.sealed_rows import sealed_rows
from service.audit.sealing import Sealer
from service.errors import LogDamaged
from tests.integration.log_database import SHEET, LogDatabase, change, decision

if TYPE_CHECKING:
    from uuid import UUID

pytest_plugins = ["tests.integration.log_fixtures"]
OCSF = Path(__file__).parents[1] / "conformance" / "ocsf-1.7.0-api-activity.json"


async def spoil(log_database: LogDatabase, uid: UUID, what: str) -> None:
    """Alter a stored record as a superuser, with the triggers off."""
    url = log_database.postgres.superuser_database_url(log_database.name)
    superuser = await asyncpg.connect(url)
    await superuser.execute("SET session_replication_role = replica")
    assert await superuser.execute(f"UPDATE audit_record SET {what} WHERE uid = $1", uid) == "UPDATE 1"
    await superuser.close()


@pytest.mark.parametrize(
    "what",
    [
        "body = 'garbage'",
        "body = '[]'",
        "body = '{}'",
        r"body = '\xfffe'",
        "body = repeat('[', 30000)::bytea",
        """body = '{"principal": {"person": "nobody"}, "resource": 7, "decided_at": 7, "kind": {}}'""",
        "decided_at = NULL",
        "body = 'garbage', decided_at = NULL",
    ],
)
async def test_a_spoilt_record_hides_no_others(log_database: LogDatabase, what: str) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    made = [decision(principal={"person": SHEET, "client": "web"}) for _ in range(5)]
    await Log(app).append(made)
    await Sealer(keeper).seal()
    await spoil(log_database, made[2].uid, what)
    for oldest_first in (False, True):
        found, behind = set(), None
        while True:
            async with app.connection() as connection:
                some = await search.records(connection, Filters(), behind=behind, limit=2, oldest_first=oldest_first)
                await people.names(connection, some)
            if not some:
                break
            found |= {one.uid for one in some}
            behind = some[-1].place
        # A record whose time is gone is not found by time; the others are.
        assert found >= {one.uid for one in made if one is not made[2] or "NULL" not in what}
    rows = [row async for piece in sealed_rows(app, 0, 6) for row in piece]
    validator = jsonschema_rs.validator_for(json.loads(OCSF.read_text(encoding="utf-8")))
    events = [json.loads(line) for line in FORMATS["ocsf"]().rows(rows).splitlines()]
    assert [one["metadata"]["sequence"] for one in events] == list(range(6))
    for one in events:
        validator.validate(one)
    for form in ("csv", "jsonl"):
        assert FORMATS[form]().rows(rows).count(b"\n") == 6


async def test_a_spoilt_change_is_damage_with_its_place_for_whoever_publishes(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    made = [change(version=version) for version in (1, 2, 3)]
    await Log(app).append(made)
    await Sealer(keeper).seal()
    await spoil(log_database, made[1].uid, "body = 'garbage'")
    with pytest.raises(LogDamaged, match="position 2"):
        await Feed(keeper).feed(-1, 10)
