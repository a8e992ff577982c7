"""Bad headers and methods over HTTP: conditions, credentials, sizes, request ids; each is told, none breaks a thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.caller import SHEETS, draft, problem

if TYPE_CHECKING:
    from tests.acceptance.caller import Callers

UNKNOWN = "0198c0de-0000-7000-8000-00000000dead"
pytestmark = pytest.mark.usefixtures("nothing_unexpected")


@pytest.mark.parametrize(
    "tag", ["7", "'7'", '"7', '7"', '"7"x', '""7""', '"é"', '"7","', "W/7", 'w/"7"', "*,*", '"' + "7" * 600 + '"']
)
async def test_a_malformed_if_match_is_refused(callers: Callers, tag: str) -> None:
    ana = await callers("ana")
    sheet = (await draft(ana)).json()["id"]

    answer = await ana.send("POST", f"{SHEETS}/{sheet}/submit", headers={"If-Match": tag})
    assert "If-Match" in problem(answer, 400, "malformed-request")["detail"]
    assert (await ana.get(f"{SHEETS}/{sheet}")).headers["ETag"] == '"2"'


@pytest.mark.parametrize(
    "tag", ['""', '"0"', '"-1"', '"999999999999999999999"', 'W/"2"', '"two"', '"02"', '"2 "', '"7",,']
)
async def test_a_tag_that_names_no_version_of_this_sheet_does_not_fit(callers: Callers, tag: str) -> None:
    ana = await callers("ana")
    sheet = (await draft(ana)).json()["id"]

    answer = await ana.post(f"{SHEETS}/{sheet}/submit", if_match=tag)
    assert answer.status_code in {400, 412}, answer.text


async def test_headers_that_are_too_large_are_refused(callers: Callers) -> None:
    ana = await callers("ana")

    problem(await ana.send("GET", "/v1/me", headers={"X-Much": "x" * 40_000}), 431, "headers-too-large")
    problem(await ana.get("/v1/me?" + "x" * 9_000), 431, "headers-too-large")


async def test_credentials_are_given_once_and_in_the_header(callers: Callers) -> None:
    ana = await callers("ana")
    twice = [("Authorization", f"Bearer {ana.token}"), ("Authorization", f"Bearer {ana.token}")]

    answer = await ana.http.get("/v1/me", headers=twice)
    problem(answer, 400, "malformed-request")
    assert 'error="invalid_request"' in answer.headers["WWW-Authenticate"]
    in_query = await ana.http.get("/v1/me", params={"access_token": ana.token or ""})
    problem(in_query, 400, "malformed-request")
    both = await ana.get("/v1/me", access_token=ana.token or "")
    problem(both, 400, "malformed-request")
    assert str(ana.token) not in both.text


@pytest.mark.parametrize(
    "value",
    ["Bearer", "Basic YTpi", "bearer  x", "Bearer a b", "Bearer ü", "Token x", "", "Bearer " + "a" * 20_000],
)
async def test_an_authorization_header_without_a_token_is_refused(callers: Callers, value: str) -> None:
    header = {"Authorization": value}

    answer = await callers.nobody().send("GET", "/v1/me", headers=header)
    assert answer.status_code in {400, 401}, answer.text
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"].startswith("application/problem+json")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", SHEETS, {"GET", "POST"}),
        ("DELETE", SHEETS, {"GET", "POST"}),
        ("PUT", f"{SHEETS}/{UNKNOWN}", {"GET", "PATCH", "DELETE"}),
        ("GET", f"{SHEETS}/{UNKNOWN}/submit", {"POST"}),
        ("POST", "/v1/me", {"GET"}),
        ("POST", "/v1/decisions", {"GET"}),
        ("POST", "/health/live", {"GET"}),
        ("DELETE", "/openapi.json", {"GET"}),
        ("TRACE", "/v1/me", {"GET"}),
    ],
)
async def test_another_method_is_answered_with_those_that_are_allowed(
    callers: Callers, method: str, path: str, allow: set[str]
) -> None:
    answer = await (await callers("ana")).send(method, path)

    problem(answer, 405, "method-not-allowed")
    told = {part.strip() for part in answer.headers["Allow"].split(",")}
    assert allow <= told <= allow | {"OPTIONS", "HEAD"}


@pytest.mark.parametrize("path", [SHEETS, "/v1/me", f"{SHEETS}/{UNKNOWN}/approve", "/health/live", "/nowhere"])
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_head_and_options_tell_nothing_and_break_nothing(callers: Callers, method: str, path: str) -> None:
    answer = await callers.nobody().send(method, path)

    assert answer.status_code < 500
    assert answer.headers["X-Request-Id"]
    assert "Decision-Id" not in answer.headers


@pytest.mark.parametrize("given", ["0198c0de-0000-7000-8000-000000000000", "0198C0DE-0000-7000-8000-00000000000A"])
async def test_a_request_id_that_is_a_uuid_is_kept(callers: Callers, given: str) -> None:
    answer = await callers.nobody().send("GET", "/v1/me", headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "ä", "{}", "Ana-Lima-is-late"])
async def test_a_strange_request_id_is_replaced(callers: Callers, given: str) -> None:
    header = {"X-Request-Id": given}

    answer = await callers.nobody().send("GET", "/v1/me", headers=header)
    assert answer.headers["X-Request-Id"] != header["X-Request-Id"]
    assert answer.headers["X-Request-Id"].isascii()
