"""Wrong directory data over HTTP are named by field; unknown people and teams are not found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.caller import fields

if TYPE_CHECKING:
    from tests.acceptance.caller import Callers

UNKNOWN = "0198c0de-0000-7000-8000-00000000dead"
pytestmark = pytest.mark.usefixtures("nothing_unexpected")

DIRECTORY: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/people", {"display_name": "a\u0000b"}, "display_name"),
    ("/v1/people", {"display_name": ""}, "display_name"),
    ("/v1/people", {"display_name": "x" * 201}, "display_name"),
    ("/v1/people", {"email": "a\u0000@b"}, "email"),
    ("/v1/people", {"links": [{"issuer": "https://i.example", "subject": ""}]}, "links[0].subject"),
    ("/v1/people", {"links": [{"issuer": "", "subject": "s"}]}, "links[0].issuer"),
    ("/v1/people", {"links": [{"issuer": "i\u0000", "subject": "s"}]}, "links[0].issuer"),
    ("/v1/people", {"links": [{"issuer": "https://i.example"}]}, "links[0].subject"),
    ("/v1/teams", {"name": ""}, "name"),
    ("/v1/teams", {"name": "a\u0000b"}, "name"),
    ("/v1/teams", {"name": "Atlas 2", "parent": "Nowhere"}, "parent"),
    ("/v1/memberships", {"person": UNKNOWN, "team": UNKNOWN, "part": "owner"}, "part"),
    ("/v1/memberships", {"person": "ana", "team": UNKNOWN, "part": "lead"}, "person"),
    (
        "/v1/memberships",
        {"person": UNKNOWN, "team": UNKNOWN, "part": "lead", "valid_from": "2026-11-23T09:00:00"},
        "valid_from",
    ),
    (
        "/v1/memberships",
        {
            "person": UNKNOWN,
            "team": UNKNOWN,
            "part": "lead",
            "valid_from": "2026-11-23T09:00:00Z",
            "valid_to": "2026-11-22T09:00:00Z",
        },
        "valid_to",
    ),
    ("/v1/importer-grants", {"client": "", "team": UNKNOWN}, "client"),
    ("/v1/importer-grants", {"client": "a\u0000b", "team": UNKNOWN}, "client"),
    (f"/v1/people/{UNKNOWN}/roles", {"role": "no such role!"}, "role"),
    (f"/v1/people/{UNKNOWN}/roles", {"role": ""}, "role"),
    ("/v1/people", {"attributes": {"shoe_size": 43}}, "attributes.shoe_size"),
    ("/v1/people", {"attributes": {"country": 1.5}}, "attributes.country"),
    ("/v1/people", {"attributes": {"country": {"code": "DE"}}}, "attributes.country"),
    ("/v1/people", {"attributes": [["country", "DE"]]}, "attributes"),
    ("/v1/teams", {"name": "Atlas 2", "attributes": {"shoe_size": 43}}, "attributes.shoe_size"),
    ("/v1/projects", {"code": "X", "name": "X", "attributes": {"shoe_size": 43}}, "attributes.shoe_size"),
    ("/v1/groups", {"name": "Night Shift"}, "name"),
    ("/v1/groups", {"name": ""}, "name"),
    ("/v1/groups/night-shift/members", {"person": "ana"}, "person"),
    ("/v1/groups/Night%20Shift/members", {"person": UNKNOWN}, "path.name"),
    ("/v1/projects/ATLAS/leads", {"person": UNKNOWN, "valid_to": "tomorrow"}, "valid_to"),
    ("/v1/projects/-/leads", {"person": UNKNOWN}, "path.code"),
]


@pytest.mark.parametrize(("path", "body", "field"), DIRECTORY)
async def test_wrong_directory_data_are_named(callers: Callers, path: str, body: dict[str, Any], field: str) -> None:
    assert fields(await (await callers("adam")).post(path, body)) == [field]


@pytest.mark.parametrize("path", ["/v1/teams", "/v1/memberships", "/v1/importer-grants"])
async def test_an_unknown_team_or_person_is_not_found(callers: Callers, path: str) -> None:
    body: dict[str, dict[str, object]] = {
        "/v1/teams": {"name": "Lost", "parent": UNKNOWN},
        "/v1/memberships": {"person": UNKNOWN, "team": UNKNOWN, "part": "lead"},
        "/v1/importer-grants": {"client": "lost-job", "team": UNKNOWN},
    }
    answer = await (await callers("adam")).post(path, body[path])

    assert answer.status_code in {404, 409, 422}, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
