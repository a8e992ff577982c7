"""A change that is sent twice with the same key is made once: over HTTP, on a real database, also concurrently."""

from __future__ import annotations

import asyncio
import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

import pytest

from service.authorization.enforcement.stored_responses import ResponseSweeper
from service.directory.entities import Part
from service.directory.people import People
from service.log.record import read_body
from tests.integration.api import REQUESTS, InProcess, api
from tests.integration.house import speaking
from tests.until import lock_is_waited_for, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
NDJSON, CSV = "application/x-ndjson", "text/csv"
WEEK = {"period_start": "2026-03-02", "time_zone": "UTC"}
WRITE = "read:timesheets create:timesheets delete:timesheets approve:timesheets"


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    people = People(house.requests, house.log)
    asks = house.administrator()
    ana, lea = [await people.person_for(speaking(issuer, f"auth0|{name}")) for name in ("ana", "lea")]
    await house.directory.add_membership(asks, ana, house.teams["east"], Part.MEMBER)
    await house.directory.add_membership(asks, lea, house.teams["east"], Part.LEAD)
    async with api(house, issuer) as started:
        yield started


async def open_week(running: InProcess, key: str, **changes: Any) -> httpx2.Response:
    token = running.token(**{"scope": WRITE, **changes.pop("claims", {})})
    return await running.send("POST", "/v1/timesheets", token, headers={"Idempotency-Key": key}, body=WEEK | changes)


async def record_of(house: House, answer: httpx2.Response) -> dict[str, Any]:
    uid = answer.headers["Decision-Id"]
    return dict(read_body(await house.owner.fetchval("SELECT body FROM audit_record WHERE uid = $1::text::uuid", uid)))


async def test_a_change_sent_twice_is_made_once_and_answered_twice(house: House, running: InProcess) -> None:
    first = await open_week(running, '"open-1"')
    again = await open_week(running, '"open-1"')
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    for name in ("ETag", "Location", "Content-Type"):
        assert again.headers[name] == first.headers[name]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await house.count("timesheet") == 1
    assert await house.count("audit_record WHERE kind = 'change'") == 1
    told = await record_of(house, again)
    assert (told["action"], told["outcome"], told["returned"]) == ("read", "allow", [first.json()["id"]])
    assert told["request"]["again"] == first.headers["Decision-Id"] != again.headers["Decision-Id"]


async def test_a_bare_key_is_the_same_as_a_quoted_one(running: InProcess) -> None:
    await open_week(running, '"open-1"')
    assert (await open_week(running, "open-1")).headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    "key", ['""', "", '"open', "a b", "a,b", "a;b", '"a", "b"', "ü", '"' + "k" * 256 + '"', '"tab\t"', "k" * 256]
)
async def test_a_malformed_key_is_refused(common_house: House, common: InProcess, key: str) -> None:
    answer = await open_week(common, key.encode())  # type: ignore[arg-type]  # bytes pass through
    assert answer.status_code == 422, answer.text
    assert answer.json()["fields"][0]["field"] == "header.Idempotency-Key"
    assert await common_house.count("timesheet") == 0


async def test_another_request_with_the_same_key_is_refused(house: House, running: InProcess) -> None:
    await open_week(running, "open-1")
    before = await house.count("audit_record")
    answer = await open_week(running, "open-1", time_zone="Europe/Berlin")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:timewarden:problem:idempotency-key-reused")
    assert "Decision-Id" not in answer.headers
    assert await house.count("audit_record") == before
    assert await house.count("timesheet") == 1


async def test_a_key_belongs_to_one_person_through_one_application(house: House, running: InProcess) -> None:
    first = await open_week(running, "open-1")
    other = await open_week(running, "open-1", claims={"sub": "auth0|ben"})
    assert other.status_code == 201
    assert other.json()["owner"] != first.json()["owner"]
    elsewhere = await open_week(running, "open-1", claims={"client_id": "phone-app"})
    assert elsewhere.status_code == 409
    assert await house.count("kept_answer") == 2


async def test_a_refused_request_can_be_sent_again_with_its_key(house: House, running: InProcess) -> None:
    refused = await open_week(running, "open-1", claims={"scope": "read:timesheets"})
    assert refused.status_code == 403
    wrong = await open_week(running, "open-1", period_start="2026-03-03")
    assert wrong.status_code == 422
    assert await house.count("kept_answer") == 0
    assert (await open_week(running, "open-1")).status_code == 201


