"""Bad input over HTTP: every answer is a problem document that names the field, and never a 500."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.caller import SHEETS, fields, fresh_week, problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.acceptance.caller import Caller, Callers

UNKNOWN = "0198c0de-0000-7000-8000-00000000dead"
WEEK = '"period_start":"2026-11-23"'
ENTRY = {"day": "2026-11-23", "project": "ATLAS", "minutes": 60}


pytestmark = pytest.mark.usefixtures("nothing_unexpected")


async def raw(
    caller: Caller, content: bytes, path: str = SHEETS, method: str = "POST", **headers: str
) -> httpx2.Response:
    return await caller.send(method, path, content=content, headers=headers, if_match='"1"')


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"}",
        b"{" + WEEK.encode() + b"} {}",
        b"{'period_start': '2026-11-23'}",
        b"\xef\xbb\xbf{" + WEEK.encode() + b"}",
        b"\xff\xfe{}",
        b'{"period_start":"2026-11-23","time_zone":"\\ud800"}',
        b'{"period_start":NaN}',
        b'{"period_start":Infinity}',
        ("{" + WEEK + "}").encode("utf-16"),
        b"\x00",
        b"not json",
        b'{"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"deep":' + b'{"a":' * 40_000 + b"1" + b"}" * 40_000 + b"}",
    ],
)
async def test_a_body_that_is_no_json_is_malformed(callers: Callers, content: bytes) -> None:
    problem(await raw(await callers("ana"), content), 400, "malformed-request")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"[]", "body"),
        (b"null", "body"),
        (b'"text"', "body"),
        (b"7", "body"),
        (b"{}", "period_start"),
        (b'{"period_start":"\xff"}', "period_start"),
        (b'{"period_start":null}', "period_start"),
        (b'{"period_start":20261123}', "period_start"),
        (b'{"period_start":["2026-11-23"]}', "period_start"),
        (b'{"period_start":"2026-11-24"}', "period_start"),  # a Tuesday
        (b'{"period_start":"2026-13-01"}', "period_start"),
        (b'{"period_start":"2026-11-23T00:00:00Z"}', "period_start"),
        (b'{"period_start":"0001-01-01"}', "period_start"),
        (b'{"period_start":"9999-12-27"}', "period_start"),
        (b'{"period_start":""}', "period_start"),
        (b'{"period_start":"2026-11-23","time_zone":"Mars/Olympus"}', "time_zone"),
        (b'{"period_start":"2026-11-23","time_zone":"../../etc/passwd"}', "time_zone"),
        (b'{"period_start":"2026-11-23","time_zone":"UTC\\u0000"}', "time_zone"),
        (b'{"period_start":"2026-11-23","time_zone":""}', "time_zone"),
        (b'{"period_start":"2026-11-23","owner":"' + UNKNOWN.encode() + b'"}', "owner"),
        (b'{"period_start":"2026-11-23","state":"approved"}', "state"),
        (b'{"period_start":"2026-11-23","period_start":"2026-11-30"}', "period_start"),
        (b'{"period_start":"2026-11-23","__proto__":{}}', "__proto__"),
        (b"{" + WEEK.encode() + b',"' + b"x" * 5000 + b'":1}', "x" * 200),
    ],
)
async def test_a_wrong_field_is_named(callers: Callers, content: bytes, field: str) -> None:
    assert fields(await raw(await callers("ana"), content)) == [field]


async def test_a_missing_body_is_refused(callers: Callers) -> None:
    answer = await (await callers("ana")).post(SHEETS)

    assert fields(answer) == ["body"]
    assert answer.json()["fields"][0]["message"] == "is missing"


async def test_every_wrong_field_is_reported_with_what_is_expected(callers: Callers) -> None:
    content = b'{"period_start":"today","time_zone":7,"owner":1}'
    answer = await raw(await callers("ana"), content)
    assert [(field["field"], field["message"]) for field in answer.json()["fields"]] == [
        ("period_start", "must be a date such as 2026-11-23"),
        ("time_zone", "must be a text of at most 64 characters, or null"),
        ("owner", "is not a field of this body; known: copy_from, day_notes, entries, period_start, time_zone"),
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"minutes": 0}, "minutes"),
        ({"minutes": -1}, "minutes"),
        ({"minutes": 1441}, "minutes"),
        ({"minutes": 7.5}, "minutes"),
        ({"minutes": "60"}, "minutes"),
        ({"minutes": True}, "minutes"),
        ({"minutes": None}, "minutes"),
        ({"minutes": 10**30}, "minutes"),
        ({"minutes": 10**4000}, "minutes"),
        ({"minutes": [60]}, "minutes"),
        ({"project": ""}, "project"),
        ({"project": "x" * 41}, "project"),
        ({"project": "a/b"}, "project"),
        ({"project": "\u202eATLAS"}, "project"),
        ({"project": 7}, "project"),
        ({"note": "x" * 501}, "note"),
        ({"note": "a\u0000b"}, "note"),
        ({"note": "a\u001bb"}, "note"),
        ({"note": ""}, "note"),
        ({"note": {"a": 1}}, "note"),
        ({"day": "23.11.2026"}, "day"),
        ({"id": UNKNOWN}, "id"),
        ({"uploader": "payroll-import"}, "uploader"),
    ],
)
async def test_a_wrong_entry_is_reported_by_field_and_changes_nothing(
    callers: Callers, change: dict[str, object], field: str
) -> None:
    ana = await callers("ana")
    made = await ana.post(SHEETS, {"period_start": fresh_week().isoformat()})
    path = f"{SHEETS}/{made.json()['id']}"
    entry = {**ENTRY, "day": made.json()["period_start"], **change}

    assert fields(await ana.post(f"{path}/entries", entry, if_match='"1"')) == [field]
    after = await ana.get(path)
    assert (after.json(), after.headers["ETag"]) == (made.json(), '"1"')


async def test_text_of_any_script_is_kept_as_it_was_sent(callers: Callers) -> None:
    ana = await callers("ana")
    made = await ana.post(SHEETS, {"period_start": fresh_week().isoformat()})
    note = "Räumung 東京 🗼 \u200f\u2028' OR 1=1 -- <script>"
    entry = {**ENTRY, "day": made.json()["period_start"], "note": note}

    added = await ana.post(f"{SHEETS}/{made.json()['id']}/entries", entry, if_match='"1"')
    assert added.json()["entries"][0]["note"] == note


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/msgpack",
        "multipart/form-data",
        "*/*",
    ],
)
async def test_another_media_type_is_refused(callers: Callers, kind: str) -> None:
    answer = await raw(await callers("ana"), b"{" + WEEK.encode() + b"}", **{"Content-Type": kind})

    problem(answer, 415, "unsupported-media-type")


async def test_a_packed_body_is_refused(callers: Callers) -> None:
    packed = gzip.compress(b"{" + WEEK.encode() + b"}")

    answer = await raw(await callers("ana"), packed, **{"Content-Encoding": "gzip"})
    problem(answer, 415, "unsupported-media-type")


async def test_a_body_that_says_it_is_too_large_is_refused(callers: Callers) -> None:
    problem(await raw(await callers("ana"), b" " * 262_145), 413, "body-too-large")


async def test_a_body_that_grows_too_large_is_refused(callers: Callers) -> None:
    async def growing() -> AsyncIterator[bytes]:
        for _ in range(16):
            yield b" " * 16_384
        yield b" "

    ana = await callers("ana")
    headers = {"Authorization": f"Bearer {ana.token}", "Content-Type": "application/json"}
    answer = await ana.http.post(SHEETS, content=growing(), headers=headers)
    problem(answer, 413, "body-too-large")


@pytest.mark.parametrize(
    "wrong",
    [
        "1",
        "me",
        "0",
        "%00",
        "..",
        "0198c0de00007000800000000000dead",
        "{" + UNKNOWN + "}",
        "urn:uuid:" + UNKNOWN,
        "é",
        "a" * 300,
    ],
)
@pytest.mark.parametrize("rest", ["", "/submit", "/entries"])
async def test_a_malformed_id_is_named(callers: Callers, wrong: str, rest: str) -> None:
    ana = await callers("ana")
    path = f"{SHEETS}/{wrong}{rest}"

    answer = await (
        ana.get(path) if not rest else ana.post(path, ENTRY if rest == "/entries" else None, if_match='"1"')
    )
    if wrong == "..":  # the client itself resolves it away
        assert answer.status_code in {200, 404, 405}
        return
    assert fields(answer) == ["path.timesheet_id"]


@pytest.mark.parametrize(
    ("who", "method", "path", "field"),
    [
        ("ana", "DELETE", f"{SHEETS}/{UNKNOWN}/entries/7", "path.entry_id"),
        ("audrey", "GET", "/v1/decisions/7", "path.decision_id"),
        ("paula", "GET", "/v1/policies/versions/zero", "path.number"),
        ("paula", "GET", "/v1/policies/versions/0", "path.number"),
        ("paula", "GET", "/v1/policies/versions/-1", "path.number"),
        ("paula", "GET", "/v1/policies/versions/99999999999", "path.number"),
        ("adam", "DELETE", "/v1/people/7/roles/auditor", "path.person_id"),
        ("adam", "POST", "/v1/memberships/7/end", "path.membership_id"),
        ("adam", "POST", "/v1/importer-grants/7/end", "path.grant_id"),
        ("adam", "POST", "/v1/groups/board/members/7/end", "path.member_id"),
        ("adam", "POST", "/v1/projects/ATLAS/leads/7/end", "path.lead_id"),
        ("audrey", "GET", "/v1/decisions?subject=ana", "query.issuer"),
        ("audrey", "GET", "/v1/decisions?since=yesterday", "query.since"),
        ("audrey", "GET", "/v1/decisions?since=2026-11-23T09:00:00", "query.since"),
        ("audrey", "GET", "/v1/decisions?outcome=maybe", "query.outcome"),
        ("audrey", "GET", "/v1/decisions?policy_version=x", "query.policy_version"),
        ("audrey", "GET", "/v1/decisions?action=%00", "query.action"),
        ("audrey", "GET", "/v1/decisions?since=2026-11-24T09:00:00Z&until=2026-11-23T09:00:00Z", "query.until"),
        ("ana", "GET", f"{SHEETS}?surprise=1", "query.surprise"),
        ("ana", "GET", f"{SHEETS}?sheet_state=draft", "query.sheet_state"),
        ("ana", "GET", f"{SHEETS}?limit=1&limit=2", "query.limit"),
        ("ana", "GET", f"{SHEETS}?limit=1e2", "query.limit"),
        ("ana", "GET", "/v1/me?verbose", "query.verbose"),
        ("ana", "GET", f"{SHEETS}?ask=1", "query.ask"),
        ("ana", "GET", "/health/live?ask=1", "query.ask"),
    ],
)
async def test_a_wrong_parameter_is_named(callers: Callers, who: str, method: str, path: str, field: str) -> None:
    assert fields(await (await callers(who)).send(method, path, if_match='"1"')) == [field]


async def test_bodies_that_say_one_thing_twice_are_refused_at_any_depth(callers: Callers) -> None:
    job = await callers("payroll-import")
    row = json.dumps({**ENTRY, "owner": UNKNOWN, "external_ref": "a"})[:-1] + ', "minutes": 61}'

    answer = await job.send("POST", "/v1/uploads", content=f'{{"rows": [{row}]}}'.encode())
    assert fields(answer) == ["rows[0].minutes"]
