"""Exports and bundles over HTTP: streamed, resumable, recorded first, safe in a spreadsheet, valid as OCSF."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pyarrow.parquet as pq
import pytest

from service.commands.audit_export import BEGINNINGS, _last_position
from service.log.anchor import Anchor
from service.log.checkpoint import Signer
from service.log.log import Log
from service.log.record import Kind, Record, read_body
from service.log.signing import CheckpointSigner
from service.standalone.verify.findings import INCOMPLETE, INTACT, TAMPERED
from tests.bundle_forge import verify_bundle
from tests.command_line import verify
from tests.integration.api import InProcess, api
from tests.integration.log_database import change, decision
from tests.integration.log_trees import as_superuser, seal_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

SIGNER = Signer("timesheets.example/audit/export", b"3" * 32)
VKEY = SIGNER.verifier.vkey
OCSF = Path(__file__).parents[1] / "conformance" / "ocsf-1.7.0-api-activity.json"
ATTACK = "=HYPERLINK(1)"


@pytest.fixture
async def running(house: House, issuer: str, tmp_path: Path) -> AsyncIterator[InProcess]:
    async with signed_log(house, issuer, tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
async def common(
    common_house: House, issuer: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[InProcess]:
    async with signed_log(common_house, issuer, tmp_path_factory.mktemp("signed")) as started:
        yield started


@asynccontextmanager
async def signed_log(house: House, issuer: str, folder: Path) -> AsyncIterator[InProcess]:
    """A sealed and signed log: the organisation, a change, an attack, and 300 decisions on later days."""
    app, keeper = await house.log_database.open("app"), await house.log_database.open("keeper")
    begun = datetime.now(UTC) + timedelta(days=1)
    made = [decision(decided_at=begun + timedelta(days=number), request={"id": str(number)}) for number in range(300)]
    attack = decision(outcome="deny", reason="no-rule", principal={"client": ATTACK}, rules=[])
    system = Record.make(Kind.SYSTEM, {"decided_at": begun, "event": "log.test"})
    await Log(app).append([change(), attack, system, *made])
    await seal_all(keeper)
    assert await CheckpointSigner(keeper, [SIGNER], Anchor(folder / "anchor")).sign()
    async with api(house, issuer) as started:
        yield started


async def fetch(running: InProcess, path: str, status: int = 200) -> httpx2.Response:
    token = running.token(sub="auth0|audrey", scope="read:audit", roles=["auditor"])
    answer = await running.send("GET", path, token)
    assert answer.status_code == status, answer.text
    return answer


async def count_sealed(house: House) -> int:
    found: int = await house.owner.fetchval("SELECT size FROM log_head")
    return found


async def last_access(house: House) -> dict[str, Any]:
    body = await house.owner.fetchval("SELECT body FROM audit_record WHERE kind = 'access' ORDER BY id DESC LIMIT 1")
    return read_body(body)


async def test_json_lines_hold_the_exact_bytes_of_every_record(house: House, running: InProcess) -> None:
    answer = await fetch(running, "/v1/audit/export")
    lines = answer.text.splitlines()
    assert [json.loads(line)["position"] for line in lines] == list(range(await count_sealed(house)))
    for line in lines:
        body = line.partition('"record":')[2][:-1].encode()
        assert hashlib.sha256(b"\x00" + body).hexdigest() == json.loads(line)["leaf"]
    access = await last_access(house)
    size = await count_sealed(house)
    assert access["uid"] == answer.headers["Decision-Id"]
    assert access["positions"] == {"from": 0, "to": size, "format": "jsonl", "since": None, "until": None}
    assert answer.headers["Audit-Positions"] == f"0-{size}"


async def test_an_export_can_be_resumed(house: House, running: InProcess) -> None:
    whole = (await fetch(running, "/v1/audit/export")).text.splitlines()
    rest = (await fetch(running, "/v1/audit/export?from=290")).text.splitlines()
    assert whole[290:] == rest
    assert (await fetch(running, "/v1/audit/export?from=5&to=8")).text.splitlines() == whole[5:8]
    assert (await fetch(running, f"/v1/audit/export?from={await count_sealed(house)}")).text == ""


@pytest.mark.parametrize("kind", BEGINNINGS)
async def test_the_command_knows_the_last_position_of_every_kind_of_file(
    common: InProcess, tmp_path: Path, kind: str
) -> None:
    answer = await fetch(
        common, f"/v1/audit/{'bundle?' if kind == 'bundle' else f'export?format={kind}&'}from=3&to=280"
    )
    (tmp_path / "out").write_bytes(answer.content[:-20])
    header = {"from": 3, "to": 280} if kind == "bundle" else {}
    assert _last_position(tmp_path / "out", kind) == (278, header)
    assert answer.content.startswith((tmp_path / "out").read_bytes())
    assert answer.content.count(b"\n") == (tmp_path / "out").read_bytes().count(b"\n") + 1


async def test_an_export_of_a_period_is_exact(house: House, running: InProcess) -> None:
    first, last = (datetime.now(UTC) + timedelta(days=days) for days in (31.5, 59.5))
    period = f"since={first:%Y-%m-%dT%H:%M:%SZ}&until={last:%Y-%m-%dT%H:%M:%SZ}"
    lines = [json.loads(line) for line in (await fetch(running, f"/v1/audit/export?{period}")).text.splitlines()]
    assert [line["record"]["request"]["id"] for line in lines] == [str(number) for number in range(31, 59)]
    positions = (await last_access(house))["positions"]
    assert positions["since"] == f"{first:%Y-%m-%dT%H:%M:%S}.000000Z"
    # Only the period and an hour around it were read.
    assert positions["to"] - positions["from"] <= len(lines) + 2
    recent = await fetch(
        running, f"/v1/audit/export?until={datetime.now(UTC) + timedelta(seconds=2):%Y-%m-%dT%H:%M:%SZ}"
    )
    assert ATTACK in recent.text
    assert '"299"' not in recent.text
    later = datetime.now(UTC) + timedelta(days=400)
    assert (await fetch(running, f"/v1/audit/export?since={later:%Y-%m-%dT%H:%M:%SZ}")).text == ""


async def test_an_altered_column_does_not_hide_a_record_from_a_period(house: House, running: InProcess) -> None:
    first, last = (datetime.now(UTC) + timedelta(days=days) for days in (31.5, 59.5))
    period = f"since={first:%Y-%m-%dT%H:%M:%SZ}&until={last:%Y-%m-%dT%H:%M:%SZ}"
    within = "request_id = ANY(SELECT generate_series(31, 58)::text)"
    for altered in (
        "at = '2000-01-01'",
        "at = 'infinity', decided_at = '2000-01-01' WHERE request_id IN ('31', '32', '58')",
        f"decided_at = now() + interval '200 days' WHERE {within}",
        f"decided_at = 'infinity' WHERE {within}",
        f"decided_at = NULL WHERE {within}",
    ):
        await as_superuser(house.log_database, f"UPDATE audit_record SET {altered}")
        lines = [json.loads(line) for line in (await fetch(running, f"/v1/audit/export?{period}")).text.splitlines()]
        assert [line["record"]["request"]["id"] for line in lines] == [str(number) for number in range(31, 59)], altered
    report = verify_bundle((await fetch(running, "/v1/audit/bundle")).content, key=VKEY)
    named = [finding for finding in report.findings if "column decided_at" in finding["what"]]
    assert (report.verdict, len(named)) == (TAMPERED, 28)


async def test_a_false_audit_pruned_row_hides_no_record(house: House, running: InProcess) -> None:
    first, last = (datetime.now(UTC) + timedelta(days=days) for days in (31.5, 59.5))
    period = f"since={first:%Y-%m-%dT%H:%M:%SZ}&until={last:%Y-%m-%dT%H:%M:%SZ}"
    await as_superuser(
        house.log_database,
        "INSERT INTO audit_pruned SELECT p.position, r.id, r.uid, r.stored_hash, r.at FROM audit_record r"
        " JOIN audit_position p ON p.record_id = r.id",
    )
    lines = (await fetch(running, f"/v1/audit/export?{period}")).text.splitlines()
    assert [json.loads(line)["record"]["request"]["id"] for line in lines] == [str(number) for number in range(31, 59)]


async def test_a_missing_record_in_a_period_is_reported(house: House, running: InProcess) -> None:
    first, last = (datetime.now(UTC) + timedelta(days=days) for days in (31.5, 59.5))
    period = f"since={first:%Y-%m-%dT%H:%M:%SZ}&until={last:%Y-%m-%dT%H:%M:%SZ}"
    await as_superuser(house.log_database, "DELETE FROM audit_record WHERE request_id IN ('31', '40', '58')")
    for form, mark in (("jsonl", '"missing":true'), ("csv", ",missing,"), ("ocsf", "is missing")):
        lines = (await fetch(running, f"/v1/audit/export?{period}&format={form}")).text.splitlines()
        assert len([line for line in lines if mark in line]) == 3
    content = (await fetch(running, f"/v1/audit/export?{period}&format=parquet")).content
    assert pq.read_table(io.BytesIO(content))["kind"].to_pylist().count("missing") == 3


# Deletes the records before the decision with the request id 40, and makes them look pruned.
DELETE_BEGINNING = """
    CREATE TEMPORARY TABLE went AS SELECT p.position, r.id, r.uid, r.stored_hash, r.at FROM audit_record r
    JOIN audit_position p ON p.record_id = r.id WHERE p.position <
        (SELECT p.position FROM audit_record r JOIN audit_position p ON p.record_id = r.id WHERE request_id = '40');
    INSERT INTO audit_pruned SELECT * FROM went;
    DELETE FROM audit_record WHERE id IN (SELECT id FROM went)
