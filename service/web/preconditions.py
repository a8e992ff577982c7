"""ETags and If-Match (RFC 9110 section 13, RFC 6585): nobody changes or approves what they have not seen. Pure.

The version is judged after the decision, so that nobody learns anything from a 412.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

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
NAME_IT = "Send If-Match with the ETag of the version that you have seen: for this step, * names none"


def etag(version: int) -> str:
    """The strong entity tag of a version."""
    return f'"{version}"'


def expected(request: Request[Any, Any, Any], *, judging: bool = False) -> Expect:
    """What judges the version that the request names. `judging`: it says which one was seen."""
    return if_match(request.headers.getall("if-match", []), unseen=not judging)


def if_match(values: Sequence[str], *, unseen: bool = True) -> Callable[[int | None], None]:
    """What judges a version: given every If-Match header of the request. Raises MalformedRequest when they are no list
    of entity tags; what it returns raises PreconditionRequired without any, PreconditionFailed when none fits.

    Comparison is strong (section 8.8.3.2): a weak tag never matches. `*` matches whatever exists; not `unseen`, it
    counts as none, since whoever judges a thing says what they saw.
    """
    text = ",".join(values).strip(BETWEEN)
    if sum(map(len, values)) > LONGEST:
        raise MalformedRequest("If-Match is too long")
    tags = None if text == "*" else _tags(text)

    def judge(version: int | None) -> None:
        if not text:
            raise PreconditionRequired
        if tags is None and not unseen:
            raise PreconditionRequired(NAME_IT)
        if version is None or (tags is not None and str(version) not in tags):
            raise PreconditionFailed

    return judge


def _tags(text: str) -> frozenset[str]:
    """Empty members of the list are none (RFC 9110 section 5.6.1)."""
    found: set[str] = set()
    rest = text.lstrip(BETWEEN)
    while rest:
        match = _TAG.match(rest)
        if match is None or (rest[match.end() :] and rest[match.end()] != ","):
            raise MalformedRequest('If-Match must hold entity tags such as "7"')
        if match.group(1) is None:
            found.add(match.group(2))
        rest = rest[match.end() :].lstrip(BETWEEN)
    return frozenset(found)
