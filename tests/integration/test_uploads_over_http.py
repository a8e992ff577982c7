"""Uploads of files over HTTP: bad files are refused with row and field, and nothing of them is imported by half."""

from __future__ import annotations

import asyncio
import json
import zoneinfo
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx2
import pytest

from service.directory.entities import Project
from service.log.packing import stored_leaf, unpack
from service.log.record import read_body
from service.timesheets import entry
from tests.integration.api import InProcess, api
from tests.integration.house import MONDAY, activate_unread
from tests.policy_forge import with_more

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

NDJSON, CSV = "application/x-ndjson", "text/csv"
HEAD = "owner,day,project,minutes,external_ref,note"
LARGEST = 12_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """The importing client, who may upload for carl and not for ana."""

    running: InProcess
    house: House

    async def send(
        self, content: bytes | str, kind: str = NDJSON, *, query: str = "", token: str | None = None
    ) -> httpx2.Response:
        given = token or self.running.token(sub="payroll-import", client_id="payroll-import", scope="batch:upload")
        application: Any = self.running.frame
        transport = httpx2.ASGITransport(app=application, client=("192.0.2.1", 40000))
        headers = {"Authorization": f"Bearer {given}", "Content-Type": kind}
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as http:
            return await http.post(f"/v1/uploads{query}", content=content, headers=headers)

    def row(self, number: int = 0, who: str = "carl", **changes: object) -> dict[str, object]:
        """Carl's: each of seven rows on another day of a week."""
        day = MONDAY + timedelta(days=number)
        row = {"owner": str(self.house.people[who]), "day": day.isoformat(), "project": "apollo", "minutes": 60}
        return {**row, "external_ref": f"job/{number}", **changes}

    async def entries(self) -> int:
        return await self.house.count("entry")


@pytest.fixture
async def job(house: House, issuer: str) -> AsyncIterator[Job]:
    async with api(house, issuer, max_upload_bytes=LARGEST) as running:
        yield Job(running, house)


@pytest.fixture(scope="module")
async def common_job(common_house: House, issuer: str) -> AsyncIterator[Job]:
    """For all tests that import nothing."""
    async with api(common_house, issuer, max_upload_bytes=LARGEST) as running:
        yield Job(running, common_house)


def lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(*rows: dict[str, object]) -> str:
    return "\n".join([HEAD, *(",".join(str(row.get(name, "")) for name in HEAD.split(",")) for row in rows)]) + "\n"


def outcomes(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["outcome"] for row in answer.json()["rows"]]


def errors_of(answer: httpx2.Response, status: int = 422, slug: str = "invalid-field") -> list[tuple[Any, ...]]:
    """Row, line and field of each refused row."""
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert problem["type"] == f"urn:timewarden:problem:{slug}"
    return [(row["row"], row["line"], row.get("field")) for row in problem["rows"]]


async def leaves_are_those_of_the_log(job: Job, answer: httpx2.Response) -> None:
    uids, leaves = answer.json()["decisions"], answer.json()["leaves"]
    assert (answer.headers["Decision-Id"], answer.headers["Decision-Leaf"]) == (uids[0], leaves[0])
    rows = await job.house.owner.fetch(
        "SELECT uid, body, stored_hash FROM audit_record WHERE uid = ANY($1)", list(map(UUID, uids))
    )
    assert {str(row["uid"]): stored_leaf(row["body"], row["stored_hash"]).hex() for row in rows} == dict(
        zip(uids, leaves, strict=True)
    )


@pytest.mark.parametrize(("kind", "write"), [(NDJSON, lines), (CSV, table)])
async def test_a_file_that_is_sent_twice_changes_nothing(job: Job, kind: str, write: Any) -> None:
    file = write(*(job.row(number) for number in range(14)))
    first = await job.send(file, kind)
    assert outcomes(first) == ["created"] * 14
    assert first.json()["counts"] == {"created": 14, "updated": 0, "unchanged": 0, "refused": 0}
    assert [row["line"] for row in first.json()["rows"]] == [number + 1 + (kind == CSV) for number in range(14)]
    assert first.headers["Decision-Id"] == first.json()["decisions"][0]
    assert len(first.json()["decisions"]) == 2
    await leaves_are_those_of_the_log(job, first)
    changes = await job.house.count("audit_record WHERE kind = 'change'")
    second = await job.send(file, kind)
    assert outcomes(second) == ["unchanged"] * 14
    assert [row["entry"] for row in second.json()["rows"]] == [row["entry"] for row in first.json()["rows"]]
    assert await job.house.count("audit_record WHERE kind = 'change'") == changes
    changed = write(job.row(0), job.row(1, minutes=61), job.row(15))
    assert outcomes(await job.send(changed, kind)) == ["unchanged", "updated", "created"]


