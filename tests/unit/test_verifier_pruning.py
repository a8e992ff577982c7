"""What is gone: bodies that the log says it pruned, texts that it says it erased, and those who only say so.

Whoever may insert a record may insert one that tells of pruning. So what it tells is held against the policy that the
auditor knows, the records that are left, and what was seen before.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from service.log import merkle
from service.log.record import Kind, Record, canonical_json
from service.standalone.verify.findings import INCOMPLETE, INTACT, TAMPERED
from service.standalone.verify.notes import read_keys
from service.standalone.verify.state import State
from tests.bundle_forge import VKEY, Forged, forged, hash_at, judged
from tests.unit.test_verifier import LOG, SHEET, record

if TYPE_CHECKING:
    from collections.abc import Sequence

START, LATER = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
# A record a day from March on; what tells of pruning stands behind them.
DAYS = [record(number, at=START + number * DAY) for number in range(92)]


def told(**changed: Any) -> Record:
    """The record that tells that the first ten days went, which are older than 80 days at its time."""
    said = {
        "decided_at": LATER,
        "event": "log.pruned",
        "pruned_to": 10,
        "records": 10,
        "older_than": START + 11 * DAY,
        "retention": "80d",
    }
    return Record.make(Kind.SYSTEM, said | changed)


def pruned(
    pruning: Record, log: Sequence[Record] = DAYS, *, to: int = 10, gone: int | None = None, end: int | None = None
) -> Forged:
    """The bundle up to `end` of the log, the record that tells, which the header names, and one record more."""
    bundle = forged([*log, pruning, record(1, at=LATER + DAY)], 0, end)
    path = merkle.inclusion_path(len(log), len(bundle.leaves), hash_at(bundle.leaves))
    bundle.header["pruned"] = {
        "to": to,
        "position": len(log),
        "body": base64.b64encode(pruning.body).decode(),
        "inclusion": [base64.b64encode(value).decode() for value in path],
    }
    for line in bundle.lines[: to if gone is None else gone]:
        line |= {"uid": None, "leaf": None, "body": None, "columns": None, "texts": None}
    return bundle


def test_what_the_policy_lets_go_is_told_and_intact() -> None:
    report = judged(pruned(told()).content, retention="80d")
    assert (report.verdict, report.findings) == (INTACT, [])
    assert (report.checked["pruned"], report.checked["records"]) == (10, len(DAYS) + 2)
    (note,) = report.notes
    assert "the last 10 of the first 10 records were pruned, as older than 80d" in note


def test_nobody_is_told_intact_who_does_not_know_the_policy() -> None:
    report = judged(pruned(told()).content)
    assert (report.verdict, "--retention" in report.findings[0]["what"]) == (INCOMPLETE, True)
    assert "the age that your law requires" in report.unshown[0]


LIES: list[tuple[dict[str, Any], str]] = [
    # By the policy that the auditor knows, 80 days, these were too young.
    ({"older_than": START + 40 * DAY}, "by its own policy records are kept for 80.0 days; here records 52.0"),
    (
        {"older_than": START + 40 * DAY, "retention": "30d"},
        "by the policy that you gave records are kept for 80.0 days",
    ),
    # It says that only old ones went, and what is left begins much later.
    ({"older_than": START - 60 * DAY, "retention": "80d"}, "the first that is left is 70.0 days younger"),
    # Dated so that the young ones would be old.
    ({"decided_at": datetime(2999, 1, 1, tzinfo=UTC)}, "decided in the future"),
    ({"decided_at": LATER + 60 * DAY}, "the record next to it"),
    ({"decided_at": LATER - 10 * DAY}, "the record next to it"),
    ({"records": 11}, "the record says that 11 of 10 records were pruned"),
    ({"records": 0}, "the record says that 0 of 10 records were pruned"),
    ({"retention": "for ever"}, "has no valid policy"),
    ({"pruned_to": 9}, "the record is of another pruning"),
    ({"event": "log.opened"}, "pruned names another event"),
    ({"older_than": "yesterday"}, "malformed"),
]


@pytest.mark.parametrize(("changed", "what"), LIES)
def test_a_record_that_only_says_that_others_were_pruned_is_found_out(changed: dict[str, Any], what: str) -> None:
    report = judged(pruned(told(**changed)).content, retention="80d")
    assert report.verdict == TAMPERED
    assert any(what in finding["what"] for finding in report.findings), report.findings


def test_young_records_cannot_pass_for_old_ones_by_the_say_so_of_the_log() -> None:
    """Everything but the last day is deleted, and the log says that only old ones went."""
    lie = told(pruned_to=90, records=90)
    bundle = pruned(lie, to=90)
    report = judged(bundle.content, retention="80d")
    assert (report.verdict, "those between were removed" in report.findings[0]["what"]) == (TAMPERED, True)


def test_a_silence_of_some_days_behind_what_is_pruned_is_not_called_intact() -> None:
    report = judged(pruned(told(older_than=START + 2 * DAY)).content, retention="80d")
    assert (report.verdict, "unless the service was not running" in report.findings[0]["what"]) == (INCOMPLETE, True)


def test_who_saw_young_records_is_not_told_that_they_were_old() -> None:
    """An older history, made up and put behind the young records that were deleted, fits what the log says."""
    state = State(None, read_keys([VKEY]))
    assert judged(forged(DAYS).content, state=state).verdict == INTACT
    made_up = [record(number, at=START - 300 * DAY + number * 20 * DAY) for number in range(20)]
    lie = told(pruned_to=len(DAYS), records=len(DAYS), older_than=START - 300 * DAY, retention="365d", decided_at=LATER)
    bundle = pruned(lie, [*DAYS, *made_up], to=len(DAYS))
    assert judged(bundle.content, retention="365d").verdict == INTACT
    state.add_mark(len(DAYS) - 1, LATER - DAY)
    report = judged(bundle.content, retention="365d", state=state)
    assert (report.verdict, "by your state file" in report.findings[0]["what"]) == (TAMPERED, True)


def test_a_removed_body_is_tampering_unless_the_log_says_that_it_was_pruned() -> None:
    bundle = pruned(told())
    bundle.header["pruned"] = None
    assert [finding["position"] for finding in judged(bundle.content, retention="80d").findings] == list(range(10))
    bundle = pruned(told(), gone=11)
    assert [finding["position"] for finding in judged(bundle.content, retention="80d").findings] == [10]


def test_one_record_cannot_pass_for_pruned_while_older_ones_are_here() -> None:
    bundle, whole = pruned(told()), forged(DAYS)
    bundle.lines[4:6] = whole.lines[4:6]
    report = judged(bundle.content, retention="80d")
    assert (report.verdict, [finding["position"] for finding in report.findings]) == (TAMPERED, [4, 5])


def test_a_record_of_pruning_speaks_of_nothing_that_was_written_after_it() -> None:
    beyond = len(DAYS) + 1
    bundle = pruned(told(pruned_to=beyond, records=beyond), to=beyond, gone=0)
    report = judged(bundle.content, retention="80d")
    assert (report.verdict, "or later ones" in report.findings[0]["what"]) == (TAMPERED, True)


def test_a_record_of_pruning_that_is_not_in_the_log_says_nothing() -> None:
    bundle = pruned(told())
    bundle.header["pruned"]["body"] = base64.b64encode(told(records=9).body).decode()
    report = judged(bundle.content, retention="80d")
    assert (report.verdict, "is not in the log" in report.findings[0]["what"]) == (TAMPERED, True)


def test_a_bundle_of_pruned_records_alone_cannot_show_how_old_they_were() -> None:
    report = judged(pruned(told(), end=10).content, retention="80d")
    assert (report.verdict, "fetch one that goes beyond" in report.findings[0]["what"]) == (INCOMPLETE, True)


def erasure(person: UUID, texts: int) -> Record:
    said = {
        "decided_at": LATER,
        "resource": {"kind": "directory", "id": str(person)},
        "change": {"type": "directory.changed", "from": {}, "to": {"what": "person.erased", "texts": texts}},
    }
    return Record.make(Kind.DIRECTORY, said)


def without_texts(bundle: Forged, *positions: int) -> Forged:
    for position in positions:
        bundle.lines[position]["texts"] = dict.fromkeys(bundle.lines[position]["texts"], "erased")
    return bundle


def test_an_erased_text_is_counted_and_proves_nothing_wrong() -> None:
    report = judged(without_texts(forged([*LOG, erasure(SHEET, 2)]), 0, 3).content)
    assert (report.verdict, report.findings, report.checked["erased"]) == (INTACT, [], 2)
    assert report.notes[-1] == "texts are missing because of the erasures at position 23: check that you know of these"


@pytest.mark.parametrize(
    "told_of",
    [[], [erasure(SHEET, 1)], [erasure(UUID(int=7), 2)], [record(1, at=LATER)]],
    ids=["nothing", "fewer", "somebody-else", "another-record"],
)
def test_a_text_that_went_without_an_erasure_on_record_is_told(told_of: list[Record]) -> None:
    report = judged(without_texts(forged([*LOG, *told_of]), 0, 3).content)
    assert report.verdict == INCOMPLETE
    assert "missing and no erasure is recorded" in report.findings[0]["what"]
    assert report.findings[0]["position"] == 0


def test_an_erasure_accounts_for_nothing_that_was_written_after_it() -> None:
    log = [LOG[0], erasure(SHEET, 2), LOG[3]]
    report = judged(without_texts(forged(log), 0, 2).content)
    assert (report.verdict, report.findings[0]["position"]) == (INCOMPLETE, 2)


def merger(person: UUID, into: UUID) -> Record:
    said = {
        "decided_at": LATER,
        "resource": {"kind": "directory", "id": str(person)},
        "change": {"type": "directory.changed", "from": {}, "to": {"what": "person.merged", "into": str(into)}},
    }
    return Record.make(Kind.DIRECTORY, said)


def test_people_who_turned_out_to_be_one_are_erased_together() -> None:
    other, third = UUID(int=7), UUID(int=8)
    log = [*LOG, merger(SHEET, other), merger(other, third), erasure(third, 2)]
    assert judged(without_texts(forged(log), 0, 3).content).verdict == INTACT
    # Behind the merger nobody can tell, so it is told; but not for more than was erased.
    late = forged(log, 3, None)
    assert judged(without_texts(late, 0, 3).content).verdict == INTACT
    apart = [*LOG, merger(other, third), erasure(third, 2)]
    assert judged(without_texts(forged(apart), 0, 3).content).verdict == INCOMPLETE
    report = judged(without_texts(forged(apart, 3), 0, 3).content)
    assert (report.verdict, "may have been merged before this" in report.notes[-1]) == (INTACT, True)
    assert judged(without_texts(forged(apart, 3), 0, 3, 6).content).verdict == INCOMPLETE
    # Who is said to have turned out to be themselves is no trap.
    circle = [*LOG, merger(SHEET, other), merger(other, SHEET), erasure(other, 2)]
    assert judged(without_texts(forged(circle), 0, 3).content).verdict == INCOMPLETE


def test_an_erasure_may_lie_behind_the_end_of_a_bundle() -> None:
    report = judged(without_texts(forged([*LOG, erasure(SHEET, 2)], 0, len(LOG)), 0, 3).content)
    assert (report.verdict, report.findings) == (INTACT, [])
    assert "it may be recorded after it" in report.notes[0]


def test_a_record_that_says_no_time_is_none_of_ours() -> None:
    body = json.loads(DAYS[4].body)
    del body["decided_at"]
    data = canonical_json(body)
    timeless = Record(DAYS[4].uid, Kind.DECISION, data, merkle.leaf_hash(data), {**DAYS[4].columns, "decided_at": None})
    report = judged(forged([*DAYS[:4], timeless, *DAYS[5:]]).content)
    (finding,) = report.findings
    assert (finding["verdict"], finding["position"]) == ("tampered", 4)
    assert finding["what"].startswith("it has no decided_at")


def test_a_record_that_was_written_late_is_told() -> None:
    late = START + 19 * DAY - timedelta(minutes=61)
    report = judged(forged([*DAYS[:20], record(5, at=late), *DAYS[20:]]).content)
    assert (report.verdict, len(report.notes)) == (INTACT, 1)
    assert report.notes[0].startswith("position 20 and 0 others were decided more than an hour before")
