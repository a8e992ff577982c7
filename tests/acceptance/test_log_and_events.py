"""The decision log and events over HTTP: every filter, sealing, order, and ids only."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from events.envelope import PREFIX
from service.development.people import PEOPLE
from tests.acceptance.caller import SHEETS, draft, problem, submit_week
from tests.acceptance.published import read_events
from tests.until import until

if TYPE_CHECKING:
    from tests.acceptance.caller import Caller, Callers
    from tests.acceptance.running_service import RunningService

DECISIONS = "/v1/decisions"
# Free texts and names, none of which may be in a record or an event.
PRIVATE = ("a secret errand", "Friday is missing", "dev|ana", "Ana Lima", "Mia Novak", "@hours.example")


async def search_decisions(audrey: Caller, **filters: str) -> list[dict[str, Any]]:
    """The first page of a search."""
    answer = await audrey.get(DECISIONS, limit=200, **filters)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def new_address() -> str:
    """A new e-mail address, unique to these tests."""
    return f"{uuid4()}@hours.example"


async def wait_for_events(service: RunningService, subject: str, count: int) -> list[dict[str, Any]]:
    """The events of a subject in the order of the stream, once there are this many."""
    about: list[dict[str, Any]] = []

    async def there_are_enough() -> bool:
        about[:] = [item for item in await read_events(service.addresses) if item["subject"] == subject]
        return len(about) >= count

    try:
        await until(there_are_enough)
    except TimeoutError:
        raise AssertionError(f"only {len(about)} of {count} events came") from None
    return about


async def test_decisions_are_found_by_each_filter(callers: Callers) -> None:
    ana, mia, audrey = await callers("ana"), await callers("mia"), await callers("audrey")
    anas, mias = await ana.me(), await mia.me()
    since = datetime.now(UTC)
    handed = await submit_week(ana)
    sheet = handed.json()["id"]
    refused = await ana.post(f"{SHEETS}/{sheet}/approve", if_match='"3"')
    listed = await mia.get(SHEETS, state="submitted", limit=200)
    approved = await mia.post(f"{SHEETS}/{sheet}/approve", if_match='"3"')
    upto = datetime.now(UTC)

    span = {"since": since.isoformat(), "until": upto.isoformat()}
    about = await search_decisions(audrey, resource=sheet)
    ids = [item["id"] for item in about]
    # Newest first; the list that returned the sheet is among them.
    assert ids[:4] == [answer.headers["Decision-Id"] for answer in (approved, listed, refused, handed)]
    assert sheet in about[1]["record"]["returned"]
    by_person = await search_decisions(audrey, person=mias, **span)
    assert {item["id"] for item in by_person} == {listed.headers["Decision-Id"], approved.headers["Decision-Id"]}
    denied = await search_decisions(audrey, outcome="deny", person=anas, **span)
    assert [item["id"] for item in denied] == [refused.headers["Decision-Id"]]
    assert [record["id"] for record in await search_decisions(audrey, action="approve", outcome="allow", **span)] == [
        approved.headers["Decision-Id"]
    ]
    assert {record["record"]["action"] for record in await search_decisions(audrey, action="submit")} == {"submit"}
    assert approved.headers["Decision-Id"] in {
        record["id"] for record in await search_decisions(audrey, rule="approve-team")
    }
    assert {
        record["record"]["principal"]["client"] for record in await search_decisions(audrey, client="timesheets-cli")
    } == {"timesheets-cli"}
    assert await search_decisions(audrey, since=upto.isoformat(), person=anas) == []
    problem(await audrey.get(DECISIONS, policy_version="2147483647"), 422, "invalid-field")
    assert await search_decisions(audrey, resource="no-such-thing") == []


async def test_pages_of_the_log_are_complete(callers: Callers) -> None:
    ana, audrey = await callers("ana"), await callers("audrey")
    since = datetime.now(UTC).isoformat()
    sent = [(await ana.get("/v1/me")).headers["Decision-Id"] for _ in range(7)]

    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await audrey.get(DECISIONS, limit=3, person=await ana.me(), since=since, **cursor)).json()
        ids += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    # Each search is a decision too and comes first; older decisions keep their order.
    assert [item for item in ids if item in sent] == sent[::-1]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("who", ["ana", "mia", "paula", "adam", "payroll-import"])
async def test_only_auditors_read_the_log(callers: Callers, who: str) -> None:
    caller, audrey = await callers(who), await callers("audrey")
    own = (await caller.get("/v1/me")).headers["Decision-Id"]

    for path in (DECISIONS, f"{DECISIONS}/{own}"):
        refused = await caller.get(path)
        assert refused.status_code == 403
        assert (await audrey.decision(refused))["record"]["outcome"] == "deny"


async def test_reading_the_log_is_recorded_with_the_ids_returned(callers: Callers) -> None:
    ana, audrey = await callers("ana"), await callers("audrey")
    decision = (await ana.get("/v1/me")).headers["Decision-Id"]

    single = await audrey.get(f"{DECISIONS}/{decision}")
    listing = await audrey.get(DECISIONS, person=await ana.me(), limit=5)
    for answer in (single, listing):
        logged = await audrey.decision(answer)
        assert logged["kind"] == "access"
        assert logged["record"]["principal"]["person"] == await audrey.me()
    assert (await audrey.decision(single))["record"]["returned"] == [decision]
    # The record also names the person searched for, whatever was found.
    wanted = {*(item["id"] for item in listing.json()["items"]), await ana.me()}
    assert set((await audrey.decision(listing))["record"]["returned"]) == wanted


async def test_an_unknown_decision_is_not_found(callers: Callers) -> None:
    audrey = await callers("audrey")

    problem(await audrey.get(f"{DECISIONS}/0198c0de-0000-7000-8000-00000000dead"), 404, "not-found")


async def test_decisions_are_sealed_in_order_and_keep_their_leaves(callers: Callers) -> None:
    ana, audrey = await callers("ana"), await callers("audrey")
    answers = [await ana.get("/v1/me") for _ in range(3)]

    async def sealed() -> list[dict[str, Any]]:
        found = [await audrey.decision(answer) for answer in answers]
        return found if all(item["position"] is not None for item in found) else []

    logged = await until(sealed)
    positions = [item["position"] for item in logged]
    assert positions == sorted(set(positions))
    assert [item["leaf"] for item in logged] == [answer.headers["Decision-Leaf"] for answer in answers]


async def test_the_events_of_a_sheet_are_in_order(callers: Callers, service: RunningService) -> None:
    ana, mia = await callers("ana"), await callers("mia")
    sheet = (await submit_week(ana)).json()["id"]
    path = f"{SHEETS}/{sheet}"
    await ana.get(path)
    await mia.post(f"{path}/approve", if_match='"2"')
    await mia.post(f"{path}/reject", {"reason": "Friday is missing"}, if_match='"3"')
    await ana.post(f"{path}/submit", if_match='"4"')
    await mia.post(f"{path}/approve", if_match='"5"')
    await mia.post(f"{path}/reopen", {"reason": "wrong project"}, if_match='"6"')
    assert (await ana.delete(path, if_match='"7"')).status_code == 204

    events = await wait_for_events(service, sheet, 8)
    assert [event["type"].removeprefix(f"{PREFIX}timesheet.") for event in events] == [
        "created",
        "edited",
        "submitted",
        "rejected",
        "submitted",
        "approved",
        "reopened",
        "deleted",
    ]
    positions = [event["at"] for event in events]
    assert positions == sorted(set(positions))
    assert [int(event["sequence"]) for event in events] == positions
    assert len({event["id"] for event in events}) == len(events)


async def test_events_of_the_policy_and_the_directory_are_published(callers: Callers, service: RunningService) -> None:
    adam = await callers("adam")
    person = (await adam.post("/v1/people", {"display_name": "Ana Lima", "email": new_address()})).json()["id"]

    events = await wait_for_events(service, person, 1)
    assert events[0]["type"] == f"{PREFIX}directory.changed"


async def test_records_and_events_hold_ids_and_no_free_text(callers: Callers, service: RunningService) -> None:
    ana, mia, audrey = await callers("ana"), await callers("mia"), await callers("audrey")
    sheet = (await submit_week(ana)).json()["id"]
    await mia.post(f"{SHEETS}/{sheet}/reject", {"reason": "Friday is missing"}, if_match='"3"')
    joined = await (await callers("adam")).post("/v1/people", {"display_name": "Ana Lima", "email": new_address()})
    assert joined.status_code == 201, joined.text
    await wait_for_events(service, sheet, 4)

    stream = json.dumps(await read_events(service.addresses), ensure_ascii=False)
    records = json.dumps([record["record"] for record in await search_decisions(audrey)], ensure_ascii=False)
    private = (*PRIVATE, *(person.subject for person in PEOPLE.values()), *(person.name for person in PEOPLE.values()))
    for text in private:
        assert text not in stream, text
        assert text not in records, text
    assert (ana.token or "?")[-40:] not in records
    assert sheet in records


async def test_the_log_of_the_process_holds_no_secrets(callers: Callers, service: RunningService) -> None:
    ana = await callers("ana")
    await draft(ana)
    await callers.bearer_of("eyJhbGciOiJub25lIn0.e30.").get("/v1/me")
    await ana.get("/v1/me", access_token=ana.token or "")

    written = service.log.read_text(encoding="utf-8")
    for secret in ("a secret errand", "eyJhbGciOi", "dev|ana", (ana.token or "?")[-40:], "access_token="):
        assert secret not in written, secret