async def test_many_rows_are_answered_in_pieces_that_are_one_document(job: Job) -> None:
    rows = [job.row(number % 28, external_ref=str(number), minutes=10) for number in range(1500)]
    answer = await job.send(lines(*rows))
    assert outcomes(answer) == ["created"] * 1500
    assert [row["row"] for row in answer.json()["rows"]] == list(range(1500))
    assert outcomes(await job.send(table(*rows), CSV)) == ["unchanged"] * 1500
    # 375 changed entries of a sheet are four records, each of a version of its own.
    versions = await job.house.owner.fetch("SELECT version FROM timesheet")
    assert [version["version"] for version in versions] == [4] * 4
    assert await job.house.count("audit_record WHERE kind = 'change' AND action = 'upload'") == 16


async def test_what_was_delivered_before_the_owner_submitted_is_unchanged_and_nothing_else_is_taken(job: Job) -> None:
    made = await job.send(lines(job.row(0), job.row(1)))
    sheet, house = made.json()["rows"][0]["timesheet"], job.house
    await house.owner.execute("UPDATE timesheet SET state = 'submitted' WHERE id = $1", sheet)
    again = await job.send(lines(job.row(0), job.row(1)))
    assert outcomes(again) == ["unchanged"] * 2
    other = await job.send(lines(job.row(0), job.row(1, minutes=61), job.row(2)))
    assert errors_of(other, 409, "wrong-state") == [(1, 2, None), (2, 3, None)]
    partly = await job.send(lines(job.row(0), job.row(1, minutes=61), job.row(2), job.row(8)), query="?mode=per-row")
    assert outcomes(partly) == ["unchanged", "refused", "refused", "created"]
    assert partly.json()["rows"][1]["problems"][0]["problem"] == "wrong-state"


async def test_together_one_refused_owner_refuses_all_and_per_row_only_their_rows(job: Job) -> None:
    file = lines(job.row(0), job.row(1, "ana"), job.row(2, "ana"), job.row(3))
    assert errors_of(await job.send(file), 403, "forbidden") == [(1, 2, None), (2, 3, None)]
    assert await job.entries() == 0
    answer = await job.send(file, query="?mode=per-row")
    assert outcomes(answer) == ["created", "refused", "refused", "created"]
    assert await job.entries() == 2
    denied = [row["problems"] for row in answer.json()["rows"] if row["outcome"] == "refused"]
    assert {fault["problem"] for found in denied for fault in found} == {"forbidden"}
    assert await job.house.count("audit_record WHERE action = 'upload' AND outcome = 'deny' AND NOT applied") == 2


@pytest.fixture
def newer_zone(tmp_path: Path) -> Iterator[str]:
    """A time zone that is in the data of this process and not in those of Postgres."""
    path = zoneinfo.TZPATH
    (tmp_path / "Mars").mkdir()
    # Its first bytes tell that it is one (RFC 9636 section 3.1).
    (tmp_path / "Mars" / "Phobos").write_bytes(b"TZif")
    zoneinfo.reset_tzpath([str(tmp_path), *path])
    entry._zones.cache_clear()
    yield "Mars/Phobos"
    zoneinfo.reset_tzpath(path)
    entry._zones.cache_clear()


