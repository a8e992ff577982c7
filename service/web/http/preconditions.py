"""ETags and If-Match (RFC 9110 section 13, RFC 6585): a caller changes or approves only a version that they read. Pure.

The version is checked after the decision, so that a 412 reveals nothing to a caller who is denied.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from litestar.openapi import spec

from service.errors import MalformedRequest, PreconditionFailed, PreconditionRequired
from service.web.http.request_headers import headers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.types import Scope

MERGE_PATCH = "application/merge-patch+json"
# RFC 9110 section 8.8.3: an entity tag, weak or strong.
_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e]*)"\s*')
SEPARATORS = ", \t"
MAX_IF_MATCH_CHARS = 512
# The same for the OpenAPI document (section 13.1.1). Our tags are versions, and a weak tag never matches.
_TAG_PATTERN = r'(W/)?"[\x21\x23-\x7e]*"'
IF_MATCH, IF_MATCH_EXACT = (
    spec.Parameter(
        name="If-Match",
        param_in="header",
        required=True,
        description=description,
        schema=spec.Schema(
            type=spec.OpenAPIType.STRING, pattern=pattern, max_length=MAX_IF_MATCH_CHARS, examples=['"7"']
        ),
    )
    for pattern, description in (
        (
            rf"^(\*|{_TAG_PATTERN}([ \t]*,[ \t]*{_TAG_PATTERN})*)$",
            "The ETag of the version that you have read, a list of them, or `*` for any version",
        ),
        (
            rf"^{_TAG_PATTERN}$",
            "The ETag of the version that you have read. `*` and a list are refused with 428",
        ),
    )
)
WEAK = "If-Match never matches a weak ETag; send the ETag without W/, which a proxy may have added"
NOT_EXACT = (
    "Send If-Match with exactly one ETag, that of the version that you have read; * and lists are not accepted here"
)


class VersionCheck(Protocol):
    """Checks the version of a resource. With a `row_id`, a tag that names a person or team must name this one."""

    def __call__(self, version: int | None, row_id: UUID | None = None, /) -> None: ...


def etag(version: int, *more: int) -> str:
    """The strong entity tag of a version. `more`: numbers of the answer that can change without a new version."""
    return f'"{"-".join(map(str, (version, *more)))}"' if more else f'"{version}"'


def referent(named: object, found: UUID) -> tuple[int, ...]:
    """The number for the ETag of a person or team that tells for whom or what the address stood; none for an address
    with the id. `me`, an e-mail address or a name can stand for another one later."""
    return () if isinstance(named, UUID) else (found.int,)


def read_if_match(scope: Scope, *, exact_version: bool = False) -> VersionCheck:
    """The version check of a request. `exact_version`: If-Match must hold exactly one tag."""
    values = [value.decode("latin-1") for value in headers_of(scope).get(b"if-match", ())]
    return parse_if_match(values, exactly_one=exact_version)


def parse_if_match(values: Sequence[str], *, exactly_one: bool = False) -> VersionCheck:
    """A function that checks a version against `values`, all If-Match headers of the request.

    Raises MalformedRequest if they are not a list of entity tags. The function raises PreconditionRequired if there is
    no tag, and PreconditionFailed if none matches. Comparison is strong (section 8.8.3.2): a weak tag never matches,
    and `*` matches any existing version. With `exactly_one`, `*` and a list are refused, because a person who approves
    a sheet has read one version of it.
    """
    text = ",".join(values).strip(SEPARATORS)
    if sum(map(len, values)) > MAX_IF_MATCH_CHARS:
        raise MalformedRequest("If-Match is too long")
    tags = None if text == "*" else _parse_tags(text)

    def check(version: int | None, row_id: UUID | None = None, /) -> None:
        if not text:
            raise PreconditionRequired
        if exactly_one and (tags is None or len(tags) > 1):
            raise PreconditionRequired(NOT_EXACT)
        known = {str(version)} if row_id is None else {str(version), f"{version}-{row_id.int}"}
        # Other numbers after the version matter to If-None-Match alone.
        given = tags and (tags if row_id is not None else {tag.partition("-")[0] for tag in tags})
        if version is None or (given is not None and known.isdisjoint(given)):
            raise PreconditionFailed(WEAK if given and not known.isdisjoint(map(_strong, given)) else None)

    return check


@lru_cache(maxsize=1_024)
def _parse_tags(text: str) -> frozenset[str]:
    """The tags of the list. A weak tag keeps its prefix, so it equals no version. Empty members are ignored (RFC 9110
    section 5.6.1)."""
    found: set[str] = set()
    rest = text.lstrip(SEPARATORS)
    while rest:
        match = _TAG.match(rest)
        if match is None or (rest[match.end() :] and rest[match.end()] != ","):
            raise MalformedRequest('If-Match must hold entity tags such as "7"')
        found.add((match[1] or "") + match[2])
        rest = rest[match.end() :].lstrip(SEPARATORS)
    return frozenset(found)


def _strong(tag: str) -> str:
    return tag.removeprefix("W/")
