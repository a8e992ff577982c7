"""Bounded words and lists of words out of verified claims: what the other claim readers are made of. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.issuer import ClaimPath

MAX_ITEMS = 100
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,255}")
_MAX_WORD = 255
# Control characters, line and paragraph separators, lone surrogates: nobody's name, and poison for logs and Postgres.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_word(value: object) -> bool:
    """A non-empty string of at most 255 characters without anything unprintable."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_WORD
        and not value.isspace()
        and not _UNPRINTABLE.search(value)
    )


def strings(
    claims: Mapping[str, Any],
    path: ClaimPath,
    cause: str,
    grammar: re.Pattern[str] | None = None,
    most: int = MAX_ITEMS,
) -> frozenset[str] | None:
    """The list of words at `path`, each of the grammar if there is one; None when it is absent.

    Raises InvalidToken with `cause` for anything else, also when the path leads through what is no object.
    """
    *parents, last = (path,) if isinstance(path, str) else path
    for name in parents:
        if name not in claims:
            return None
        claims = claims[name]
        if not isinstance(claims, dict):
            raise refusal(cause)
    if last not in claims:
        return None
    given = claims[last]
    if not isinstance(given, list) or len(given) > most:
        raise refusal(cause)
    if not all(is_word(one) and (grammar is None or grammar.fullmatch(one)) for one in given):
        raise refusal(cause)
    return frozenset(given)