"""


@pytest.mark.parametrize("rows", ["1 = 1", "position = (SELECT max(position) FROM went)"])
async def test_deleted_records_are_not_taken_for_pruned_without_a_sealed_record(
    house: House, running: InProcess, rows: str
) -> None:
    since = f"since={datetime.now(UTC) + timedelta(days=31.5):%Y-%m-%dT%H:%M:%SZ}"
    await as_superuser(house.log_database, DELETE_BEGINNING.replace("FROM went;", f"FROM went WHERE {rows};"))
    first = await house.owner.fetchval(
        "SELECT min(p.position) FROM audit_record r JOIN audit_position p ON record_id = id"
    )
    bundle = await fetch(running, f"/v1/audit/bundle?{since}")
    report = verify_bundle(bundle.content, key=VKEY, retention="1d")
    assert report.verdict == TAMPERED
    lines = [json.loads(line) for line in (await fetch(running, f"/v1/audit/export?{since}")).text.splitlines()]
    assert [line["position"] for line in lines if line.get("missing")] == list(range(first))


async def test_a_period_that_begins_after_pruned_records_shows_the_pruning(
    house: House, running: InProcess, tmp_path: Path
) -> None:
    keeper = await house.log_database.open("keeper")
    first = await house.owner.fetchval(
        "SELECT p.position FROM audit_record r JOIN audit_position p ON p.record_id = r.id WHERE request_id = '40'"
    )
    young = datetime.now(UTC) + timedelta(days=41)
    pruned = {"event": "log.pruned", "pruned_to": first, "records": first, "older_than": young, "retention": "300d"}
    record = Record.make(Kind.SYSTEM, {"decided_at": young + timedelta(days=300), **pruned})
    await Log(await house.log_database.open("app")).append([record])
    await seal_all(keeper)
    assert await CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()
    await as_superuser(house.log_database, DELETE_BEGINNING)
    for days in (31.5, 100):
        since = f"since={datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
        bundle = await fetch(running, f"/v1/audit/bundle?{since}")
        assert json.loads(bundle.content.splitlines()[0])["from"] == first - 1
        report = verify_bundle(bundle.content, key=VKEY)
        # The pruning is in the future too, as all of this log, which is another finding.
        assert report.checked["pruned"] == 1
        assert "can be forged: give the retention policy" in str(report.findings)
        lines = [json.loads(line) for line in (await fetch(running, f"/v1/audit/export?{since}")).text.splitlines()]
        assert lines
        assert not any(line.get("missing") for line in lines)


@pytest.mark.parametrize("forged", [1, 257])
async def test_added_records_with_false_times_do_not_bound_a_period(
    house: House, running: InProcess, *, forged: int
) -> None:
    now, keeper = datetime.now(UTC), await house.log_database.open("keeper")
    log = Log(await house.log_database.open("app"))
    old = [decision(decided_at=now, request={"id": "old"}) for _ in range(forged)]
    future = [decision(decided_at=now + timedelta(days=900), request={"id": "future"}) for _ in range(forged)]
    late = [decision(decided_at=now + timedelta(days=301), request={"id": f"l{number}"}) for number in range(300)]
    for records in (old, late[:1], future, late[1:]):
        await log.append(records)
        await seal_all(keeper)
    # An index over the columns finds only the record between those with false times.
    await as_superuser(
        house.log_database,
        "UPDATE audit_record SET decided_at = '2000-01-01' WHERE request_id ~ '^[0-9]+$'",
        "UPDATE audit_record SET decided_at = '2999-01-01' WHERE request_id ~ '^l' AND request_id <> 'l0'",
    )
    period = (
        f"since={now + timedelta(days=31.5):%Y-%m-%dT%H:%M:%SZ}&until={now + timedelta(days=400):%Y-%m-%dT%H:%M:%SZ}"
    )
    lines = [json.loads(line) for line in (await fetch(running, f"/v1/audit/export?{period}")).text.splitlines()]
    found = [line["record"]["request"]["id"] for line in lines]
    assert found == [str(number) for number in range(31, 300)] + [f"l{number}" for number in range(300)]


async def test_the_bundle_of_a_period_begins_and_ends_with_records_outside_it(running: InProcess) -> None:
    first, last = (datetime.now(UTC) + timedelta(days=days) for days in (31.5, 59.5))
    period = f"since={first:%Y-%m-%dT%H:%M:%SZ}&until={last:%Y-%m-%dT%H:%M:%SZ}"
    report = verify_bundle((await fetch(running, f"/v1/audit/bundle?{period}")).content, key=VKEY)
    assert (report.verdict, report.checked["records"]) == (INTACT, 30)
    lines = (await fetch(running, f"/v1/audit/bundle?{period}")).content.splitlines()[1:]
    times = [json.loads(line)["columns"]["decided_at"] for line in (lines[0], lines[-1])]
    assert times[0] < f"{first:%Y-%m-%dT%H:%M:%S}" < f"{last:%Y-%m-%dT%H:%M:%S}" < times[1]


async def test_the_verifier_demands_the_period_for_which_a_bundle_was_fetched(
    house: House, running: InProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = (datetime.now(UTC) + timedelta(days=301)).replace(microsecond=0)
    hours = [begun + timedelta(hours=number) for number in range(300)]
    await Log(await house.log_database.open("app")).append([decision(decided_at=hour) for hour in hours])
    keeper = await house.log_database.open("keeper")
    await seal_all(keeper)
    assert await CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()

    async def check(query: str, since: datetime, until: datetime) -> tuple[int, str]:
        (tmp_path / "bundle").write_bytes((await fetch(running, f"/v1/audit/bundle?{query}")).content)
        period = ("--since", f"{since:%Y-%m-%dT%H:%M:%SZ}", "--until", f"{until:%Y-%m-%dT%H:%M:%SZ}")
        code, report = verify("bundle", str(tmp_path / "bundle"), "--key", VKEY, *period, capsys=capsys)
        return code, str(report["findings"])

    def query_of(since: datetime, until: datetime) -> str:
        return f"since={since:%Y-%m-%dT%H:%M:%SZ}&until={until:%Y-%m-%dT%H:%M:%SZ}"

    period = hours[20], hours[40]
    assert await check(query_of(*period), *period) == (INTACT, "[]")
    first, end = (json.loads((tmp_path / "bundle").read_bytes().splitlines()[0])[name] for name in ("from", "to"))
    # The bundle goes an hour beyond the period, and then to the next record.
    code, findings = await check(f"from={first + 2}&to={end}", *period)
    assert (code, "does not show the beginning of the period" in findings) == (INCOMPLETE, True)
    code, findings = await check(f"from={first}&to={end - 2}", *period)
    assert (code, "does not show the end of the period" in findings) == (INCOMPLETE, True)
    # To the end of the log, and beyond it.
    assert await check(query_of(hours[20], hours[-1]), hours[20], hours[-1]) == (INTACT, "[]")
    beyond = hours[20], hours[-1] + timedelta(seconds=1)
    code, findings = await check(query_of(*beyond), *beyond)
    assert (code, f"the log ends at {hours[-1]:%Y-%m-%dT%H:%M:%S}" in findings) == (INCOMPLETE, True)
    # Here the log has a record a day, and no heartbeats.
    daily = begun - timedelta(days=100), begun - timedelta(days=90)
    code, findings = await check(query_of(*daily), *daily)
    assert (code, findings.count("not even a heartbeat")) == (INCOMPLETE, 2)


async def test_the_longest_period_is_the_whole_log(running: InProcess) -> None:
    period = "since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z"
    everything = (await fetch(running, f"/v1/audit/export?{period}")).text.splitlines()
    assert len(everything) >= 300
    assert everything == (await fetch(running, f"/v1/audit/export?to={len(everything)}")).text.splitlines()


async def test_csv_opens_in_a_spreadsheet_and_executes_nothing(house: House, running: InProcess) -> None:
    answer = await fetch(running, "/v1/audit/export?format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    content = answer.content
    assert content.startswith(b"\xef\xbb\xbfposition,uid,kind,")
    assert b"\n" not in content.replace(b"\r\n", b"")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert len(rows) == await count_sealed(house)
    assert [row["client_id"] for row in rows if "HYPERLINK" in row["client_id"]] == [f"'{ATTACK}"]


async def test_every_event_is_valid_ocsf(house: House, running: InProcess) -> None:
    schema = json.loads(OCSF.read_text(encoding="utf-8"))
    validator = jsonschema_rs.validator_for(schema)
    events = [json.loads(line) for line in (await fetch(running, "/v1/audit/export?format=ocsf")).text.splitlines()]
    assert [event["metadata"]["sequence"] for event in events] == list(range(await count_sealed(house)))
    for event in events:
        validator.validate(event)
    with pytest.raises(jsonschema_rs.ValidationError):
        validator.validate({**events[0], "type_uid": 600305})
    (denied,) = [event for event in events if event["src_endpoint"] == {"svc_name": ATTACK}]
    assert (denied["action_id"], denied["status_id"], denied["status_code"]) == (2, 2, "no-rule")
    assert denied["authorizations"] == [{"decision": "deny", "policy": {"type": "casbin"}}]


async def test_parquet_reads_back(house: House, running: InProcess) -> None:
    content = (await fetch(running, "/v1/audit/export?format=parquet")).content
    table = pq.read_table(io.BytesIO(content))
    assert table.num_rows == await count_sealed(house)
    assert table["position"].to_pylist() == list(range(table.num_rows))
    first = table.slice(table.num_rows - 300, 1).to_pylist()[0]
    assert datetime.now(UTC) < first["decided_at"] < datetime.now(UTC) + timedelta(days=1)
    assert hashlib.sha256(b"\x00" + first["body"]).digest() == first["leaf"]


async def test_a_bundle_is_intact_under_the_public_key(house: House, running: InProcess) -> None:
    size = await count_sealed(house)
    bundle = await fetch(running, "/v1/audit/bundle")
    report = verify_bundle(bundle.content, key=VKEY)
    assert (report.verdict, report.findings, report.checked["records"]) == (INTACT, [], size)
    part = await fetch(running, f"/v1/audit/bundle?from=10&to=300&seen={size}")
    assert verify_bundle(part.content, key=VKEY).verdict == INTACT
    assert (await last_access(house))["positions"] == {
        "from": 10, "to": 300, "format": "bundle", "since": None, "until": None,
    }  # fmt: skip
    # By time: the positions of the period and of an hour around it.
    day = (datetime.now(UTC) + timedelta(days=100)).isoformat(timespec="seconds").replace("+00:00", "Z")
    timed = await fetch(running, f"/v1/audit/bundle?until={day}")
    assert verify_bundle(timed.content, key=VKEY).verdict == INTACT
    header = json.loads(timed.content.splitlines()[0])
    assert (header["from"], 0 < header["to"] < size) == (0, True)
    assert timed.headers["Audit-Positions"] == f"0-{header['to']}"
    answer = await fetch(running, "/v1/audit/bundle?since=2999-01-01T00:00:00Z", 422)
    assert "query.since: bounds a period without signed records" in answer.json()["detail"]
    # Resumed at position 200: the header and lines of the first part, then the lines of the second.
    rest = await fetch(running, "/v1/audit/bundle?from=200&to=300")
    joined = part.content.splitlines(keepends=True)[:191] + rest.content.splitlines(keepends=True)[1:]
    assert verify_bundle(b"".join(joined), key=VKEY).verdict == INTACT


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("export?format=xml", "query.format"),
        ("export?since=yesterday", "query.since"),
        ("export?since=2026-03-02T00:00:00Z&until=2026-03-01T00:00:00Z", "query.until"),
        ("export?to=100000", "query.to"),
        ("export?from=100000", "query.from"),
        ("export?from=5&to=5", "query.from"),
        ("export?from=-1", "query.from"),
        ("export?from=9007199254740992", "query.from"),
        ("export?to=9007199254740992", "query.to"),
        ("export?start=1", "query.start"),
        ("bundle?to=100000", "query.to"),
        ("bundle?from=100000", "query.from"),
        ("bundle?seen=5", "query.seen"),
        ("bundle?from=x", "query.from"),
    ],
)
async def test_an_impossible_range_is_explained(common: InProcess, query: str, field: str) -> None:
    answer = await fetch(common, f"/v1/audit/{query}", 422)
    assert [item["field"] for item in answer.json()["fields"]] == [field]


async def test_only_readers_of_the_log_may_export(running: InProcess) -> None:
    for path in ("/v1/audit/export", "/v1/audit/bundle"):
        answer = await running.send("GET", path, running.token(sub="auth0|ana"))
        assert (answer.status_code, answer.json()["type"].rsplit(":")[-1]) == (403, "insufficient-scope")
