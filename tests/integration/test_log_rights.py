"""Each role tries to rewrite, forge or empty the log and is refused."""

from __future__ import annotations

import asyncpg

from service.log.log import Log
from service.log.sealing import Sealer
from tests.integration.log_database import LogDatabase, change, decision

pytest_plugins = ["tests.integration.log_fixtures"]

REWRITING = [
    "UPDATE audit_record SET reason = 'other'",
    "UPDATE audit_record_0 SET reason = 'other'",
    "UPDATE audit_record SET body = '{}'",
    "DELETE FROM audit_record",
    "DELETE FROM audit_record_0",
    "TRUNCATE audit_record",
    "TRUNCATE audit_record_0",
    "TRUNCATE audit_record_rest",
    "UPDATE audit_position SET position = position + 100",
    "DELETE FROM audit_position",
    "TRUNCATE audit_position",
    "MERGE INTO audit_record r USING (SELECT 1) s ON r.id = 1 WHEN MATCHED THEN DELETE",
    "INSERT INTO audit_record (uid, kind, body) VALUES (gen_random_uuid(), 'x', '{}')",
]
FORGING = [
    "INSERT INTO audit_record (id, uid, kind, body) OVERRIDING SYSTEM VALUE VALUES (0, gen_random_uuid(), 'x', '{}')",
    "INSERT INTO audit_record (uid, kind, body, xid) VALUES (gen_random_uuid(), 'system', '{}', '3')",
    "INSERT INTO audit_record (uid, kind, body, at) VALUES (gen_random_uuid(), 'system', '{}', '2020-01-01')",
    "INSERT INTO audit_record (uid, kind, body, stored_hash) VALUES (gen_random_uuid(), 'system', '{}', '')",
    "INSERT INTO audit_record_0 (uid, kind, body) VALUES (gen_random_uuid(), 'system', '{}')",
    "COPY audit_record (id, uid, kind, body) FROM STDIN",
]
UNDERMINING = [
    "ALTER TABLE audit_record DISABLE TRIGGER ALL",
    "ALTER TABLE audit_record_0 DISABLE TRIGGER append_only",
    "DROP TRIGGER append_only ON audit_record",
    "ALTER TABLE audit_record DETACH PARTITION audit_record_0",
    "ALTER TABLE audit_record ALTER COLUMN id RESTART WITH 1",
    "SELECT setval(pg_get_serial_sequence('audit_record', 'id'), 1)",
    "SET session_replication_role = replica",
    "DROP TABLE audit_record CASCADE",
    "CREATE TRIGGER twist BEFORE INSERT ON audit_record FOR EACH ROW EXECUTE FUNCTION refuse_rewriting()",
    "SET ROLE timewarden_owner",
    "CREATE TABLE audit_record_2 (LIKE audit_record)",
]
KEEPING = [
    "INSERT INTO audit_position (position, record_id) VALUES (77, 1)",
    "UPDATE log_head SET size = 0",
    "UPDATE log_head SET low_xid = '0'",
    "INSERT INTO tile (level, index, width, hashes) VALUES (0, 0, 1, repeat('x', 32)::bytea)",
    "INSERT INTO checkpoint (size, root) VALUES (1, repeat('x', 32)::bytea)",
    "UPDATE keeper_status SET ready = true",
    "UPDATE keeper_report SET ready = true",
    "DELETE FROM keeper_report",
]
WRITING = [
    "INSERT INTO audit_record (uid, kind, body) VALUES (gen_random_uuid(), 'system', '{}')",
    "INSERT INTO audit_text (record_uid, field, salt, value) VALUES (gen_random_uuid(), 'x', sha224('')::bytea, 'y')",
]
OTHERS = [
    "UPDATE log_head SET epoch = gen_random_uuid()",
    "DELETE FROM log_head",
    "UPDATE audit_text SET value = 'other'",
    "DELETE FROM audit_text",
    "DELETE FROM tile",
    "DELETE FROM checkpoint",
    "UPDATE checkpoint SET root = repeat('x', 32)::bytea",
]


# Insufficient privilege; a generated column; a check constraint.
REFUSALS = {"42501", "428C9", "23514"}


async def find_accepted(log_database: LogDatabase, role: str, statements: list[str]) -> list[str]:
    """The statements that were not refused. Each is run by itself and rolled back."""
    app = Log(await log_database.open("app"))
    await app.append([decision(), change()])
    await Sealer(await log_database.open("keeper")).seal()
    connection = await log_database.connect(role)
    passed = []
    for statement in statements:
        attempt = connection.transaction()
        await attempt.start()
        try:
            await connection.execute(statement)
        except asyncpg.PostgresError as error:
            if error.sqlstate not in REFUSALS:
                passed.append(f"{statement}: {error}")
        else:
            passed.append(statement)
        await attempt.rollback()
    return passed


async def test_the_app_can_neither_rewrite_forge_nor_seal(log_database: LogDatabase) -> None:
    assert await find_accepted(log_database, "app", REWRITING + FORGING + UNDERMINING + KEEPING + OTHERS) == []


async def test_the_keeper_can_neither_rewrite_nor_write_records(log_database: LogDatabase) -> None:
    assert await find_accepted(log_database, "keeper", REWRITING + FORGING + UNDERMINING + WRITING + OTHERS) == []


async def test_the_auditor_can_only_read(log_database: LogDatabase) -> None:
    everything = REWRITING + FORGING + UNDERMINING + KEEPING + WRITING + OTHERS
    assert await find_accepted(log_database, "auditor", everything) == []


async def test_triggers_refuse_changes_even_by_the_owner(log_database: LogDatabase) -> None:
    """The owner could drop the triggers; signed checkpoints reveal that."""
    assert await find_accepted(log_database, "owner", REWRITING) == []


async def test_security_definer_functions_search_the_temporary_schema_last(
    log_database: LogDatabase,
) -> None:
    owner = await log_database.connect("owner")
    # SECURITY DEFINER functions and their search_path.
    rows = await owner.fetch("SELECT proname, proconfig FROM pg_proc WHERE prosecdef")
    paths = {
        row["proname"]: [setting for setting in row["proconfig"] or [] if setting.startswith("search_path=")]
        for row in rows
    }
    assert paths.keys() == {
        *("write_heartbeat", "erase_person", "count_directory_change", "note_revocation", "analyze_directory"),
    }
    assert all(len(found) == 1 and found[0].endswith(", pg_temp") for found in paths.values())
