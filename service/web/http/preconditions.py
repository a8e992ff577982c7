"""ETags and If-Match (RFC 9110 section 13, RFC 6585): nobody changes or approves what they have not seen. Pure.

The version is judged after the decision, so that nobody learns anything from a 412.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from litestar.openapi import spec

from service.errors import MalformedRequest, PreconditionFailed, PreconditionRequired

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from litestar import Request

    Expect = Callable[[int | None], None]

MERGE_PATCH = "application/merge-patch+json"
# RFC 9110 section 8.8.3: an entity tag, weak or strong.
_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e]*)"\s*')
BETWEEN = ", \t"
LONGEST = 512
# The same for the OpenAPI document (section 13.1.1). Ours are versions, and a weak one never matches.
_ONE = r'(W/)?"[\x21\x23-\x7e]*"'
IF_MATCH, IF_SEEN = (
    spec.Parameter(
        name="If-Match",
        param_in="header",
        required=True,
        description=says,
        schema=spec.Schema(type=spec.OpenAPIType.STRING, pattern=pattern, max_length=LONGEST, examples=['"7"']),
    )
    for pattern, says in (
        (
            rf"^(\*|{_ONE}([ \t]*,[ \t]*{_ONE})*)$",
            "The ETag of the version that you have seen, one of several, or `*` for whatever exists",
        ),
        (
            rf"^{_ONE}$",
            "The ETag of the one version that you have seen. `*` and a list are answered as if it were missing",
        ),
    )
)
ONE_VERSION = "Send If-Match with one ETag, that of the version that you saw: this step takes neither * nor a list"


def etag(version: int) -> str:
    """The strong entity tag of a version."""
    return f'"{version}"'


def read_if_match(request: Request[Any, Any, Any], *, exact_version: bool = False) -> Expect:
    """The check of the version that the request names. `exact_version`: the request must name exactly one version."""
    return parse_if_match(request.headers.getall("if-match", []), exactly_one=exact_version)


def parse_if_match(values: Sequence[str], *, exactly_one: bool = False) -> Callable[[int | None], None]:
    """The check of a version against `values`, every If-Match header of the request. Raises MalformedRequest unless
    they are a list of entity tags. The check raises PreconditionRequired without any tag, PreconditionFailed when none
    fits.

    Comparison is strong (section 8.8.3.2): a weak tag never matches. `*` matches whatever exists. With `exactly_one`,
    `*` and a list of several tags are refused: a person who approves a sheet has seen one version of it.
    """
    text = ",".join(values).strip(BETWEEN)
    if sum(map(len, values)) > LONGEST:
        raise MalformedRequest("If-Match is too long")
    tags = None if text == "*" else _tags(text)

    def judge(version: int | None) -> None:
        if not text:
            raise PreconditionRequired
        if exactly_one and (tags is None or len(tags) > 1):
            raise PreconditionRequired(ONE_VERSION)
        if version is None or (tags is not None and str(version) not in tags):
            raise PreconditionFailed

    return judge


def _tags(text: str) -> frozenset[str]:
    """The tags of the list, a weak one with its prefix, so that it equals no version. Empty members count for nothing
    (RFC 9110 section 5.6.1)."""
    found: set[str] = set()
    rest = text.lstrip(BETWEEN)
    while rest:
        match = _TAG.match(rest)
        if match is None or (rest[match.end() :] and rest[match.end()] != ","):
            raise MalformedRequest('If-Match must hold entity tags such as "7"')
        found.add(match.group(2) if match.group(1) is None else match.group().strip())
        rest = rest[match.end() :].lstrip(BETWEEN)
    return frozenset(found)
