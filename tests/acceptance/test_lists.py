"""Lists over HTTP: who sees whose weeks, complete pages, cursors that cannot be forged or reused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.caller import SHEETS, draft, fields, submit_week

if TYPE_CHECKING:
    from tests.acceptance.caller import Caller, Callers


async def every(caller: Caller, path: str, limit: int, **params: str) -> list[dict[str, object]]:
    """All pages of a listing, put together."""
    items: list[dict[str, object]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await caller.get(path, limit=limit, **params, **cursor)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        assert page["items"]
        cursor = {"cursor": page["next_cursor"]}


async def test_a_list_shows_what_single_reads_allow(callers: Callers) -> None:
    people = {name: await callers(name) for name in ("ana", "ben", "mia", "max", "dora", "carl")}
    sheets = {name: (await draft(people[name])).json()["id"] for name in people}
    seen_by = {
        "ana": {"ana"},
        "ben": {"ben"},
        "carl": {"carl"},
        "mia": {"ana", "mia", "carl"},
        # Nobody leads Dora; Max is the fallback.
        "max": {"ben", "max", "dora"},
        "dora": set(people),
    }
    for reader, owners in seen_by.items():
        listed = {item["id"] for item in await every(people[reader], SHEETS, 200)}
        assert {name for name in people if sheets[name] in listed} == owners, reader
        for owner, sheet in sheets.items():
            alone = (await people[reader].get(f"{SHEETS}/{sheet}")).status_code
            assert alone == (200 if owner in owners else 404), (reader, owner)


async def test_pages_are_complete_and_never_repeat(callers: Callers) -> None:
    ben = await callers("ben")
    made = [(await draft(ben)).json()["id"] for _ in range(7)]

    whole = await every(ben, SHEETS, 200)
    by_three = await every(ben, SHEETS, 3)
    assert by_three == whole
    ids = [item["id"] for item in by_three]
    assert len(ids) == len(set(ids))
    assert set(made) <= set(ids)
    assert [sheet["period_start"] for sheet in whole] == sorted(
        (str(sheet["period_start"]) for sheet in whole), reverse=True
    )


async def test_pages_stay_complete_while_weeks_are_added_and_deleted(callers: Callers) -> None:
    carl = await callers("carl")
    kept = {(await draft(carl)).json()["id"] for _ in range(4)}
    first = (await carl.get(SHEETS, limit=2)).json()
    gone = await draft(carl)
    await carl.delete(f"{SHEETS}/{gone.json()['id']}", if_match=gone.headers["ETag"])
    await draft(carl)

    rest = await every(carl, SHEETS, 2)
    ids = [item["id"] for item in first["items"]]
    cursor = first["next_cursor"]
    while cursor:
        page = (await carl.get(SHEETS, limit=2, cursor=cursor)).json()
        ids += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert kept <= set(ids)
    assert len(ids) == len(set(ids))
    assert kept <= {sheet["id"] for sheet in rest}


async def test_a_list_is_filtered_by_owner_state_and_time(callers: Callers) -> None:
    mia, ana = await callers("mia"), await callers("ana")
    handed = (await submit_week(ana)).json()

    waiting = await every(mia, SHEETS, 50, state="submitted")
    assert handed["id"] in {sheet["id"] for sheet in waiting}
    assert {sheet["state"] for sheet in waiting} == {"submitted"}
    own = await every(mia, SHEETS, 50, owner=await ana.me())
    assert {sheet["owner"] for sheet in own} == {await ana.me()}
    day = handed["period_start"]
    in_week = await every(mia, SHEETS, 50, since=day, until=day)
    assert {(sheet["period_start"]) for sheet in in_week} == {day}
    others = await every(mia, SHEETS, 50, owner=await (await callers("ben")).me())
    assert others == []


async def test_forged_and_reused_cursors_are_refused(callers: Callers) -> None:
    ben, dora, audrey = await callers("ben"), await callers("dora"), await callers("audrey")
    for _ in range(3):
        await draft(ben)
    cursor = (await ben.get(SHEETS, limit=1)).json()["next_cursor"]
    foreign = (await audrey.get("/v1/decisions", limit=1)).json()["next_cursor"]
    flipped = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    head = ("B" if cursor[0] != "B" else "C") + cursor[1:]

    for wrong in (flipped, head, foreign, cursor[:20], cursor + "AAAA", "", "x", "é", "=" * 8, "A" * 600):
        assert fields(await ben.get(SHEETS, limit=1, cursor=wrong)) == ["query.cursor"], wrong
    assert fields(await ben.get(SHEETS, limit=1, cursor=cursor, state="draft")) == ["query.cursor"]
    # A cursor holds a place and no rights: under another token it shows what that person may see.
    answer = await dora.get(SHEETS, limit=200, cursor=cursor)
    assert answer.status_code == 200


@pytest.mark.parametrize("limit", ["0", "201", "-1", "ten", "", "99999999999999999999"])
async def test_a_page_size_is_bounded(callers: Callers, limit: str) -> None:
    ana = await callers("ana")

    assert fields(await ana.get(SHEETS, limit=limit)) == ["query.limit"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("owner", "you"),
        ("state", "closed"),
        ("since", "yesterday"),
        ("until", "2026-02-30"),
        ("since", "2026-11-23T00"),
    ],
)
async def test_a_filter_that_is_none_is_named(callers: Callers, name: str, value: str) -> None:
    ana = await callers("ana")

    assert fields(await ana.get(SHEETS, **{name: value})) == [f"query.{name}"]


async def test_the_directory_and_the_versions_are_paged_too(callers: Callers) -> None:
    adam, paula = await callers("adam"), await callers("paula")

    for caller, path, least in ((adam, "/v1/people", 9), (adam, "/v1/teams", 4), (adam, "/v1/memberships", 6)):
        whole = await every(caller, path, 200)
        assert await every(caller, path, 2) == whole
        assert len(whole) >= least
    assert await every(paula, "/v1/policies/versions", 1) == await every(paula, "/v1/policies/versions", 200)