async def test_a_repeated_step_returns_the_stored_response(running: InProcess) -> None:
    token = running.token(scope=WRITE)
    sheet = (await open_week(running, "open-1")).json()
    path = f"/v1/timesheets/{sheet['id']}"
    hours = {"day": "2026-03-02", "project": "apollo", "minutes": 60}
    await running.send("POST", f"{path}/entries", token, headers={"If-Match": '"1"'}, body=hours)
    given = {"If-Match": '"2"', "Idempotency-Key": "submit-1"}
    first = await running.send("POST", f"{path}/submit", token, headers=given)
    again = await running.send("POST", f"{path}/submit", token, headers=given)
    assert (first.status_code, first.headers["ETag"]) == (200, '"3"')
    assert (again.status_code, again.headers["ETag"], again.json()) == (200, '"3"', first.json())
    stale = await running.send("POST", f"{path}/submit", token, headers={**given, "If-Match": '"3"'})
    assert stale.status_code == 422


async def test_a_repeated_deletion_returns_the_stored_response(running: InProcess) -> None:
    token = running.token(scope=WRITE)
    path = f"/v1/timesheets/{(await open_week(running, 'open-1')).json()['id']}"
    given = {"If-Match": '"1"', "Idempotency-Key": "gone-1"}
    for replayed in (None, "true"):
        answer = await running.send("DELETE", path, token, headers=given)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers.get("Idempotent-Replayed") == replayed


async def test_a_repeated_creation_does_not_recreate_a_deleted_week(house: House, running: InProcess) -> None:
    first = await open_week(running, "open-1")
    path = f"/v1/timesheets/{first.json()['id']}"
    assert (
        await running.send("DELETE", path, running.token(scope=WRITE), headers={"If-Match": '"1"'})
    ).status_code == 204
    for scope in (WRITE, "create:timesheets"):
        again = await open_week(running, "open-1", claims={"scope": scope})
        assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (201, first.json(), "true")
    assert await house.count("timesheet") == 0
    assert (await open_week(running, "open-2")).json()["id"] != first.json()["id"]


LIFE = ("edit", "submit", "withdraw", "submit", "reject", "submit", "approve", "reopen", "delete")
PAID = ("edit", "submit", "approve", "lock", "unlock")
ONLY = {"edit": "create", "submit": "create", "withdraw": "create", "delete": "delete"}


@pytest.mark.parametrize("steps", [LIFE, PAID])
async def test_a_caller_who_may_only_write_gets_the_stored_response_to_every_step(
    house: House, running: InProcess, steps: tuple[str, ...]
) -> None:
    path = f"/v1/timesheets/{(await open_week(running, 'open-1')).json()['id']}"
    for version, step in enumerate(steps, start=1):
        scope = f"{ONLY.get(step, 'approve')}:timesheets"
        who = {"lock": "pat", "unlock": "quinn"}.get(step, "ana" if step in ONLY else "lea")
        token = running.token(scope=scope, sub=f"auth0|{who}", jti=f"{step}-{who}", roles=["payroll"])
        method, behind, body = REQUESTS[step]
        given = {"If-Match": f'"{version}"', "Idempotency-Key": f"{step}-{version}"}
        first = await running.send(method, path + behind, token, headers=given, body=body)
        assert first.status_code in {200, 201, 204}, (step, first.text)
        again = await running.send(method, path + behind, token, headers=given, body=body)
        assert (again.status_code, again.content) == (first.status_code, first.content), (step, again.text)
        assert again.headers["Idempotent-Replayed"] == "true"
        told = await record_of(house, again)
        # Nothing was changed again, so a search for the step finds one record; its rules decided the replay.
        assert (told["action"], told["asked"]["action"], told["outcome"]) == ("read", step, "allow")
        assert told["resource"]["state"] == (await record_of(house, first))["resource"]["state"]
        assert told["request"]["again"] == first.headers["Decision-Id"]