async def test_a_time_zone_that_postgres_does_not_know_is_refused_and_breaks_no_report(
    job: Job, newer_zone: str
) -> None:
    house, running = job.house, job.running
    file = lines(job.row(0, time_zone=newer_zone), job.row(7))
    refused = await job.send(file)
    assert (refused.status_code, refused.json()["fields"][0]["field"]) == (422, "time_zone"), refused.text
    assert outcomes(await job.send(file, query="?mode=per-row")) == ["refused", "created"]
    await house.link_people(running.issuer)
    carl = running.token(sub="carl", scope="read:timesheets create:timesheets")
    body = {"period_start": MONDAY.isoformat(), "time_zone": newer_zone}
    refused = await running.send("POST", "/v1/timesheets", carl, body=body)
    assert (refused.status_code, refused.json()["fields"][0]["field"]) == (422, "time_zone"), refused.text
    span = f"since={MONDAY}&until={MONDAY + timedelta(days=13)}"
    report = await running.send("GET", f"/v1/reports/hours?by=team&{span}", carl)
    assert (report.status_code, report.json()["sheets"]) == (200, 1), report.text


@pytest.mark.parametrize("mode", ["together", "per-row"])
async def test_a_dry_run_says_what_would_happen_and_changes_nothing(job: Job, mode: str) -> None:
    file = lines(job.row(0), job.row(8))
    answer = await job.send(file, query=f"?mode={mode}&dry_run=true")
    assert outcomes(answer) == ["created", "created"]
    assert answer.json()["dry_run"] is True
    # What would be made has no id: nobody could ask for it.
    assert not any("entry" in row or "timesheet" in row for row in answer.json()["rows"])
    assert await job.entries() == await job.house.count("timesheet") == 0
    recorded = "audit_record WHERE action = 'upload' AND outcome = 'allow' AND NOT applied"
    assert await job.house.count(recorded) == len(answer.json()["decisions"]) == 2
    await leaves_are_those_of_the_log(job, answer)
    await job.send(file)
    again = await job.send(lines(job.row(0), job.row(8, minutes=5), job.row(1)), query=f"?mode={mode}&dry_run=true")
    assert outcomes(again) == ["unchanged", "updated", "created"]
    assert ["entry" in row for row in again.json()["rows"]] == [True, True, False]
    assert all("timesheet" in row for row in again.json()["rows"])
    assert errors_of(await job.send(lines(job.row(0, project="nowhere")), query="?dry_run=true")) == [(0, 1, "project")]


async def test_projects_that_are_unknown_or_over_are_named_and_what_stands_on_them_stays(job: Job) -> None:
    await job.send(lines(job.row(0)))
    await job.house.projects.replace(job.house.administrator(), Project("apollo", "Apollo", active=False))
    assert outcomes(await job.send(lines(job.row(0, minutes=90)))) == ["updated"]
    file = lines(job.row(0, minutes=90), job.row(1), job.row(2, project="nowhere"), job.row(3, project="gemini"))
    assert errors_of(await job.send(file)) == [(1, 2, "project"), (2, 3, "project")]
    assert outcomes(await job.send(file, query="?mode=per-row")) == ["unchanged", "refused", "refused", "created"]


@pytest.mark.parametrize(
    "change",
    [
        {"minutes": -60},
        {"minutes": 7.5},
        {"minutes": 10**30},
        {"day": "2026-02-30"},
        {"day": "1999-12-31"},
        {"project": "a b"},
        {"owner": "carl"},
        {"external_ref": ""},
        {"note": "x" * 501},
    ],
    ids=str,
)
@pytest.mark.parametrize(("kind", "write"), [(NDJSON, lines), (CSV, table)])
async def test_a_wrong_row_is_named_and_nothing_is_imported(
    job: Job, kind: str, write: Any, change: dict[str, Any]
) -> None:
    file = write(job.row(0), job.row(1, **change), job.row(2))
    place = (1, 2 + (kind == CSV), next(iter(change)))
    refused = await job.send(file, kind)
    assert errors_of(refused) == [place]
    assert [field["field"] for field in refused.json()["fields"]] == [f"rows[1].{place[2]}"]
    assert await job.entries() == 0
    assert outcomes(await job.send(file, kind, query="?mode=per-row")) == ["created", "refused", "created"]


@pytest.mark.parametrize("cell", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)"])
async def test_a_formula_in_a_table_is_refused(job: Job, cell: str) -> None:
    assert errors_of(await job.send(table(job.row(0), job.row(1, note=cell)), CSV)) == [(1, 3, "note")]
    # In JSON it is a text like others.
    assert outcomes(await job.send(lines(job.row(0, note=cell)))) == ["created"]


