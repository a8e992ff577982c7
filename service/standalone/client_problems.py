"""What Timewarden refuses, as errors, a class for each kind of status. Part of `client`, which offers all of it. Pure.

Whatever stood between may have answered, so that nothing in a document is believed to have its usual shape.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .client_shapes import Receipt

PROBLEM = "urn:timewarden:problem:"


class Problem(Exception):
    """An answer that is none, from its problem document (RFC 9457): `slug` names the kind, `fields` holds (field, what
    is wanted), `members` everything that was said. docs/errors.md has every slug."""

    def __init__(self, receipt: Receipt, members: Mapping[str, Any], challenge: str = "") -> None:
        self.receipt, self.members, self.challenge = receipt, members, challenge
        self.slug = _text(members.get("type"), "").removeprefix(PROBLEM)
        self.detail = _text(members.get("detail"), "no problem document")
        self.reasons = _texts(members.get("reasons"))
        self.rules = _texts(members.get("rules"))
        self.required_scope = _texts(members.get("required_scope"))
        told = [one for one in _list(members.get("fields")) if isinstance(one, dict)]
        self.fields = [(str(one["field"]), str(one["message"])) for one in told if {"field", "message"} <= one.keys()]
        super().__init__(f"{receipt.status} {self.slug}: {self.detail}")


class Unauthenticated(Problem):
    """401: the token is not accepted, and no other could be had. With the slug `step-up-needed` the person has to sign
    in again, no longer ago than `max_age` seconds or in one of the ways `acr_values` (RFC 9470)."""

    @property
    def max_age(self) -> int | None:
        """Seconds, if a recent sign-in is wanted."""
        found = re.search(r'\bmax_age="?([0-9]{1,9})\b', self.challenge)
        return int(found[1]) if found else None

    @property
    def acr_values(self) -> list[str]:
        """The ways of signing in that would do, if a stronger one is wanted."""
        found = re.search(r'\bacr_values="([^"]*)"', self.challenge)
        return found[1].split() if found else []


class Denied(Problem):
    """403: `reasons` says why, `rules` by which rule, `required_scope` what the token lacks."""


class NotFound(Problem):
    """404: there is no such thing, or it is not for you to know."""


class Conflict(Problem):
    """409: not in this state, or somebody was faster."""


class Stale(Problem):
    """412: it has changed since it was read. Read it again."""


class Invalid(Problem):
    """422: `fields` names what is wrong."""


class Busy(Problem):
    """429 and 503, after all attempts: nothing was changed."""


KINDS = {
    401: Unauthenticated,
    403: Denied,
    404: NotFound,
    409: Conflict,
    412: Stale,
    422: Invalid,
    429: Busy,
    503: Busy,
}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [str(one) for one in _list(value)]


def _text(value: object, otherwise: str) -> str:
    return value if isinstance(value, str) else otherwise