async def test_a_caller_who_may_only_approve_gets_the_stored_response_to_a_batch(
    house: House, running: InProcess
) -> None:
    items, ana = [], running.token(scope=WRITE)
    for number, day in enumerate(("2026-03-02", "2026-03-09")):
        path = f"/v1/timesheets/{(await open_week(running, f'open-{number}', period_start=day)).json()['id']}"
        hours = {"day": day, "project": "apollo", "minutes": 60}
        await running.send("POST", f"{path}/entries", ana, headers={"If-Match": '"1"'}, body=hours)
        sheet = await running.send("POST", f"{path}/submit", ana, headers={"If-Match": '"2"'})
        items.append({"id": sheet.json()["id"], "version": 3})
    lea = running.token(scope="approve:timesheets", sub="auth0|lea", jti="token-2")
    body: dict[str, Any] = {}
    for mode, version, route, more in (
        ("all-or-nothing", 3, "batch-reject", {"reason": "why"}),
        ("per-item", 5, "batch-approve", {}),
    ):
        body = {"items": [{**item, "version": version} for item in items], "mode": mode, **more}
        first, again = [
            await running.send("POST", f"/v1/timesheets/{route}", lea, headers={"Idempotency-Key": route}, body=body)
            for _ in range(2)
        ]
        assert (first.status_code, first.json()["changed"]) == (200, 2), first.text
        assert (again.status_code, again.json()) == (200, first.json()), again.text
        if route == "batch-reject":
            for item in items:
                path = f"/v1/timesheets/{item['id']}/submit"
                assert (await running.send("POST", path, ana, headers={"If-Match": '"4"'})).status_code == 200
    await house.owner.execute("UPDATE membership SET valid_to = clock_timestamp() WHERE part = 'lead'")
    answer = await running.send(
        "POST", "/v1/timesheets/batch-approve", lea, headers={"Idempotency-Key": "batch-approve"}, body=body
    )
    assert answer.status_code == 404


async def test_a_batch_with_every_item_refused_is_tried_again_and_each_refusal_is_recorded(
    house: House, running: InProcess
) -> None:
    items = [{"id": str(uuid4()), "version": 3}, {"id": str(uuid4()), "version": 3}]
    lea = running.token(scope="approve:timesheets", sub="auth0|lea", jti="token-2")
    body, told = {"items": items, "mode": "per-item"}, set()
    for _ in range(2):
        answer = await running.send(
            "POST", "/v1/timesheets/batch-approve", lea, headers={"Idempotency-Key": "none-1"}, body=body
        )
        assert (answer.status_code, answer.json()["changed"]) == (200, 0), answer.text
        assert "Idempotent-Replayed" not in answer.headers
        told |= {item["decision_id"] for item in answer.json()["items"]}
    assert await house.count("kept_answer") == 0
    recorded = "SELECT count(*) FROM audit_record WHERE uid = ANY ($1::text[]::uuid[])"
    assert await house.owner.fetchval(recorded, list(told)) == len(told) == 4


async def test_a_former_approver_gets_no_stored_response(house: House, running: InProcess) -> None:
    path = f"/v1/timesheets/{(await open_week(running, 'open-1')).json()['id']}"
    hours, ana = {"day": "2026-03-02", "project": "apollo", "minutes": 60}, running.token(scope=WRITE)
    await running.send("POST", f"{path}/entries", ana, headers={"If-Match": '"1"'}, body=hours)
    await running.send("POST", f"{path}/submit", ana, headers={"If-Match": '"2"'})
    lea = running.token(scope="approve:timesheets", sub="auth0|lea", jti="token-2")
    given = {"If-Match": '"3"', "Idempotency-Key": "yes-1"}
    for _ in range(2):
        assert (await running.send("POST", f"{path}/approve", lea, headers=given)).status_code == 200
    await house.owner.execute("UPDATE membership SET valid_to = clock_timestamp() WHERE part = 'lead'")
    answer = await running.send("POST", f"{path}/approve", lea, headers=given)
    assert (answer.status_code, "apollo" in answer.text) == (404, False)
    told = await record_of(house, answer)
    assert (told["action"], told["asked"]["action"], told["outcome"]) == ("read", "approve", "deny")
    assert "again" in told["request"]


