"""What somebody with superuser rights takes out of the stored log and explains: bodies as pruned, texts as erased."""

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
from tests.bundle_forge import judged
from tests.integration.house import MONDAY, at
from tests.integration.mutated_log import FIRST, RECORD, SIGNER, VKEY, WHOLE, Stored, assert_named, record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.house import House

pytest_plugins = [
    "tests.integration.log_fixtures",
    "tests.integration.house_fixtures",
    "tests.integration.mutated_log_fixtures",
]


async def test_a_text_that_somebody_deleted_without_a_word(stored: Stored) -> None:
    await stored.alter(f"DELETE FROM audit_text WHERE record_uid = (SELECT uid FROM audit_record WHERE id = {RECORD})")
    report = await stored.judged()
    assert_named(report, "texts: 1 are missing and no erasure is recorded", verdict=INCOMPLETE)
    assert report.checked["erased"] == 1


async def old_and_young(stored: Stored) -> None:
    """The log as if it were ten days old, in a partition of its own, and five records more from nine days ago."""
    then = datetime.now(UTC) - timedelta(days=10)
    await stored.alter(f"UPDATE audit_record SET at = '{then}', decided_at = least(decided_at, '{then}')")
    owner = await stored.log_database.connect("owner")
    assert await add_partition(owner, (datetime.now(UTC).date().replace(day=1) + timedelta(days=40)).replace(day=1))
    await Log(stored.app).append([record(number, then + timedelta(days=1)) for number in range(5)])
    await stored.seal_and_sign()


async def test_pruned_bodies_are_counted_and_a_removed_one_is_not_taken_for_pruned(stored: Stored) -> None:
    await old_and_young(stored)
    owner = await stored.log_database.connect("owner")
    assert (await prune(owner, datetime.now(UTC) - timedelta(days=9), "9d")).upto == WHOLE
    await stored.seal_and_sign()
    report = await stored.judged(retention="9d")
    assert (report.verdict, report.findings) == (INTACT, [])
    assert (report.checked["pruned"], report.checked["records"]) == (WHOLE, WHOLE + 6)
    assert (await stored.judged(WHOLE, seen=FIRST)).verdict == INTACT
    assert_named(await stored.judged(), "give the retention policy", WHOLE + 5, INCOMPLETE)
    assert_named(await stored.judged(retention="36mo"), "by the policy that you gave", WHOLE + 5)
    await stored.alter(
        f"DELETE FROM audit_record WHERE id = (SELECT record_id FROM audit_position WHERE position = {WHOLE + 1})"
    )
    assert_named(await stored.judged(retention="9d"), "the record was removed", WHOLE + 1)
    # Who prunes without telling the log removes.
    uid = "(SELECT uid FROM audit_record WHERE body LIKE '%log.pruned%')"
    await stored.alter(f"DELETE FROM audit_record WHERE uid = {uid}")
    assert_named(await stored.judged(retention="9d"), "the record was removed", 0)


LIES = [
    # It names a policy that fits what was deleted, and not the one that the auditor knows.
    (timedelta(days=8), "1d", "by the policy that you gave"),
    # It says that only old ones went; those that are left are too young to be the next.
    (timedelta(days=1200), "36mo", "the first that is left is"),
]


@pytest.mark.parametrize(("age", "policy", "what"), LIES)
async def test_bodies_that_were_deleted_under_a_record_of_pruning_that_somebody_made_up(
    stored: Stored, age: timedelta, policy: str, what: str
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
    report = await stored.judged(retention="36mo")
    assert report.verdict == TAMPERED
    assert any(what in finding["what"] for finding in report.findings), report.findings
    # Nobody is told "intact" who knows no policy.
    assert (await stored.judged()).verdict in {INCOMPLETE, TAMPERED}


async def test_texts_that_were_erased_by_the_rules_are_accounted_for(house: House, tmp_path: Path) -> None:
    """A note and a reason about somebody; then a reason about somebody else is deleted behind the log's back."""
    ana, ben = house.caller("ana"), house.caller("ben")
    keeper = await house.log_database.open("keeper")
    for caller in (ana, ben):
        sheet = (await house.timesheets.create(caller, MONDAY, "UTC")).value
        await house.timesheets.add_entry(caller, sheet.id, at(1), Hours(MONDAY, "apollo", 480, "at the dentist's"))
        await house.timesheets.submit(caller, sheet.id, at(2))
        await house.timesheets.reject(house.caller("mia"), sheet.id, at(3), "seen elsewhere")
    await house.erasure.erase(house.administrator(), house.people["ana"])
    signing = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"))
    stored = Stored(house.log_database, house.requests, keeper, signing, "")
    await stored.seal_and_sign()
    report = judged(await stored.bundle(), key=VKEY)
    assert (report.verdict, report.findings, report.checked["erased"]) == (INTACT, [], 2)
    await stored.alter("DELETE FROM audit_text WHERE value = 'seen elsewhere'")
    report = judged(await stored.bundle(), key=VKEY)
    assert report.verdict == INCOMPLETE
    assert "texts: 1 are missing and no erasure is recorded" in report.findings[0]["what"]
