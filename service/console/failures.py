"""Exceptions as words: what a page says of each, and what the person can do. Pure.

`failure_answers` makes the page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2
from litestar.exceptions import HTTPException, ValidationException
from redis.exceptions import RedisClusterException, RedisError

from service.console.protection import ForgedRequest
from service.console.sign_in_server import SignInFailed, SignInUnavailable
from service.standalone.client import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Failure:
    """The words for an error. `slug` and `decision` are those of a problem of the API."""

    status: int
    title: str
    detail: str
    reasons: Sequence[str] = ()
    slug: str = ""
    decision: str | None = None
    again: bool = False
    fields: Sequence[tuple[str, str]] = field(default=())
    # The fields by the labels of the forms, with what is wrong.
    complaints: Sequence[tuple[str, str]] = field(default=())
    # The relation to ask for, if access for a time would help, and the refusal that the request is after.
    requestable: Mapping[str, str] | None = None


TITLES = {
    401: "Sign in again",
    403: "You may not do this",
    404: "Not found",
    409: "That is not possible now",
    412: "It has changed meanwhile",
    422: "Something is not right yet",
    429: "Too many requests",
    503: "Not available at the moment",
}
# What a page says instead of the API's words for programs: of a kind of problem, a field, and a field's message.
SENTENCES = {"precondition-failed": "It was changed after you opened this page. Open it again, and look at it first."}
LABELS = {
    "delegate": "Delegate",
    "delegator": "In the place of",
    "display_name": "Name",
    "email": "E-mail address",
    "query.cursor": "This page of the list",
    "query.owner": "Owner of the timesheet",
    "query.since": "From",
    "query.until": "To",
    "query.week": "Its week",
    "valid_from": "From",
    "valid_to": "Until",
}
MESSAGES = {
    "is not a cursor of this list with these filters": "is not there any more: open the list again",
    "must be an RFC 3339 time with an offset, such as 2026-11-23T09:00:00Z": (
        "write the day as year, month and day, for example 2026-03-02"
    ),
    "must be in the past unless until is given": "must be in the past, unless you choose To as well",
    "must be at most 92 days before until": "must be at most 92 days before To",
    "must be later than since": "must not be before From",
    "must be after valid_from": "must not be before From",
    "must not be the delegator": "must not be the person in whose place they approve",
}
NOT_FOUND = Failure(404, "No such page", "Check the address, or go to the first page.")
NO_SUCH_METHOD = Failure(405, NOT_FOUND.title, NOT_FOUND.detail)
TOO_LARGE = Failure(
    413, "That is too large", "The console takes 4 MB at once. Import a larger file in parts, or through the API."
)
FORGED = Failure(
    403, "This form is too old", "It was not sent from a page of your session. Open the page again, and repeat it."
)
OLD_FORM = Failure(
    403,
    "This form is too old",
    "You opened it before you signed in again. If it is still what you want, send it again.",
    again=True,
)
SESSION_ENDED = Failure(
    401,
    "Your session has ended",
    "Sign in again in a new window, then come back to this page.",
    again=True,
)
NO_SESSIONS = Failure(
    503,
    "You are signed out for the moment",
    "The store of sessions (Redis) does not answer, so the console does not know who you are. Your timesheets are safe."
    " When it answers again you are signed in again, or asked to sign in.",
    again=True,
)
NO_API = Failure(
    503,
    "The API does not answer",
    "The console works, but Timewarden's API does not answer. If you changed something, look whether it was saved"
    " before you repeat it.",
    again=True,
)
BROKEN = Failure(
    500, "Something went wrong", "That is our fault. The operator finds it in the console's log.", again=True
)


def describe_problem(problem: Problem) -> Failure:
    """The words for a problem of the API."""
    status = problem.receipt.status
    detail = problem.detail if problem.slug else f"The API answered with the status {status}"
    detail = SENTENCES.get(problem.slug, detail)
    complaints = [(_label_of(name), MESSAGES.get(message, message)) for name, message in problem.fields]
    for (name, message), (label, text) in zip(problem.fields, complaints, strict=True):
        detail = detail.replace(f"{name}: {message}", f"{label}: {text}", 1)
    reasons = [reason for reason in problem.reasons if reason != detail]
    return Failure(
        status,
        TITLES.get(status, "The API refused this"),
        detail,
        reasons,
        problem.slug,
        problem.receipt.decision or _text(problem.members.get("decision_id")),
        again=status in (429, 503),
        fields=problem.fields,
        complaints=complaints,
        requestable=problem.request_access,
    )


def describe_refusal(problem: Problem) -> Failure:
    """The words for a problem, to show in the page that the person is on. Raises a problem that another sign-in would
    solve: `failure_answers` sends the person there."""
    if problem.receipt.status < HTTPStatus.FORBIDDEN:
        raise problem
    return describe_problem(problem)


def find_failure(error: Exception) -> Failure:
    """The words for an exception."""
    match error:
        case Problem():
            found = describe_problem(error)
        case ForgedRequest():
            found = FORGED
        case SignInFailed():
            found = Failure(403, "You are not signed in", f"{error}.")
        case SignInUnavailable():
            found = Failure(503, "You cannot sign in at the moment", f"{error}.", again=True)
        # A number that is out of bounds, such as that of version 0, is in an address that leads nowhere.
        case HTTPException(status_code=HTTPStatus.NOT_FOUND | HTTPStatus.METHOD_NOT_ALLOWED) | ValidationException():
            found = NO_SUCH_METHOD if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else NOT_FOUND
        case HTTPException(status_code=HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
            found = TOO_LARGE
        case HTTPException():
            status = HTTPStatus(error.status_code)
            found = Failure(status, status.phrase, "The request was not as expected.")
        case httpx2.TransportError():
            found = NO_API
        case RedisError() | RedisClusterException() | OSError():
            found = NO_SESSIONS
        case _:
            found = BROKEN
    return found


def _label_of(name: str) -> str:
    """The label that a form has for a field of the API. Filters have their names as labels, or nearly so."""
    words = name.removeprefix("query.")
    return LABELS.get(name) or (name if words == name else words.replace("_", " ").capitalize())


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
