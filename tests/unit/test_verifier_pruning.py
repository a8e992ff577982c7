"""Pruned bodies and erased texts, and false records of pruning and erasure.

A record of pruning can be forged. So the verifier compares it with the policy that the auditor gives, the records that
are left, and the state of earlier checks.
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
from tests.bundle_forge import VKEY, ForgedBundle, forge_bundle, hash_at, verify_bundle
from tests.command_line import verify
from tests.unit.test_verifier import LOG, SHEET, record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START, LATER = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
# A record a day from March on; the record of pruning follows them.
DAYS = [record(number, at=START + number * DAY) for number in range(92)]


def pruning_record(**changed: Any) -> Record:
    """A record that the first ten days were pruned, which were older than 80 days then."""
    said = {
        "decided_at": LATER,
        "event": "log.pruned",
        "pruned_to": 10,
        "records": 10,
        "older_than": START + 11 * DAY,
        "retention": "80d",
    }
    return Record.make(Kind.SYSTEM, said | changed)


def prune_bundle(
    pruning: Record,
    log: Sequence[Record] = DAYS,
    *,
    to: int = 10,
    gone: int | None = None,
    start: int = 0,
    end: int | None = None,
) -> ForgedBundle:
    """A bundle of the log from `start` to `end`: the days, the record of pruning, which the header names, and another
    record."""
    bundle = forge_bundle([*log, pruning, record(1, at=LATER + DAY)], start, end)
    path = merkle.inclusion_path(len(log), len(bundle.leaves), hash_at(bundle.leaves))
    bundle.header["pruned"] = {
        "to": to,
        "position": len(log),
        "body": base64.b64encode(pruning.body).decode(),
        "inclusion": [base64.b64encode(value).decode() for value in path],
    }
    for line in bundle.lines[: (to if gone is None else gone) - start]:
        line |= {"uid": None, "leaf": None, "body": None, "columns": None, "texts": None}
    return bundle


def test_pruning_by_the_policy_is_reported_and_intact() -> None:
    report = verify_bundle(prune_bundle(pruning_record()).content, retention="80d")
    assert (report.verdict, report.findings) == (INTACT, [])
    assert (report.checked["pruned"], report.checked["records"]) == (10, len(DAYS) + 2)
    (note,) = report.notes
    assert "the last 10 of the first 10 records were pruned, as older than 80d" in note


def test_the_hash_of_a_pruned_record_does_not_show_its_decision_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundle").write_bytes(prune_bundle(pruning_record()).content)
    where = ("--bundle", str(tmp_path / "bundle"), "--key", VKEY, "--retention", "80d")
    for pruned, sought in ((True, DAYS[3]), (False, DAYS[20])):
        code, report = verify(
            "answer", "--decision-id", str(sought.uid), "--leaf", sought.leaf.hex(), *where, capsys=capsys
        )
        assert (code, report["checked"]["position"]) == (INTACT, DAYS.index(sought))
        assert any("that this record has the Decision-Id" in item for item in report["not_shown"]) is pruned
        assert any("the record of the answer was sealed" in item for item in report["shown"]) is not pruned
        assert any("a record with the Decision-Leaf of the answer" in item for item in report["shown"]) is pruned


def test_pruning_without_a_known_policy_is_incomplete() -> None:
    report = verify_bundle(prune_bundle(pruning_record()).content)
    assert (report.verdict, "--retention" in report.findings[0]["what"]) == (INCOMPLETE, True)
    assert "the age that your law requires" in report.unshown[0]


LIES: list[tuple[dict[str, Any], str]] = [
    # By the auditor's policy, 80 days, these were too young.
    ({"older_than": START + 40 * DAY}, "by its own policy records are kept for 80.0 days; here records 52.0"),
    (
        {"older_than": START + 40 * DAY, "retention": "30d"},
        "by the policy that you gave records are kept for 80.0 days",
    ),
    # It says that only old records were pruned, but the records left begin much later.
    ({"older_than": START - 60 * DAY, "retention": "80d"}, "the first that is left is 70.0 days younger"),
    # Dated so that the young records seem old.
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
def test_a_false_record_of_pruning_is_found(changed: dict[str, Any], what: str) -> None:
    report = verify_bundle(prune_bundle(pruning_record(**changed)).content, retention="80d")
    assert report.verdict == TAMPERED
    assert any(what in finding["what"] for finding in report.findings), report.findings


def test_pruned_young_records_are_found_by_the_records_left() -> None:
    """All but the last day is deleted, and the log says that only old records were pruned."""
    lie = pruning_record(pruned_to=90, records=90)
    bundle = prune_bundle(lie, to=90)
    report = verify_bundle(bundle.content, retention="80d")
    assert (report.verdict, "those between were removed" in report.findings[0]["what"]) == (TAMPERED, True)


def test_a_gap_of_days_after_pruned_records_is_incomplete() -> None:
    report = verify_bundle(prune_bundle(pruning_record(older_than=START + 2 * DAY)).content, retention="80d")
    assert (report.verdict, "unless the service was not running" in report.findings[0]["what"]) == (INCOMPLETE, True)


def test_marks_in_the_state_reveal_pruned_young_records() -> None:
    """An invented older history after the deleted young records is consistent with the record of pruning."""
    state = State(None, read_keys([VKEY]))
    assert verify_bundle(forge_bundle(DAYS).content, state=state).verdict == INTACT
    made_up = [record(number, at=START - 300 * DAY + number * 20 * DAY) for number in range(20)]
    lie = pruning_record(
        pruned_to=len(DAYS), records=len(DAYS), older_than=START - 300 * DAY, retention="365d", decided_at=LATER
    )
    bundle = prune_bundle(lie, [*DAYS, *made_up], to=len(DAYS))
    assert verify_bundle(bundle.content, retention="365d").verdict == INTACT
    state.add_mark(len(DAYS) - 1, LATER - DAY)
    report = verify_bundle(bundle.content, retention="365d", state=state)
    assert (report.verdict, "by your state file" in report.findings[0]["what"]) == (TAMPERED, True)


def test_a_record_of_a_wrong_clock_does_not_make_later_records_seem_young() -> None:
    before = [*DAYS[:60], record(92, at=START + 79 * DAY)]
    state = State(None, read_keys([VKEY]))
    assert verify_bundle(forge_bundle(before).content, state=state).verdict == INTACT
    # Records of three days after the wrong one were pruned, too.
    gone = len(before) + 3
    pruning = pruning_record(pruned_to=gone, records=gone, older_than=START + 63 * DAY, retention="29d")
    bundle = prune_bundle(pruning, [*before, *DAYS[60:]], to=gone)
    assert verify_bundle(bundle.content, retention="29d").findings == []
    assert verify_bundle(bundle.content, retention="29d", state=state).findings == []


def test_a_removed_body_is_tampered_unless_it_was_pruned() -> None:
    bundle = prune_bundle(pruning_record())
    bundle.header["pruned"] = None
    assert [finding["position"] for finding in verify_bundle(bundle.content, retention="80d").findings] == list(
        range(10)
    )
    bundle = prune_bundle(pruning_record(), gone=11)
    assert [finding["position"] for finding in verify_bundle(bundle.content, retention="80d").findings] == [10]


def test_a_record_cannot_be_pruned_before_older_ones() -> None:
    bundle, whole = prune_bundle(pruning_record()), forge_bundle(DAYS)
    bundle.lines[4:6] = whole.lines[4:6]
    report = verify_bundle(bundle.content, retention="80d")
    assert (report.verdict, [finding["position"] for finding in report.findings]) == (TAMPERED, [4, 5])


def test_a_record_of_pruning_cannot_include_later_records() -> None:
    beyond = len(DAYS) + 1
    bundle = prune_bundle(pruning_record(pruned_to=beyond, records=beyond), to=beyond, gone=0)
    report = verify_bundle(bundle.content, retention="80d")
    assert (report.verdict, "or later ones" in report.findings[0]["what"]) == (TAMPERED, True)


def test_a_record_of_pruning_must_be_in_the_log() -> None:
    bundle = prune_bundle(pruning_record())
    bundle.header["pruned"]["body"] = base64.b64encode(pruning_record(records=9).body).decode()
    report = verify_bundle(bundle.content, retention="80d")
    assert (report.verdict, "is not in the log" in report.findings[0]["what"]) == (TAMPERED, True)


def test_a_bundle_of_pruned_records_only_is_incomplete() -> None:
    report = verify_bundle(prune_bundle(pruning_record(), end=10).content, retention="80d")
    assert (report.verdict, "fetch one that goes beyond" in report.findings[0]["what"]) == (INCOMPLETE, True)


def erasure(person: UUID, texts: int) -> Record:
    said = {
        "decided_at": LATER,
        "resource": {"kind": "directory", "id": str(person)},
        "change": {"type": "directory.changed", "from": {}, "to": {"what": "person.erased", "texts": texts}},
    }
    return Record.make(Kind.DIRECTORY, said)


def without_texts(bundle: ForgedBundle, *positions: int) -> ForgedBundle:
    for position in positions:
        bundle.lines[position]["texts"] = dict.fromkeys(bundle.lines[position]["texts"], "erased")
    return bundle


def test_a_recorded_erasure_is_intact() -> None:
    report = verify_bundle(without_texts(forge_bundle([*LOG, erasure(SHEET, 2)]), 0, 3).content)
    assert (report.verdict, report.findings, report.checked["erased"]) == (INTACT, [], 2)
    assert report.notes[-1] == "texts are missing because of the erasures at position 23: check that you know of these"


@pytest.mark.parametrize(
    "told_of",
    [[], [erasure(SHEET, 1)], [erasure(UUID(int=7), 2)], [record(1, at=LATER)]],
    ids=["nothing", "fewer", "somebody-else", "another-record"],
)
def test_a_missing_text_without_an_erasure_is_reported(told_of: list[Record]) -> None:
    report = verify_bundle(without_texts(forge_bundle([*LOG, *told_of]), 0, 3).content)
    assert report.verdict == INCOMPLETE
    assert "missing and no erasure is recorded" in report.findings[0]["what"]
    assert report.findings[0]["position"] == 0


def test_an_erasure_does_not_explain_later_texts() -> None:
    log = [LOG[0], erasure(SHEET, 2), LOG[3]]
    report = verify_bundle(without_texts(forge_bundle(log), 0, 2).content)
    assert (report.verdict, report.findings[0]["position"]) == (INCOMPLETE, 2)


@pytest.mark.parametrize(
    ("person", "names", "verdict"),
    [
        (7, ["attributes.principal.level"], INTACT),
        (8, ["attributes.resource.owner.level"], INTACT),
        (8, ["attributes.principal.level"], INCOMPLETE),
        (7, ["attributes.resource.owner.level"], INCOMPLETE),
        (7, ["attributes.principal.level", "attributes.resource.owner.level"], INCOMPLETE),
    ],
)
def test_a_value_of_the_caller_is_erased_with_the_caller(person: int, names: list[str], verdict: int) -> None:
    """Person 7 read a sheet of person 8, and the record commits to a value of each."""
    read = {
        "decided_at": LATER,
        "action": "read",
        "resource": {"kind": "timesheet", "id": str(SHEET), "owner": str(UUID(int=8))},
        "principal": {"person": str(UUID(int=7)), "client": "hours-app"},
    }
    values = {"attributes.principal.level": "3", "attributes.resource.owner.level": "4"}
    bundle = forge_bundle([*LOG, Record.make(Kind.DECISION, read, values), erasure(UUID(int=person), len(names))])
    bundle.lines[len(LOG)]["texts"] |= dict.fromkeys(names, "erased")
    assert verify_bundle(bundle.content).verdict == verdict


@pytest.mark.parametrize(
    ("kind", "resource", "action"), [(Kind.ACCESS, "log", "read"), (Kind.DECISION, "me", "review")]
)
@pytest.mark.parametrize(("person", "verdict"), [(7, INTACT), (8, INCOMPLETE)])
def test_a_typed_filter_is_erased_with_who_read_the_log(
    kind: Kind, resource: str, action: str, person: int, verdict: int
) -> None:
    read = {
        "decided_at": LATER,
        "action": action,
        "resource": {"kind": resource, "id": None, "owner": None},
        "principal": {"person": str(UUID(int=7)), "client": "hours-app"},
    }
    log = [*LOG, Record.make(kind, read, {"client": "ana@example.com"}), erasure(UUID(int=person), 1)]
    assert verify_bundle(without_texts(forge_bundle(log), len(LOG)).content).verdict == verdict


def merger(person: UUID, into: UUID) -> Record:
    said = {
        "decided_at": LATER,
        "resource": {"kind": "directory", "id": str(person)},
        "change": {"type": "directory.changed", "from": {}, "to": {"what": "person.merged", "into": str(into)}},
    }
    return Record.make(Kind.DIRECTORY, said)


def test_merged_people_are_erased_together() -> None:
    other, third = UUID(int=7), UUID(int=8)
    log = [*LOG, merger(SHEET, other), merger(other, third), erasure(third, 2)]
    assert verify_bundle(without_texts(forge_bundle(log), 0, 3).content).verdict == INTACT
    # After the merge it cannot be decided, so it is a note; but for no more texts than were erased.
    late = forge_bundle(log, 3, None)
    assert verify_bundle(without_texts(late, 0, 3).content).verdict == INTACT
    apart = [*LOG, merger(other, third), erasure(third, 2)]
    assert verify_bundle(without_texts(forge_bundle(apart), 0, 3).content).verdict == INCOMPLETE
    report = verify_bundle(without_texts(forge_bundle(apart, 3), 0, 3).content)
    assert (report.verdict, "may have been merged before this" in report.notes[-1]) == (INTACT, True)
    assert verify_bundle(without_texts(forge_bundle(apart, 3), 0, 3, 6).content).verdict == INCOMPLETE
    # A circle of merges does not cause an endless loop.
    circle = [*LOG, merger(SHEET, other), merger(other, SHEET), erasure(other, 2)]
    assert verify_bundle(without_texts(forge_bundle(circle), 0, 3).content).verdict == INCOMPLETE


def test_an_erasure_may_follow_the_bundle() -> None:
    report = verify_bundle(without_texts(forge_bundle([*LOG, erasure(SHEET, 2)], 0, len(LOG)), 0, 3).content)
    assert (report.verdict, report.findings) == (INTACT, [])
    assert "it may be recorded after it" in report.notes[0]


def test_a_record_without_a_time_is_tampered() -> None:
    body = json.loads(DAYS[4].body)
    del body["decided_at"]
    data = canonical_json(body)
    timeless = Record(DAYS[4].uid, Kind.DECISION, data, merkle.leaf_hash(data), {**DAYS[4].columns, "decided_at": None})
    report = verify_bundle(forge_bundle([*DAYS[:4], timeless, *DAYS[5:]]).content)
    (finding,) = report.findings
    assert (finding["verdict"], finding["position"]) == ("tampered", 4)
    assert finding["what"].startswith("it has no decided_at")


def test_a_record_written_late_is_noted() -> None:
    late = START + 19 * DAY - timedelta(minutes=61)
    report = verify_bundle(forge_bundle([*DAYS[:20], record(5, at=late), *DAYS[20:]]).content)
    assert (report.verdict, len(report.notes)) == (INTACT, 1)
    assert report.notes[0].startswith("position 20 and 0 others were decided more than an hour before")