async def test_one_key_twice_is_refused_whether_or_not_the_rows_differ(job: Job) -> None:
    for minutes in (60, 61):
        twice = lines(job.row(0), job.row(1), job.row(0, minutes=minutes))
        assert errors_of(await job.send(twice)) == [(2, 3, "external_ref")]
    file = lines(job.row(0), job.row(1), job.row(0, minutes=61))
    assert outcomes(await job.send(file, query="?mode=per-row")) == ["created", "created", "refused"]


async def test_what_a_sheet_does_not_hold_any_more_contradicts_it_and_its_state_does_not(job: Job) -> None:
    file = lines(*(job.row(number % 7, external_ref=str(number), minutes=1) for number in range(501)))
    answer = await job.send(file)
    assert errors_of(answer, 409, "timesheet-full") == [(500, 501, None)]
    assert [row["problem"] for row in answer.json()["rows"]] == ["timesheet-full"]
    assert await job.entries() == 0


async def test_more_rows_than_go_together_are_counted_and_shown_the_other_way(job: Job) -> None:
    file = "\n" + "{}\n" * 10_001
    answer = await job.send(file)
    assert answer.json()["fields"] == [
        {"field": "rows", "message": "are 10001; mode=together takes at most 10000, mode=per-row 200000"}
    ]


async def test_a_json_body_is_judged_row_by_row_like_a_file(job: Job) -> None:
    rows = [job.row(0), job.row(1, minutes=0, owner="carl", note=5), job.row(2, colour="red"), 7, job.row(3, day="x")]
    wrong = ["rows[1].owner", "rows[1].minutes", "rows[1].note", "rows[2].colour", "rows[3]", "rows[4].day"]
    answer = await job.send(json.dumps({"rows": rows}), "application/json")
    assert answer.status_code == 422
    assert sorted(field["field"] for field in answer.json()["fields"]) == sorted(wrong)
    assert answer.json()["refused"] == 4
    assert await job.entries() == 0
    partly = await job.send(json.dumps({"rows": rows}), "application/json", query="?mode=per-row")
    assert outcomes(partly) == ["created", "refused", "refused", "refused", "refused"]
    assert await job.entries() == 1


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("{}", [("rows", "is missing")]),
        ('{"rows": []}', [("rows", "must be a list of 1 to 100 items")]),
        (
            '{"rows": 7, "x": 1}',
            [("rows", "must be a list of 1 to 100 items"), ("x", "is not a field of this body; known: rows")],
        ),
        ('{"rows": [1], "rows": [2]}', [("rows", "appears twice in one object")]),
        ("[]", [("body", "must be an object")]),
        ("", [("body", "is missing")]),
    ],
)
async def test_a_json_body_without_rows_says_what_is_wanted(
    common_job: Job, body: str, fields: list[tuple[str, str]]
) -> None:
    answer = await common_job.send(body, "application/json")
    assert answer.status_code == 422, answer.text
    assert [(field["field"], field["message"]) for field in answer.json()["fields"]] == fields


async def test_an_empty_file_is_called_one(job: Job) -> None:
    for kind in (NDJSON, CSV):
        assert (await job.send("", kind)).json()["fields"] == [{"field": "body", "message": "is an empty file"}]


@pytest.mark.parametrize(("kind", "status"), [("", 422), ("; charset=utf-8", 422), ("text/plain", 415)])
async def test_an_empty_upload_without_a_usable_media_type_is_refused(common_job: Job, kind: str, status: int) -> None:
    answer = await common_job.send("", kind)
    assert answer.status_code == status, answer.text
    assert status == 415 or answer.json()["fields"] == [{"field": "body", "message": "is missing"}]


async def test_a_day_that_becomes_too_long_names_its_rows(job: Job) -> None:
    file = lines(job.row(0, minutes=1440), job.row(1), job.row(0, minutes=1, external_ref="more"))
    assert errors_of(await job.send(file)) == [(0, 1, "minutes"), (2, 3, "minutes")]
    assert outcomes(await job.send(file, query="?mode=per-row")) == ["refused", "created", "refused"]


