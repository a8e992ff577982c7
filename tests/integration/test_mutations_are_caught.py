"""The verifier catches and names every change that a superuser makes to the stored log, with triggers disabled.

Each mutation is made in a database of its own; the bundle is built from what is stored afterwards.
"""

from __future__ import annotations

import json

import pytest

from service.log.log import Log
from service.standalone.verify.findings import INCOMPLETE, INTACT, TAMPERED, UNTRUSTED
from tests.bundle_forge import verify_bundle
from tests.integration.mutated_log import (
    FIRST,
    RECORD,
    SIGNER,
    STRANGER,
    VICTIM,
    VKEY,
    WHOLE,
    StoredLog,
    assert_named,
    record,
)

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.mutated_log_fixtures"]


async def test_every_range_of_an_untouched_log_is_intact(stored: StoredLog) -> None:
    for start, end in (
        (0, None),
        (0, 1),
        (255, 257),
        (256, 512),
        (FIRST, None),
        (FIRST + 1, WHOLE - 1),
        (WHOLE - 1, None),
    ):
        report = await stored.verify(start, end, FIRST)
        assert (report.verdict, report.findings) == (INTACT, [])
        assert report.checked["records"] == (end or WHOLE) - start
        assert "erased" not in report.checked


async def test_a_bundle_proves_extension_of_any_checkpoint(stored: StoredLog) -> None:
    late = await stored.bundle(FIRST + 100, seen=FIRST)
    assert verify_bundle(late, seen=stored.kept, key=VKEY).verdict == INTACT
    early = await stored.bundle(0, 10, seen=FIRST)
    assert verify_bundle(early, seen=stored.kept, key=VKEY).verdict == INTACT
    assert verify_bundle(await stored.bundle(0, 10), seen=stored.kept, key=VKEY).verdict == INCOMPLETE


BODY = "body: the bytes do not have the hash that was sealed here"


async def test_a_flipped_byte_of_a_body(stored: StoredLog) -> None:
    await stored.alter(f"UPDATE audit_record SET body = set_byte(body, 30, get_byte(body, 30) # 1) WHERE id = {RECORD}")
    assert_named(await stored.verify(), BODY)


async def test_a_changed_outcome_in_body_and_column(stored: StoredLog) -> None:
    await stored.deny()
    assert_named(await stored.verify(), BODY)


COLUMNS = {
    "kind": "'access'",
    "decision_uid": "gen_random_uuid()",
    "decided_at": "decided_at + interval '1 microsecond'",
    "person_id": "gen_random_uuid()",
    "client_id": "'other'",
    "action": "'approve'",
    "resource_kind": "'log'",
    "resource_id": "'other'",
    "owner_id": "NULL",
    "outcome": "'deny'",
    "applied": "false",
    "reason": "'no-rule'",
    "rules": "'{read-own,read-team}'",
    "policy_version": "2",
    "request_id": "'request-0'",
    "returned": "'{}'",
}


async def test_columns_that_differ_from_the_bytes(stored: StoredLog) -> None:
    # Every fifth record is a change, which has few columns.
    places = [place for place in range(VICTIM, FIRST) if place % 5]
    columns = dict(zip(places, [*COLUMNS, "uid"], strict=False))
    for position, column in columns.items():
        where = f"id = (SELECT record_id FROM audit_position WHERE position = {position})"
        await stored.alter(
            f"UPDATE audit_record SET {column} = {COLUMNS.get(column, 'gen_random_uuid()')} WHERE {where}"
        )
    report = await stored.verify()
    # The text of the record whose uid was changed is not found any more; that is a finding too.
    named = [finding for finding in report.findings if "no erasure is recorded" not in finding["what"]]
    assert len(named) == len(columns) == len(COLUMNS) + 1
    for position, column in columns.items():
        assert_named(report, "uid: " if column == "uid" else f"column {column}: ", position)