async def test_a_former_reader_gets_no_stored_response(house: House, running: InProcess) -> None:
    sheet = (await open_week(running, "open-1")).json()
    hours = {"day": "2026-03-02", "project": "apollo", "minutes": 60}
    path, ana = f"/v1/timesheets/{sheet['id']}", running.token(scope=WRITE)
    await running.send("POST", f"{path}/entries", ana, headers={"If-Match": '"1"'}, body=hours)
    await running.send("POST", f"{path}/submit", ana, headers={"If-Match": '"2"'})
    lea = running.token(scope=WRITE, sub="auth0|lea", jti="token-2")
    given = {"If-Match": '"3"', "Idempotency-Key": "yes-1"}
    assert (await running.send("POST", f"{path}/approve", lea, headers=given)).status_code == 200
    assert (await running.send("POST", f"{path}/approve", lea, headers=given)).status_code == 200
    await house.owner.execute("UPDATE membership SET valid_to = clock_timestamp() WHERE part = 'lead'")
    answer = await running.send("POST", f"{path}/approve", lea, headers=given)
    assert answer.status_code == 404
    assert "apollo" not in answer.text
    told = await record_of(house, answer)
    assert (told["outcome"], "again" in told["request"]) == ("deny", True)


async def test_of_two_concurrent_requests_one_is_made_and_the_other_gets_409(house: House, running: InProcess) -> None:
    token = running.token(scope="manage:directory", roles=["administrator"])

    async def add() -> httpx2.Response:
        body = {"display_name": "Ada", "links": []}
        return await running.send("POST", "/v1/people", token, headers={"Idempotency-Key": "ada"}, body=body)

    before = await house.count("person")
    answers = await asyncio.gather(*(add() for _ in range(5)))
    made = [answer for answer in answers if answer.status_code == 201]
    assert made
    assert len({answer.json()["id"] for answer in made}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in made) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert (answer.status_code, answer.json()["type"]) == (409, "urn:timewarden:problem:idempotency-key-in-use")
            assert "Decision-Id" not in answer.headers
    # Ada, and the person of the token.
    assert await house.count("person") - before in {1, 2}
    assert (await add()).headers["Idempotent-Replayed"] == "true"


async def test_a_stored_response_expires_after_a_day_and_the_next_request_deletes_it(
    house: House, running: InProcess
) -> None:
    await open_week(running, "open-1")
    await house.owner.execute("UPDATE kept_answer SET at = at - interval '25 hours'")
    assert (await open_week(running, "open-1")).status_code == 409
    assert await house.count("kept_answer") == 1
    assert (await open_week(running, "open-2", period_start="2026-03-09")).status_code == 201
    assert await house.count("kept_answer WHERE at < clock_timestamp() - interval '24 hours'") == 0


async def test_a_change_whose_response_cannot_be_stored_is_not_made(house: House, running: InProcess) -> None:
    await house.owner.execute("REVOKE INSERT ON kept_answer FROM timewarden_app")
    assert (await open_week(running, "open-1")).status_code == 503
    assert await house.count("timesheet") == 0
    assert await house.count("audit_record WHERE kind = 'change'") == 0


@pytest.mark.parametrize("path", ["/v1/policies/versions", "/v1/replays"])
async def test_a_route_without_stored_responses_refuses_a_key(running: InProcess, path: str) -> None:
    token = running.token(scope="write:policies read:audit", roles=["policy-author", "auditor"])
    answer = await running.send("POST", path, token, headers={"Idempotency-Key": str(uuid4())}, body={})
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "header.Idempotency-Key")


def job(house: House, **changes: object) -> dict[str, Any]:
    row = {"owner": str(house.people["carl"]), "day": "2026-03-02", "project": "apollo", "minutes": 60}
    return {"rows": [{**row, "external_ref": "job-1", **changes}]}


async def upload(
    running: InProcess, body: object, *, query: str = "", scope: str = "batch:upload", key: str = "job-1"
) -> httpx2.Response:
    token = running.token(sub="payroll-import", client_id="payroll-import", scope=scope)
    return await running.send("POST", f"/v1/uploads{query}", token, headers={"Idempotency-Key": key}, body=body)


