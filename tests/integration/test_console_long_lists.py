"""Lists of the console that are longer than a page: it says so, and leads to the rest."""

from __future__ import annotations

import html
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx2
import msgspec
import pytest

from service.console.sign_in_server import Demand, Grant
from service.standalone.client import Me
from tests.integration.test_console_without_its_parts import browser, open_console

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PERSON = str(UUID(int=7))
HELD: dict[str, Any] = {"valid_from": None, "valid_to": None, "created_at": "2026-03-02T09:00:00Z"}
OVER = "2026-03-03T00:00:00Z"
ENOUGH = 100_000


def team(number: int, **more: Any) -> dict[str, Any]:
    return {"id": str(UUID(int=number)), "name": f"Team {number:05}", "parent": None, "created_at": OVER, **more}


def membership(number: int, **more: Any) -> dict[str, Any]:
    about = {"id": str(UUID(int=number)), "person": str(UUID(int=ENOUGH + number)), "team": str(UUID(int=number))}
    return {**HELD, **about, "part": "member", "names": {str(UUID(int=number)): f"Team {number:05}"}, **more}


def delegation(number: int, **more: Any) -> dict[str, Any]:
    about = {"id": str(UUID(int=number)), "delegate": str(UUID(int=ENOUGH + number)), "delegator": PERSON}
    return {**HELD, **about, **more}


@asynccontextmanager
async def administrator(redis_url: str, lists: dict[str, list[dict[str, Any]]]) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser of a person who may do everything, with an API that has these lists by their paths."""
    may = [{"kind": kind, "action": action, "may": "always"} for kind in ("directory", "delegation")
           for action in ("read", "manage", "grant")]  # fmt: skip
    me = Me(kind="person", person="a", client="", scopes=[], roles=[], teams_led=[], may=may, policy_version=1)

    def answer(request: httpx2.Request) -> httpx2.Response:
        path, query = request.url.path, request.url.params
        if path == "/v1/me":
            return httpx2.Response(200, content=msgspec.json.encode(me))
        if path in lists:
            begin, size = int(query.get("cursor", "0")), int(query.get("limit", "50"))
            assert size <= 200
            items, end = lists[path][begin : begin + size], begin + size
            return httpx2.Response(
                200, json={"items": items, "next_cursor": str(end) if end < len(lists[path]) else None}
            )
        if path.startswith("/v1/teams/"):
            found = next(each for each in lists["/v1/teams"] if path.endswith(each["id"]))
            return httpx2.Response(200, json=found, headers={"ETag": '"1"'})
        if path == f"/v1/people/{PERSON}":
            person: dict[str, Any] = {
                "id": PERSON,
                "display_name": "Ana",
                "email": None,
                "merged_into": None,
                "links": [],
            }
            return httpx2.Response(200, json={**person, "created_at": OVER}, headers={"ETag": '"1"'})
        return httpx2.Response(200, json={"items": [], "next_cursor": None})

    async with open_console(redis_url) as console:
        session = await console.sessions.start(Grant("token", time.time() + 600), Demand())
        api = httpx2.MockTransport(answer)
        async with httpx2.AsyncClient(transport=api) as console.http, browser(console, session.id) as browsing:
            yield browsing


def next_of(page: httpx2.Response) -> str:
    """The address of the next part of the only list that goes on."""
    assert page.status_code == 200, page.text
    (link,) = re.findall(r'href="([^"]+)" rel="next"', page.text)
    return html.unescape(link)


@pytest.mark.parametrize("count", [200, 201])
async def test_memberships_and_groups_of_a_person_go_on_behind_a_link(redis_url: str, count: int) -> None:
    former = [membership(number, valid_to=OVER) for number in range(count - 1)]
    for path, items, last in (
        ("/v1/memberships", [*former, membership(count)], f"Team {count:05}"),
        (
            "/v1/groups",
            [{"name": f"group-{number}", "created_at": OVER} for number in range(count)],
            f"group-{count - 1}",
        ),
    ):
        async with administrator(redis_url, {path: items}) as person:
            page = await person.get(f"/directory/people/{PERSON}")
            if count == 200:
                assert last in page.text
                assert 'rel="next"' not in page.text
                continue
            assert last not in page.text
            assert ("nobody leads this person" in page.text) is (path == "/v1/groups")
            rest = await person.get(next_of(page))
        assert last in rest.text
        assert f'href="/directory/people/{PERSON}">First page' in rest.text
        assert 'rel="next"' not in rest.text


@pytest.mark.parametrize(
    ("page_of", "path", "words"),
    [
        ("/directory/teams", "/v1/teams", "More teams"),
        ("/directory/projects", "/v1/projects", "More projects"),
        ("/directory/groups", "/v1/groups", "More groups"),
        (f"/directory/teams/{UUID(int=1)}", "/v1/memberships", "More members"),
        ("/directory/groups?group=a", "/v1/groups/a/members", "More members"),
        ("/delegations", "/v1/delegations", "Later delegations"),
    ],
)
async def test_a_list_of_the_directory_goes_on_after_two_thousand(
    redis_url: str, page_of: str, path: str, words: str
) -> None:
    makers: dict[str, Any] = {
        "/v1/teams": team,
        "/v1/projects": lambda number: {"code": f"P{number}", "name": f"Project {number}", "active": True},
        "/v1/groups": lambda number: {"name": f"g{number}", "created_at": OVER},
        "/v1/delegations": delegation,
        "/v1/groups/a/members": lambda number: membership(number, group="a"),
    }
    items = [makers.get(path, membership)(number) for number in range(2_001)]
    few = {"/v1/teams": [team(1)], "/v1/groups": [{"name": "a", "created_at": OVER}]}
    async with administrator(redis_url, {**few, path: items}) as person:
        page = await person.get(page_of)
        assert words in page.text
        rest = await person.get(next_of(page))
    assert rest.status_code == 200
    assert f'href="{page_of}">First page' in rest.text
    assert 'rel="next"' not in rest.text


async def test_delegations_that_ended_long_ago_are_counted_and_shown_if_asked_for(redis_url: str) -> None:
    items = [delegation(number, valid_to=OVER) for number in range(201)]
    async with administrator(redis_url, {"/v1/delegations": items}) as person:
        page = await person.get("/delegations")
        everything = await person.get("/delegations?ended=all")
    assert "Ended delegations (201)" in page.text
    assert "1 older ones are not shown" in page.text
    assert 'href="/delegations?ended=all"' in page.text
    assert everything.text.count("<tr>") == page.text.count("<tr>") + 1
    assert "not shown" not in everything.text


async def test_a_team_keeps_its_place_when_it_is_saved_although_the_list_of_teams_is_cut(redis_url: str) -> None:
    last = team(2_001)
    teams = [*(team(number) for number in range(2_000)), last, team(2_002, parent=last["id"])]
    async with administrator(redis_url, {"/v1/teams": teams}) as person:
        page = await person.get(f"/directory/teams/{UUID(int=2_002)}")
    assert f'<option value="{last["id"]}" selected>Team 02001</option>' in page.text
    assert "Not all teams are in this list" in page.text
