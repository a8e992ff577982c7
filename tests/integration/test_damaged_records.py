"""Records that a superuser damaged: they hide no others, crash nothing, and are named by the verifier."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import jsonschema_rs
import msgspec
import pytest

from service.audit import search
from service.audit.bundle import bundle_lines, make_header
from service.audit.export_formats import FORMATS
from service.audit.sealed_rows import sealed_rows
from service.audit.summary import summarize_decisions
from service.errors import LogDamaged
from service.log.anchor import Anchor
from service.log.feed import ChangeFeed
from service.log.log import Log
from service.log.record_query import RecordFilters
from service.log.sealing import Sealer
from service.log.signing import CheckpointSigner
from service.standalone.verify.findings import TAMPERED
from service.web.audit.shapes import record_page
from tests.bundle_forge import SIGNER, verify_bundle
from tests.integration.log_database import SHEET, LogDatabase, change, decision
from tests.integration.log_trees import as_superuser

if TYPE_CHECKING:
    from uuid import UUID

pytest_plugins = ["tests.integration.log_fixtures"]
EARLIER, LATER = (datetime.now(UTC) + timedelta(days=days) for days in (-2, 2))
OCSF = Path(__file__).parents[1] / "conformance" / "ocsf-1.7.0-api-activity.json"

NEVER_NULL = ("rules", "returned")


async def damage(log_database: LogDatabase, uid: UUID, what: str) -> None:
    """Alter a stored record as a superuser without triggers."""
    url = log_database.postgres.superuser_database_url(log_database.name)
    superuser = await asyncpg.connect(url)
    await superuser.execute("SET session_replication_role = replica")
    assert await superuser.execute(f"UPDATE audit_record SET {what} WHERE uid = $1", uid) == "UPDATE 1"
    await superuser.close()


# Damages, each done to one record. The verifier names all but the last two: the time of storage is not proved.
DAMAGES = [
    "body = 'garbage'",
    "body = '[]'",
    "body = '{}'",
    r"body = '\xfffe'",
    "body = repeat('[', 30000)::bytea",
    """body = ('{"a":' || repeat('[', 900) || repeat(']', 900) || '}')::bytea""",
    """body = '{"a": 1e400, "uid": 123456789012345678901234567890}'""",
    "body = repeat('x', 65000)::bytea",
    """body = '{"principal": {"person": "nobody"}, "resource": 7, "decided_at": 7, "kind": {}}'""",
    r"""body = convert_to('{"uid": "\ud800", "kind": "\u0000"}', 'UTF8')""",
    r"""body = '\x7b7d0a7b22706f736974696f6e223a317d'""",
    "body = 'garbage', decided_at = NULL",
    "decided_at = NULL",
    "decided_at = 'infinity'",
    "decided_at = '-infinity'",
    "decided_at = '20000-01-01'",
    "decided_at = '0044-03-15 BC'",
    "rules = NULL, returned = NULL",
    "rules = ARRAY[NULL, chr(10)]::text[]",
    "rules = '{{a,b},{c,d}}'",
    "resource_id = chr(10) || '{}', request_id = chr(7)",
    "at = 'infinity'",
    "at = '0044-03-15 BC'",
]


async def test_damaged_records_hide_no_others_and_the_verifier_names_them(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    made = [decision(principal={"person": SHEET, "client": "web"}) for _ in range(2 * len(DAMAGES))]
    await Log(app).append(made)
    await Sealer(keeper).seal()
    assert await CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()
    await as_superuser(
        log_database, *(f"ALTER TABLE audit_record ALTER {column} DROP NOT NULL" for column in NEVER_NULL)
    )
    for record, what in zip(made[::2], DAMAGES, strict=True):
        await damage(log_database, record.uid, what)
    for oldest_first in (False, True):
        found: list[UUID] = []
        after: search.Place | None = None
        while True:
            async with app.connection() as connection:
                some = await search.search_records(
                    connection, RecordFilters(), after=after, limit=3, oldest_first=oldest_first
                )
            assert msgspec.json.encode(record_page(some, None, texts=True))
            if not some:
                break
            found += [record.uid for record in some]
            after = some[-1].place
        assert {record.uid for record in made} <= set(found)
        assert len(found) == len(made) + 1
    async with app.connection() as connection:
        assert (await summarize_decisions(connection, RecordFilters(since=EARLIER, until=LATER))).total
        header = await make_header(connection, 0)
    rows = [row async for piece in sealed_rows(app, 0, header.end) for row in piece]
    validator = jsonschema_rs.validator_for(json.loads(OCSF.read_text(encoding="utf-8")))
    events = [json.loads(line) for line in FORMATS["ocsf"]().rows(rows).splitlines()]
    assert [event["metadata"]["sequence"] for event in events] == list(range(header.end))
    for event in events:
        validator.validate(event)
    lines = FORMATS["jsonl"]().rows(rows).splitlines()
    assert [json.loads(line)["position"] for line in lines] == list(range(header.end))
    assert FORMATS["csv"]().rows(rows).count(b"\n") == header.end
    assert FORMATS["parquet"]().rows(rows) + b"PAR1"
    content = b"".join([piece async for piece in bundle_lines(app, header)])
    report = verify_bundle(content, key=SIGNER.verifier.vkey)
    named = {finding["position"] for finding in report.findings if "position" in finding}
    assert (report.verdict, sorted(named)) == (TAMPERED, [1 + 2 * place for place in range(len(DAMAGES) - 2)])


async def test_a_damaged_change_stops_the_feed_with_its_position(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    made = [change(version=version) for version in (1, 2, 3)]
    await Log(app).append(made)
    await Sealer(keeper).seal()
    await damage(log_database, made[1].uid, "body = 'garbage'")
    with pytest.raises(LogDamaged, match="position 2"):
        await ChangeFeed(keeper).read_changes(-1, 10)