@pytest.mark.parametrize("scope", ["batch:upload", "batch:upload read:timesheets"])
async def test_a_repeated_upload_returns_the_stored_response(house: House, running: InProcess, scope: str) -> None:
    first = await upload(running, job(house), scope=scope)
    again = await upload(running, job(house), scope=scope)
    assert (first.json()["counts"]["created"], again.json()) == (1, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await upload(running, job(house, minutes=61), scope=scope)
    assert (other.status_code, other.json()["type"]) == (422, "urn:timewarden:problem:idempotency-key-reused")
    assert await house.count("entry WHERE minutes = 60") == await house.count("entry") == 1


async def test_a_job_without_a_grant_gets_no_stored_response_to_unchanged_rows(
    house: House, running: InProcess
) -> None:
    await upload(running, job(house))
    unchanged = await upload(running, job(house), key="job-2")
    assert unchanged.json()["counts"]["unchanged"] == 1
    assert (await upload(running, job(house), key="job-2")).json() == unchanged.json()
    await house.owner.execute("UPDATE importer_grant SET valid_to = clock_timestamp()")
    for key in ("job-1", "job-2"):
        assert (await upload(running, job(house), key=key)).status_code in {403, 404}


@pytest.mark.parametrize("query", ["?mode=per-row", "?dry_run=true", "?mode=together&dry_run=True"])
async def test_an_upload_without_a_stored_response_refuses_a_key(house: House, running: InProcess, query: str) -> None:
    answer = await upload(running, job(house), query=query)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "header.Idempotency-Key")
    assert await house.count("entry") == 0


def file_of(house: House, kind: str, number: int = 1, **changes: object) -> bytes:
    """Rows of one minute, of several weeks."""
    rows = []
    for place in range(number):
        day = date(2026, 3, 2) + timedelta(days=place % 28)
        rows.append({**job(house)["rows"][0], "day": str(day), "minutes": 1, "external_ref": f"job-{place}", **changes})
    if kind == NDJSON:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    return "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]).encode()


async def send_file(
    running: InProcess, kind: str, content: bytes, key: str = "job-1", query: str = ""
) -> httpx2.Response:
    token = running.token(sub="payroll-import", client_id="payroll-import", scope="batch:upload")
    headers = {"Idempotency-Key": key, "Content-Type": kind}
    return await running.send("POST", f"/v1/uploads{query}", token, headers=headers, content=content)


@pytest.mark.parametrize("kind", [NDJSON, CSV])
async def test_a_repeated_file_upload_returns_the_stored_response(house: House, running: InProcess, kind: str) -> None:
    # So many rows that the response is written in pieces.
    first = await send_file(running, kind, file_of(house, kind, 600))
    again = await send_file(running, kind, file_of(house, kind, 600))
    assert (first.status_code, first.json()["counts"]["created"]) == (200, 600), first.text
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (200, first.json(), "true")
    other = await send_file(running, kind, file_of(house, kind, 600, minutes=2))
    assert (other.status_code, other.json()["type"]) == (422, "urn:timewarden:problem:idempotency-key-reused")
    assert await house.count("entry WHERE minutes = 1") == await house.count("entry") == 600


async def test_of_two_concurrent_uploads_one_is_made_and_the_other_gets_409(house: House, running: InProcess) -> None:
    file = file_of(house, CSV, 40)
    answers = await asyncio.gather(*(send_file(running, CSV, file) for _ in range(4)))
    done = [answer for answer in answers if answer.status_code == 200]
    assert done
    assert all(answer.json()["counts"]["created"] == 40 for answer in done)
    assert sum("Idempotent-Replayed" not in answer.headers for answer in done) == 1
    for answer in answers:
        if answer.status_code != 200:
            assert (answer.status_code, answer.json()["type"]) == (409, "urn:timewarden:problem:idempotency-key-in-use")
            assert "Decision-Id" not in answer.headers
    assert await house.count("kept_answer") == 1


async def test_an_upload_whose_sender_disconnected_returns_its_whole_response_later(
    house: House, running: InProcess
) -> None:
    frame: Any = running.frame

    async def leaving(scope: Any, receive: Any, send: Any) -> None:
        more: Any = True

        async def receive_nothing() -> Any:
            nonlocal more
            message = await receive() if more else {"type": "http.disconnect"}
            more = message.get("more_body", False)
            return message

        await frame(scope, receive_nothing, send)

    file = file_of(house, CSV, 1200)
    await send_file(InProcess(cast("Any", leaving), running.issuer), CSV, file)
    again = await send_file(running, CSV, file)
    assert (again.headers["Idempotent-Replayed"], len(again.json()["rows"])) == ("true", 1200)
    assert await house.count("entry") == 1200


