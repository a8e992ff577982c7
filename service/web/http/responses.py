"""Responses: a body, the headers that prove its decision, and the field types that bodies share.

Pure: owns no state. Each field has its description and example beside it, as `msgspec.Meta`; the OpenAPI document is
generated from them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from litestar import Response
from msgspec import UNSET, Meta, UnsetType

from service.fields import MAX_TAG_CHARS, MAX_TAGS
from service.policy.known_words import ACTIONS, RECORDED_ACTIONS, STATES
from service.web.http.paging import NEXT_CURSOR
from service.web.http.preconditions import etag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.log.log import Receipt

T = TypeVar("T")


def enum(title: str, description: str, words: Iterable[str]) -> dict[str, Any]:
    """The JSON schema of a text that is one of these words, which the document shows as a type of its own."""
    return {"title": title, "$comment": description, "enum": sorted(words)}


UUID = {"format": "uuid"}
EXAMPLE_PERSON, EXAMPLE_ID = "0198c0de-0000-7000-8000-000000000001", "0198c0de-4f2a-7000-8000-00000000002a"
EXAMPLE_DECISION = "0198c0de-4f2b-7000-8000-00000000002c"
EXAMPLE_DIGEST = "1c9a6f0e2d4b8a7c5e3f1d0b9a8c7e6f5d4c3b2a190817263544536271809fae"

Id = Annotated[str, Meta(examples=[EXAMPLE_ID], extra_json_schema=UUID)]
PersonId = Annotated[Id, Meta(description="A person's id", examples=[EXAMPLE_PERSON])]
TeamId = Annotated[Id, Meta(description="A team's id", examples=["0198c0de-0000-7000-8000-000000000007"])]
SheetId = Annotated[Id, Meta(description="A timesheet's id")]
DecisionId = Annotated[Id, Meta(description="A recorded decision's id", examples=[EXAMPLE_DECISION])]
Hex = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", examples=[EXAMPLE_DIGEST])]
ClientId = Annotated[str, Meta(description="An OAuth client's id", examples=["hours-app"])]
RuleName = Annotated[str, Meta(description="The name of a rule of the policy", examples=["approve-team"])]
Time = Annotated[datetime, Meta(examples=["2026-11-23T09:00:00Z"])]
# A time that is formatted already.
TimeText = Annotated[str, Meta(examples=["2026-11-23T09:00:00Z"], extra_json_schema={"format": "date-time"})]
# The texts of an entry, in requests.
Note = Annotated[str, Meta(max_length=500)]
Activity = Annotated[str, Meta(max_length=20, examples=["design"])]
_Tag = Annotated[str, Meta(min_length=1, max_length=MAX_TAG_CHARS)]
Tags = Annotated[list[_Tag], Meta(max_length=MAX_TAGS, examples=[["on site"]])]
# The resource kinds, actions and states that the code knows; a policy may use fewer.
ResourceKind = Annotated[
    str, Meta(examples=["timesheet"], extra_json_schema=enum("ResourceKind", "A kind of resource", ACTIONS))
]
Action = Annotated[
    str, Meta(extra_json_schema=enum("Action", "What can be asked for", frozenset().union(*ACTIONS.values())))
]
RecordedAction = Annotated[
    str,
    Meta(
        extra_json_schema=enum(
            "RecordedAction", "An action as records name it", frozenset().union(*RECORDED_ACTIONS.values())
        )
    ),
]
ResourceState = Annotated[
    str,
    Meta(extra_json_schema=enum("ResourceState", "The state of a resource", frozenset().union(*STATES.values()))),
]
Names = Annotated[
    dict[str, str] | UnsetType,
    Meta(
        description="Only with `names=true`: names of people, teams and projects by id. A name that is unknown, or that"
        " you may not see, is missing",
        examples=[{EXAMPLE_PERSON: "Ana Lima", "ATLAS": "Atlas, the map"}],
    ),
]
NextCursor = Annotated[
    str | None,
    Meta(
        description="Send it as `cursor` to get the next page; null on the last page", examples=["bm90IGEgcmVhbCBvbmU"]
    ),
]


def names_body(names: Mapping[str, str] | None) -> dict[str, str] | UnsetType:
    """The member `names` of an answer; None: they were not asked for."""
    return UNSET if names is None else dict(names)


def make_response(
    body: T,
    receipt: Receipt,
    *,
    status: int = 200,
    version: int | None = None,
    unversioned: Sequence[int] = (),
    location: str | None = None,
) -> Response[T]:
    """A response with Decision-Id and Decision-Leaf, with ETag and Location if they are given. The ETag also covers the
    `unversioned` numbers of the body. For a body with a `next_cursor`, `RequestFrame` adds the link to the next
    page."""
    headers = {"Decision-Id": str(receipt.uid), "Decision-Leaf": receipt.leaf}
    if version is not None:
        headers["ETag"] = etag(version, *unversioned)
    if location is not None:
        headers["Location"] = location
    if (cursor := getattr(body, "next_cursor", None)) is not None:
        headers[NEXT_CURSOR] = cursor
    return Response(body, status_code=status, headers=headers)
