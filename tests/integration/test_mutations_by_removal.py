"""A superuser removes bodies and texts from the stored log, and explains them as pruned or erased."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.log.anchor import Anchor
from service.log.log import Log
from service.log.partitions import add_partition
from service.log.record import Kind, Record
from service.log.retention import prune
from service.log.signing import CheckpointSigner
from service.standalone.verify.findings import INCOMPLETE, INTACT, TAMPERED
from service.timesheets.entry import Hours
from tests.bundle_forge import verify_bundle
from tests.integration.house import MONDAY, at
from tests.integration.mutated_log import FIRST, RECORD, SIGNER, VKEY, WHOLE, StoredLog, assert_named, record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.house import House

pytest_plugins = [
    "tests.integration.log_fixtures",
    "tests.integration.house_fixtures",
    "tests.integration.mutated_log_fixtures",
]


async def test_a_text_deleted_without_a_record(stored: StoredLog) -> None:
    await stored.alter(f"DELETE FROM audit_text WHERE record_uid = (SELECT uid FROM audit_record WHERE id = {RECORD})")
    report = await stored.verify()
    assert_named(report, "texts: 1 are missing and no erasure is recorded", verdict=INCOMPLETE)
    assert report.checked["erased"] == 1


async def old_and_young(stored: StoredLog) -> None:
    """A log ten days old, in its own partition, and five more records from nine days ago."""
    then = datetime.now(UTC) - timedelta(days=10)
    await stored.alter(f"UPDATE audit_record SET at = '{then}', decided_at = least(decided_at, '{then}')")
    owner = await stored.log_database.connect("owner")
    assert await add_partition(owner, (datetime.now(UTC).date().replace(day=1) + timedelta(days=40)).replace(day=1))
    await Log(stored.app).append([record(number, then + timedelta(days=1)) for number in range(5)])
    await stored.seal_and_sign()


async def test_pruned_bodies_are_counted_and_a_removed_one_is_found(stored: StoredLog) -> None:
    await old_and_young(stored)
    owner = await stored.log_database.connect("owner")
    assert (await prune(owner, datetime.now(UTC) - timedelta(days=9), "9d")).upto == WHOLE
    await stored.seal_and_sign()
    report = await stored.verify(retention="9d")
    assert (report.verdict, report.findings) == (INTACT, [])
    assert (report.checked["pruned"], report.checked["records"]) == (WHOLE, WHOLE + 6)
    assert (await stored.verify(WHOLE, seen=FIRST)).verdict == INTACT
    assert_named(await stored.verify(), "give the retention policy", WHOLE + 5, INCOMPLETE)
    assert_named(await stored.verify(retention="36mo"), "by the policy that you gave", WHOLE + 5)
    await stored.alter(
        f"DELETE FROM audit_record WHERE id = (SELECT record_id FROM audit_position WHERE position = {WHOLE + 1})"
    )
    assert_named(await stored.verify(retention="9d"), "the record was removed", WHOLE + 1)
    # Pruning that is not recorded counts as removal.
    uid = "(SELECT uid FROM audit_record WHERE body LIKE '%log.pruned%')"
    await stored.alter(f"DELETE FROM audit_record WHERE uid = {uid}")
    assert_named(await stored.verify(retention="9d"), "the record was removed", 0)


LIES = [
    # The record names a policy that fits what was deleted, but not the one that the auditor gives.
    (timedelta(days=8), "1d", "by the policy that you gave"),
    # The record says that only old records were pruned, but those left are too young to follow them.
    (timedelta(days=1200), "36mo", "the first that is left is"),
]


@pytest.mark.parametrize(("age", "policy", "what"), LIES)
async def test_deleted_bodies_with_a_forged_record_of_pruning(
    stored: StoredLog, age: timedelta, policy: str, what: str
) -> None:
    await old_and_young(stored)
    lie = {
        "decided_at": datetime.now(UTC),
        "event": "log.pruned",
        "pruned_to": WHOLE,
        "records": WHOLE,
        "older_than": datetime.now(UTC) - age,
        "retention": policy,
    }
    await Log(stored.app).append([Record.make(Kind.SYSTEM, lie)])
    await stored.seal_and_sign()
    gone = f"(SELECT record_id FROM audit_position WHERE position < {WHOLE})"
    await stored.alter(f"DELETE FROM audit_record WHERE id IN {gone}")
    report = await stored.verify(retention="36mo")
    assert report.verdict == TAMPERED
    assert any(what in finding["what"] for finding in report.findings), report.findings
    # Without a policy the verdict is not intact.
    assert (await stored.verify()).verdict in {INCOMPLETE, TAMPERED}


async def test_recorded_erasures_explain_missing_texts(house: House, tmp_path: Path) -> None:
    """Texts about a person are erased; then a text about another person is deleted without a record."""
    ana, ben = house.caller("ana"), house.caller("ben")
    keeper = await house.log_database.open("keeper")
    for caller in (ana, ben):
        sheet = (await house.timesheets.create(caller, MONDAY, "UTC")).value
        await house.timesheets.add_entry(caller, sheet.id, at(1), Hours(MONDAY, "apollo", 480, "at the dentist's"))
        await house.timesheets.submit(caller, sheet.id, at(2))
        await house.timesheets.reject(house.caller("mia"), sheet.id, at(3), "seen elsewhere")
    await house.erasure.erase(house.administrator(), house.people["ana"])
    signing = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"))
    stored = StoredLog(house.log_database, house.requests, keeper, signing, "")
    await stored.seal_and_sign()
    report = verify_bundle(await stored.bundle(), key=VKEY)
    assert (report.verdict, report.findings, report.checked["erased"]) == (INTACT, [], 2)
    await stored.alter("DELETE FROM audit_text WHERE value = 'seen elsewhere'")
    report = verify_bundle(await stored.bundle(), key=VKEY)
    assert report.verdict == INCOMPLETE
    assert "texts: 1 are missing and no erasure is recorded" in report.findings[0]["what"]