async def test_a_changed_leaf_column(stored: StoredLog) -> None:
    await stored.alter(
        "ALTER TABLE audit_record ALTER COLUMN stored_hash DROP EXPRESSION",
        f"UPDATE audit_record SET stored_hash = sha256('other') WHERE id = {RECORD}",
    )
    assert_named(await stored.verify(), "leaf: the leaf column is not the hash of the bytes")


async def test_a_changed_text_and_a_changed_salt(stored: StoredLog) -> None:
    uid = f"(SELECT uid FROM audit_record WHERE id = {RECORD})"
    await stored.alter(f"UPDATE audit_text SET value = 'another' WHERE record_uid = {uid}")
    assert_named(await stored.verify(), "text note: not the text")
    salted = "value = 'text 7', salt = substr(sha256('x'), 1, 16)"
    await stored.alter(f"UPDATE audit_text SET {salted} WHERE record_uid = {uid}")
    assert_named(await stored.verify(), "text note: not the text")


async def test_an_added_text(stored: StoredLog) -> None:
    await stored.alter(
        "INSERT INTO audit_text SELECT uid, 'confession', substr(sha256('x'), 1, 16), 'I did it' FROM audit_record "
        f"WHERE id = {RECORD}"
    )
    assert_named(await stored.verify(), "text confession: the bytes commit to no such text")


async def test_a_removed_record(stored: StoredLog) -> None:
    await stored.alter(f"DELETE FROM audit_record WHERE id = {RECORD}")
    assert_named(await stored.verify(), "the record was removed")


async def test_a_removed_position(stored: StoredLog) -> None:
    await stored.alter(f"DELETE FROM audit_position WHERE position = {VICTIM}")
    assert_named(await stored.verify(), "the record was removed")


async def test_a_removed_record_with_later_ones_moved_up(stored: StoredLog) -> None:
    await stored.alter(
        f"DELETE FROM audit_position WHERE position = {VICTIM}",
        f"UPDATE audit_position SET position = position + 1000000 WHERE position > {VICTIM}",
        "UPDATE audit_position SET position = position - 1000001 WHERE position > 1000000",
    )
    report = await stored.verify()
    assert_named(report, BODY)
    assert_named(report, f"the record of this position is at {VICTIM + 1}", VICTIM + 2)


async def test_two_swapped_records(stored: StoredLog) -> None:
    await stored.alter(
        f"CREATE TABLE pair AS SELECT * FROM audit_position WHERE position IN ({VICTIM}, 400)",
        f"DELETE FROM audit_position WHERE position IN ({VICTIM}, 400)",
        f"INSERT INTO audit_position SELECT {VICTIM} + 400 - position, record_id FROM pair",
    )
    report = await stored.verify()
    assert_named(report, "the record of this position is at 400")
    assert_named(report, f"the record of this position is at {VICTIM}", 400)


async def test_a_duplicated_record(stored: StoredLog) -> None:
    await stored.alter(
        "ALTER TABLE audit_position DROP CONSTRAINT audit_position_record_id_key",
        f"UPDATE audit_position SET record_id = (SELECT record_id FROM audit_position WHERE position = 8) "
        f"WHERE position = {VICTIM}",
    )
    assert_named(await stored.verify(), BODY)


async def test_an_inserted_record(stored: StoredLog) -> None:
    await Log(stored.app).append([record(1)])
    await stored.alter(
        f"UPDATE audit_position SET position = position + 1000000 WHERE position >= {VICTIM}",
        "UPDATE audit_position SET position = position - 999999 WHERE position >= 1000000",
        f"INSERT INTO audit_position SELECT {VICTIM}, max(id) FROM audit_record",
    )
    report = await stored.verify()
    assert_named(report, f"the record of this position is at {VICTIM + 1}")


