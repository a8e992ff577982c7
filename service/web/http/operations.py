"""What route authors say of an operation for the OpenAPI document: its scope, its problems, its conditions. Pure.

An example of a body is not said here: it is put together from the `msgspec.Meta(examples=[...])` of the body's fields.
"""

from __future__ import annotations

from typing import Any, Final

from litestar.openapi.datastructures import ResponseSpec

from service.web.http.documented_operations import documented
from service.web.http.problem_documents import PROBLEM_JSON, Problem, sentence_of

SECURITY_SCHEME: Final = "oauth"
COMMON: Final = (400, 401, 403, 422, 429, 431, 503)
ROW: Final = (*COMMON, 404)
BODY: Final = (408, 413, 415)
CHANGE: Final = (*ROW, 409, 412, 428)
# Every scope and what it lets a token do; the policy's vocabulary says the same, and a test holds the two together.
SCOPES: Final = {
    "read:timesheets": "read timesheets",
    "create:timesheets": "write, submit and withdraw timesheets",
    "delete:timesheets": "delete timesheets",
    "approve:timesheets": "approve, reject, reopen, lock and unlock timesheets",
    "batch:upload": "import hours in batches",
    "read:audit": "read the decision log",
    "read:policies": "read policy versions",
    "write:policies": "propose and activate policy versions",
    "manage:directory": "change people, teams, memberships and grants",
    "manage:tokens": "revoke access tokens",
}


def operation(
    summary: str,
    *,
    scope: str | None,
    problems: tuple[int, ...] = COMMON,
    tag: str,
    conditional: bool = False,
    judging: bool = False,
    etag: bool = False,
    location: bool = False,
) -> dict[str, Any]:
    """Keyword arguments for a handler: summary, scope, the problems that it may answer with, and whether it is
    `conditional`, that is, needs If-Match and answers with an ETag; for a `judging` one `*` will not do. `etag` alone
    is for a read or a creation that answers with the ETag which later changes need, `location` for a creation that says
    where its result is."""
    needs = f"Needs the scope `{scope}`." if scope else "Any valid token will do."
    return {
        "summary": summary,
        "description": f"{summary}. {needs} What the policy allows beyond that, the decision log explains.",
        "security": [{SECURITY_SCHEME: [scope] if scope else []}],
        "responses": {status: problem(status) for status in sorted(set(problems))},
        "tags": [tag],
        "operation_class": documented(
            decided=True, conditional=conditional, judging=judging, etag=conditional or etag, location=location
        ),
    }


def public_operation(summary: str, *, tag: str, problems: tuple[int, ...] = ()) -> dict[str, Any]:
    """Keyword arguments for a handler that answers without a token and without a decision."""
    return {
        "summary": summary,
        "description": f"{summary}. Public: needs no token.",
        "responses": {status: problem(status) for status in sorted({422, 431, *problems})},
        "tags": [tag],
        "operation_class": documented(decided=False, conditional=False, etag=False, location=False),
    }


def problem(status: int) -> ResponseSpec:
    """The answer for a status; the document itself refers to the one description of it."""
    return ResponseSpec(
        data_container=Problem,
        description=sentence_of(status),
        media_type=PROBLEM_JSON,
        generate_examples=False,
    )