@pytest.mark.parametrize(
    ("content", "kind", "field"),
    [
        (table().replace(",", ";"), CSV, "header"),
        ("day,project,minutes,external_ref\n", CSV, "header.owner"),
        (table().encode("utf-16"), CSV, "line 1"),
        (table().encode() + b"\xfc", CSV, "line 2"),
        (table().encode("utf-16"), f"{CSV}; charset=utf-8", "line 1"),
        ("", CSV, "body"),
        ("\n", CSV, "header"),
        (table(), CSV, "rows"),
        ("", NDJSON, "body"),
        ("\n\n", NDJSON, "rows"),
        ("x" * 20_000, NDJSON, "line 1"),
    ],
)
@pytest.mark.parametrize("mode", ["together", "per-row"])
async def test_a_file_that_cannot_be_read_is_refused_in_either_mode(
    common_job: Job, content: bytes | str, kind: str, field: str, mode: str
) -> None:
    answer = await common_job.send(content, kind, query=f"?mode={mode}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["fields"]] == [field]


async def test_ten_megabytes_of_good_lines_are_read_and_more_than_the_bound_is_refused(job: Job) -> None:
    # So many rows of one week cannot stand in one sheet; they are told so before anything is decided.
    rows = [job.row(0, external_ref=f"{number}", note="x" * 500, minutes=1) for number in range(16_000)]
    file = lines(*rows)
    assert 10_000_000 < len(file) < LARGEST
    answer = await job.send(file, query="?mode=per-row")
    assert errors_of(answer) == [(number, number + 1, None) for number in range(100)]
    assert answer.json()["refused"] == 16_000
    too_many = await job.send(file)
    assert [field["field"] for field in too_many.json()["fields"]] == ["rows"]
    assert (await job.send(file + file)).status_code == 413
    assert await job.entries() == 0


async def test_a_body_of_another_kind_or_charset_is_refused(job: Job) -> None:
    for kind in ("text/plain", "text/csv; charset=iso-8859-1", "application/vnd.ms-excel"):
        assert (await job.send(table(job.row(0)), kind)).status_code == 415
    assert (await job.send(table(job.row(0)), "text/csv; charset=UTF-8; header=present")).status_code == 200
    big = json.dumps({"rows": [job.row(0)], "x": "y" * 300_000})
    assert (await job.send(big, "application/json")).status_code == 413


async def test_a_person_uploads_no_file_whatever_their_scopes(job: Job, issuer: str) -> None:
    carl = job.house.people["carl"]
    await job.house.owner.execute("INSERT INTO person_link VALUES ($1, 'carl', $2)", issuer, carl)
    file = lines(job.row(0))
    for mode in ("together", "per-row"):
        scoped = job.running.token(sub="carl", client_id="payroll-import", scope="batch:upload")
        answer = await job.send(file, query=f"?mode={mode}", token=scoped)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:timewarden:problem:forbidden")
        assert answer.json()["reasons"] == ["only a client that acts for itself, not for a person, may upload hours"]
        unscoped = job.running.token(sub="carl", scope="create:timesheets")
        answer = await job.send(file, query=f"?mode={mode}", token=unscoped)
        assert answer.json()["type"] == "urn:timewarden:problem:insufficient-scope"
    assert await job.entries() == 0


async def test_another_request_is_answered_while_a_file_of_wrong_rows_is_read(job: Job) -> None:
    sending = asyncio.create_task(job.send("{}\n" * 30_000, query="?mode=per-row"))
    # The other one goes ahead although the file came first.
    await asyncio.sleep(0)
    answer = await job.running.send("GET", "/v1/me", job.running.token())
    assert answer.status_code == 200
    assert not sending.done()
    assert (await sending).json()["refused"] == 30_000


async def test_good_rows_behind_a_hundred_faults_go_in_and_each_row_that_is_not_told_of_was_refused(job: Job) -> None:
    file = "{}\n" * 600 + lines(job.row(0), job.row(1, "ana"), job.row(2))
    answer = (await job.send(file, query="?mode=per-row")).json()
    assert answer["counts"] == {"created": 2, "updated": 0, "unchanged": 0, "refused": 601}
    assert [row["row"] for row in answer["rows"]] == [*range(20), 600, 602]
    assert sum(len(row.get("problems", ())) for row in answer["rows"]) == 100
    assert await job.entries() == 2
    refused = await job.send(file)
    assert len(errors_of(refused)) == 100
    assert refused.json()["refused"] == 600


async def test_a_client_without_any_grant_is_refused_before_its_file_is_read(job: Job) -> None:
    token = job.running.token(sub="other-import", client_id="other-import", scope="batch:upload")
    denied = "audit_record WHERE action = 'upload' AND outcome = 'deny' AND client_id = 'other-import'"
    for kind in (NDJSON, CSV, "application/json"):
        before = await job.house.count(denied)
        # It could not be read.
        answer = await job.send("x", kind, token=token)
        assert answer.status_code == 403
        problem = answer.json()
        assert problem["type"] == "urn:timewarden:problem:forbidden"
        assert problem["reasons"] == ["you have no grant to import for the owner's team"]
        assert [near_miss["rule"] for near_miss in problem["near_misses"]] == ["upload-contractors"]
        assert await job.house.count(f"{denied} AND uid = '{problem['decision_id']}'") == 1
        assert await job.house.count(denied) == before + 1
    ended = "UPDATE importer_grant SET valid_to = statement_timestamp() WHERE client_id = 'payroll-import'"
    assert (await job.send("x")).status_code == 422
    await job.house.owner.execute(ended)
    assert (await job.send("x")).status_code == 403


@pytest.mark.parametrize("kind", [NDJSON, "application/json"])
async def test_a_dry_run_of_all_rows_together_tells_of_every_wrong_row(job: Job, kind: str) -> None:
    await job.send(lines(job.row(14)))
    await job.house.owner.execute("UPDATE timesheet SET state = 'submitted'")
    rows = [
        job.row(0),
        job.row(1, minutes=0),
        job.row(2, project="nowhere"),
        job.row(3, "ana"),
        job.row(15),
        job.row(4, minutes=1440),
        job.row(4, external_ref="more"),
        job.row(0),
    ]
    file = lines(*rows) if kind == NDJSON else json.dumps({"rows": rows})
    answer = await job.send(file, kind, query="?dry_run=true")
    assert answer.status_code == 422, answer.text
    problems = [(row["row"], row["problem"]) for row in answer.json()["rows"]]
    field, forbidden, closed = "invalid-field", "forbidden", "wrong-state"
    assert problems == [(1, field), (2, field), (3, forbidden), (4, closed), (5, field), (6, field), (7, field)]
    assert answer.json()["refused"] == 7
    assert await job.entries() == 1
    # Without wrong fields in the file itself it is the status that the run itself would have.
    good = [good_row for place, good_row in enumerate(rows) if place in {0, 2, 3, 4}]
    dry = await job.send(lines(*good), query="?dry_run=true")
    real = await job.send(lines(*good))
    assert (dry.status_code, real.status_code) == (403, 403)
    assert [row["row"] for row in dry.json()["rows"]] == [1, 2, 3]
    assert [row["row"] for row in real.json()["rows"]] == [2]
    uid = dry.json()["decision_id"]
    assert await job.house.count(f"audit_record WHERE uid = '{uid}' AND outcome = 'deny'") == 1


FROZEN = """
[kinds.timesheet.facts.frozen]
is = 'resource.period_start < timestamp("2023-01-02T00:00:00Z")'
yes = "the week is closed"
no = "the week is open"
"""


async def test_a_rule_over_the_week_decides_on_the_week_of_each_new_sheet_of_an_upload(job: Job) -> None:
    house = job.house
    row = "p, deny, anyone, upload, any, timesheet, any, frozen, no-old-weeks\n"
    await activate_unread(house, with_more(row, FROZEN))
    old, new = job.row(day="2022-12-28"), job.row(day=f"{MONDAY}")
    assert outcomes(await job.send(lines(new))) == ["created"]
    assert errors_of(await job.send(lines(old, job.row(7))), 403, "forbidden") == [(0, 1, None)]
    found = await job.send(lines(old, job.row(7)), query="?mode=per-row")
    assert outcomes(found) == ["refused", "created"]
    recorded: list[dict[str, Any]] = [
        read_body(unpack(row["body"]))
        for row in await house.owner.fetch(
            "SELECT body FROM audit_record WHERE uid = ANY ($1) ORDER BY id", list(map(UUID, found.json()["decisions"]))
        )
    ]
    assert {(record["attributes"]["resource.period_start"], record["outcome"]) for record in recorded} == {
        ("2022-12-26T00:00:00Z", "deny"),
        (f"{MONDAY + timedelta(days=7)}T00:00:00Z", "allow"),
    }