async def test_a_flipped_byte_of_a_tile(stored: StoredLog) -> None:
    flipped = f"set_byte(hashes, {VICTIM * 32}, get_byte(hashes, {VICTIM * 32}) # 1)"
    await stored.alter(f"UPDATE tile SET hashes = {flipped} WHERE level = 0 AND index = 0")
    report = await stored.verify()
    assert_named(report, BODY)
    assert_named(report, "the records are those that were signed; the log's stored hashes were altered", None)


async def test_a_flipped_byte_of_a_tile_further_up(stored: StoredLog) -> None:
    flipped = "set_byte(hashes, 3, get_byte(hashes, 3) # 1)"
    await stored.alter(f"UPDATE tile SET hashes = {flipped} WHERE level = 1 AND index = 0")
    assert_named(await stored.verify(256), "root: ", None)


@pytest.mark.parametrize(("level", "start"), [(0, 0), (1, 256)])
async def test_a_lost_tile(stored: StoredLog, level: int, start: int) -> None:
    await stored.alter(f"DELETE FROM tile WHERE level = {level} AND index = 0")
    named = {
        0: "the log lost the hash that was sealed here",
        1: "the log lost the hash of its subtree at level 8, index 0",
    }
    assert_named(await stored.verify(start), named[level], 0 if level == 0 else None)


async def test_a_changed_body_with_a_recomputed_tree(stored: StoredLog) -> None:
    await stored.alter(f"UPDATE audit_record SET body = set_byte(body, 30, get_byte(body, 30) # 1) WHERE id = {RECORD}")
    await stored.regrow()
    assert_named(await stored.verify(), "root: ", None)


async def test_a_forgery_with_another_signing_key(stored: StoredLog) -> None:
    await stored.alter(f"UPDATE audit_record SET body = set_byte(body, 30, get_byte(body, 30) # 1) WHERE id = {RECORD}")
    await stored.regrow()
    await stored.sign_anew(STRANGER)
    assert_named(await stored.verify(), "no key that you trust has signed", None, UNTRUSTED)


async def test_a_fork_signed_with_the_real_key(stored: StoredLog) -> None:
    await stored.deny()
    await stored.regrow()
    await stored.sign_anew(SIGNER)
    assert_named(await stored.verify(), f"fork: the first {FIRST} records are not those", None)
    # Without an earlier checkpoint it is not found: the anchor and the auditors' checkpoints exist for this.
    bundle = await stored.bundle(400)
    report = verify_bundle(bundle, key=VKEY)
    assert_named(report, f"fork: the log of size {WHOLE} does not extend its checkpoint of size {FIRST}", None)


async def test_a_note_with_a_changed_byte(stored: StoredLog) -> None:
    note = await (await stored.log_database.connect("auditor")).fetchval(
        "SELECT note FROM checkpoint WHERE size = $1", WHOLE
    )
    for place in range(0, len(note), 7):
        other = note[:place] + ("A" if note[place] != "A" else "B") + note[place + 1 :]
        await stored.alter(f"UPDATE checkpoint SET note = '{other}' WHERE size = {WHOLE}")
        assert (await stored.verify(500, 505)).verdict in {TAMPERED, UNTRUSTED}


async def test_a_log_that_was_rolled_back(stored: StoredLog) -> None:
    bundle = await stored.bundle()
    newest = json.loads(bundle.split(b"\n")[0])["checkpoint"]
    await stored.alter(
        f"DELETE FROM checkpoint WHERE size > {FIRST}",
        f"DELETE FROM audit_record WHERE id IN (SELECT record_id FROM audit_position WHERE position >= {FIRST})",
        f"DELETE FROM audit_position WHERE position >= {FIRST}",
        "DELETE FROM tile",
        f"UPDATE log_head SET size = {FIRST}, tree_size = 0, edge = '{{}}', root = NULL",
    )
    await stored.regrow()
    report = verify_bundle(await stored.bundle(), seen=newest, key=VKEY)
    assert_named(report, "or the log was rolled back", None, INCOMPLETE)