async def test_a_file_whose_response_is_too_large_to_store_refuses_a_key(house: House, running: InProcess) -> None:
    answer = await send_file(running, NDJSON, file_of(house, NDJSON, 2000))
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:timewarden:problem:body-too-large")
    assert answer.json()["detail"].startswith("With an Idempotency-Key the body must not exceed 262144 bytes")
    assert await house.count("entry") == 0
    refused = await send_file(running, CSV, file_of(house, CSV), query="?mode=per-row")
    assert (refused.status_code, refused.json()["fields"][0]["field"]) == (422, "header.Idempotency-Key")


async def test_the_responses_to_an_erased_person_are_deleted_and_others_kept(house: House, running: InProcess) -> None:
    ana = (await open_week(running, "open-1")).json()
    body = {"day": "2026-03-02", "project": "apollo", "minutes": 60, "note": "at the dentist's"}
    headers = {"Idempotency-Key": "enter-1", "If-Match": '"1"'}
    token = running.token(scope=WRITE)
    entered = await running.send("POST", f"/v1/timesheets/{ana['id']}/entries", token, headers=headers, body=body)
    assert entered.status_code == 201, entered.text
    before, ben = [(await open_week(running, "open-1", claims={"sub": f"auth0|{who}"})).json() for who in ("a", "ben")]
    assert await house.count("kept_answer") == 4
    # Another account of hers, which was merged.
    await house.owner.execute(
        "INSERT INTO merged_person (person_id, into_id) VALUES ($1, $2)", UUID(before["owner"]), UUID(ana["owner"])
    )
    await house.erasure.erase(house.administrator(), UUID(ana["owner"]))
    rows = await house.owner.fetch("SELECT owner_id FROM kept_answer")
    assert [str(row["owner_id"]) for row in rows] == [ben["owner"]]


async def test_a_response_about_hours_of_several_people_is_deleted_with_the_erased_draft(
    house: House, running: InProcess
) -> None:
    await house.directory.add_membership(house.administrator(), house.people["ben"], house.teams["west"], Part.MEMBER)
    rows = [*job(house)["rows"], *job(house, owner=str(house.people["ben"]))["rows"]]
    answer = await upload(running, {"rows": rows})
    assert (answer.status_code, answer.json()["counts"]["created"]) == (200, 2), answer.text
    assert await house.count("kept_answer") == 1
    await house.erasure.erase(house.administrator(), house.people["carl"])
    assert await house.count("kept_answer") == 0


async def test_the_keeper_deletes_expired_responses(house: House, running: InProcess) -> None:
    for number in range(3):
        await open_week(running, "open-1", claims={"sub": f"auth0|{number}"})
    await house.owner.execute("UPDATE kept_answer SET at = at - interval '25 hours' WHERE ctid <> '(0,1)'")
    await ResponseSweeper(await house.log_database.open("keeper")).sweep()
    assert await house.count("kept_answer") == 1


async def test_an_erasure_and_the_keeper_delete_the_same_expired_responses(house: House, running: InProcess) -> None:
    """The erasure waits for the first row of its scan. The keeper goes by an index, as it does where there are many
    responses, and begins with another row."""
    ana = house.people["ana"]
    await house.owner.execute(
        "INSERT INTO kept_answer (name, fingerprint, kind, action, resources, owner_id, decision_uid, status, headers,"
        " body, at) SELECT sha256(number::text::bytea), sha256(''), 'timesheet', 'edit', '{}', $1, gen_random_uuid(),"
        " 200, '{}', '', now() - interval '25 hours' FROM generate_series(1, 20) AS number",
        ana,
    )
    database = await house.owner.fetchval("SELECT current_database()")
    for setting in ("enable_seqscan", "enable_hashjoin"):
        await house.owner.execute(f'ALTER DATABASE "{database}" SET {setting} = off')
    holding = await house.log_database.connect("owner")
    async with holding.transaction():
        await holding.execute("SELECT FROM kept_answer WHERE ctid = '(0,1)' FOR UPDATE")
        erasing = asyncio.create_task(house.erasure.erase(house.administrator(), ana))
        await lock_is_waited_for(house.owner)
        sweeping = asyncio.create_task(ResponseSweeper(await house.log_database.open("keeper")).sweep())

        async def is_held_up() -> bool:
            return sweeping.done() or await house.count("pg_locks WHERE NOT granted") > 1

        await until(is_held_up)
    await sweeping
    await erasing
    assert await house.count("kept_answer") == 0
