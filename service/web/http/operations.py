"""Describes an operation for the OpenAPI document: its scope, its problems, its conditions. Pure.

Litestar builds every operation and passes it to the class that the handler names. Our class adds what Litestar cannot
know. Only files have their examples here; other examples stand at the fields of the body types.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from litestar.di import Provide
from litestar.openapi import spec

from service.web.http.parameters import provide_caller_and_names
from service.web.http.preconditions import IF_MATCH, IF_MATCH_EXACT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    # An example for each media type.
    Files = Mapping[str, str]

SECURITY_SCHEME: Final = "oauth"
ETAG, LOCATION, REQUEST = "ETag", "Location", "X-Request-Id"
DECISION: Final = ("Decision-Id", "Decision-Leaf")
COMMON: Final = (400, 401, 403, 422, 429, 431, 503)
ROW: Final = (*COMMON, 404)
BODY: Final = (408, 413, 415)
CHANGE: Final = (*ROW, 409, 412, 428)
BINARY: Final = frozenset({"application/octet-stream", "application/vnd.apache.parquet"})
NO_FILES: Final[Files] = MappingProxyType({})
# Every scope and what it allows. A test compares this with the policy's vocabulary.
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
    scope: str | tuple[str, ...] | None,
    problems: tuple[int, ...] = COMMON,
    tag: str,
    conditional: bool = False,
    exact_version: bool = False,
    etag: bool = False,
    location: bool = False,
    files: Files = NO_FILES,
    more: tuple[str, ...] = (),
    bodies: Files = NO_FILES,
    optional_body: bool = False,
    names: bool = False,
) -> dict[str, Any]:
    """Keyword arguments for a route handler.

    `scope`: the scope that the token needs, or several of which one is enough. `problems`: the statuses of its problem
    answers. `conditional`: it needs If-Match and answers with an ETag; with `exact_version` If-Match must hold one
    ETag. `etag`: a read or a creation that answers with an ETag. `location`: a creation that answers with the address
    of its result. `files` and `bodies`: media types of answers and of request bodies that are files, each with an
    example. `more`: further headers of a success. `optional_body`: the request may have no body. `names`: a change that
    takes `names=true`; its answer then has those of `Answer.names`.
    """
    scopes = (scope,) if isinstance(scope, str) else scope or ()
    needs = f"Needs the scope {' or '.join(f'`{name}`' for name in scopes)}." if scopes else "Needs any valid token."
    parameters = [IF_MATCH_EXACT if exact_version else IF_MATCH] if conditional else []
    headers = (*((ETAG,) if conditional or etag else ()), *((LOCATION,) if location else ()), *DECISION, *more)
    return {
        "summary": summary,
        "description": f"{summary}. {needs} The policy decides each request; the decision log explains the decision.",
        "tags": [tag],
        "responses": {},
        "security": [{SECURITY_SCHEME: [name]} for name in scopes] or [{SECURITY_SCHEME: []}],
        **({"dependencies": {"caller": Provide(provide_caller_and_names)}} if names else {}),
        "operation_class": _make_operation_class(
            problems, headers, files, bodies, parameters, optional_body=optional_body
        ),
    }


def public_operation(
    summary: str, *, tag: str, problems: Iterable[int] = (), files: Files = NO_FILES
) -> dict[str, Any]:
    """Keyword arguments for a handler that answers without a token and without a decision."""
    return {
        "summary": summary,
        "description": f"{summary}. Public: needs no token.",
        "tags": [tag],
        "responses": {},
        "operation_class": _make_operation_class((400, 422, 431, *problems), (), files, NO_FILES, []),
    }


def _make_operation_class(
    problems: Iterable[int],
    headers: Sequence[str],
    files: Files,
    bodies: Files,
    parameters: Sequence[spec.Parameter],
    *,
    optional_body: bool = False,
) -> type[spec.Operation]:
    """The class of an operation with further `parameters`, whose successful answers have these headers."""

    # Only its `__init__`, which calls `__post_init__`: the others are never used and slow to make.
    @dataclass(eq=False, repr=False, match_args=False)
    class Completed(spec.Operation):
        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or []), *parameters] or None
            if isinstance(self.request_body, spec.RequestBody):
                self.request_body.content |= _describe_files(bodies)
                self.request_body.required = not optional_body
            answers = self.responses or {}
            # We do not use Litestar's own 400.
            answers.pop("400", None)
            for code, answer in answers.items():
                if isinstance(answer, spec.OpenAPIResponse):
                    _complete_answer(answer, int(code), headers, files)
            for status in map(str, sorted(problems)):
                answers.setdefault(status, spec.Reference(ref=f"#/components/responses/Problem{status}"))
            self.responses = answers

    return Completed


def _complete_answer(answer: spec.OpenAPIResponse, status: int, names: Sequence[str], files: Files) -> None:
    """Add headers and files to a successful answer. A 204 has no content, so it has no version either."""
    if answer.description == HTTPStatus(status).description:
        answer.description = HTTPStatus(status).phrase
    if status == HTTPStatus.NO_CONTENT:
        answer.content = None
        names = [name for name in names if name != ETAG]
    if files:
        answer.content = {**(answer.content or {}), **_describe_files(files)}
    named = {name: spec.Reference(ref=f"#/components/headers/{name}") for name in (*names, REQUEST)}
    answer.headers = {**(answer.headers or {}), **named}


def _describe_files(examples: Files) -> dict[str, spec.OpenAPIMediaType]:
    text, octets = (
        spec.Schema(type=spec.OpenAPIType.STRING, format=form) for form in (None, spec.OpenAPIFormat.BINARY)
    )
    return {
        kind: spec.OpenAPIMediaType(octets if kind in BINARY else text, examples={"file": spec.Example(value=example)})
        for kind, example in examples.items()
    }
