"""The errors of the client, one class for each kind of status. Pure.

A proxy may have answered instead of Timewarden, so every member of the document is checked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .shapes import Receipt

PROBLEM = "urn:timewarden:problem:"
# The slugs of a 503 that promise that nothing was changed. After `database-unavailable` a change may have been made,
# after `policy-unavailable` an activation, and after the 503 of a proxy any change.
UNCHANGED = frozenset(
    {
        "erasure-key-missing",
        "introspection-unavailable",
        "keys-unavailable",
        "log-unavailable",
        "not-sealed",
        "replay-store-unavailable",
        "try-later",
    }
)


class Problem(Exception):
    """An error response, from its problem document (RFC 9457). `slug` names the kind (docs/errors.md lists all),
    `fields` are pairs (field, message), `members` is the whole document."""

    def __init__(self, receipt: Receipt, members: Mapping[str, Any], challenge: str = "") -> None:
        self.receipt, self.members, self.challenge = receipt, members, challenge
        self.slug = _text(members.get("type"), "").removeprefix(PROBLEM)
        self.detail = _text(members.get("detail"), "no problem document")
        self.reasons = _texts(members.get("reasons"))
        self.rules = _texts(members.get("rules"))
        self.required_scope = _texts(members.get("required_scope"))
        fields = [item for item in _list(members.get("fields")) if isinstance(item, dict)]
        self.fields = [
            (str(item["field"]), str(item["message"])) for item in fields if {"field", "message"} <= item.keys()
        ]
        super().__init__(f"{receipt.status} {self.slug}: {self.detail}")

    @property
    def request_access(self) -> dict[str, str] | None:
        """The `relation` that an access request can ask for, with the `decision` to send unless this is a 404; None if
        none would help."""
        found = self.members.get("request_access")
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else None


class Unauthenticated(Problem):
    """401: the token was not accepted, and there is no other. With the slug `step-up-needed` the person must sign in
    again: at most `max_age` seconds ago, or in one of the ways `acr_values` (RFC 9470)."""

    @property
    def max_age(self) -> int | None:
        """Seconds, if a recent sign-in is required."""
        found = re.search(r'\bmax_age="?([0-9]{1,9})\b', self.challenge)
        return int(found[1]) if found else None

    @property
    def acr_values(self) -> list[str]:
        """The accepted ways of signing in, if a stronger one is required."""
        found = re.search(r'\bacr_values="([^"]*)"', self.challenge)
        return found[1].split() if found else []


class Denied(Problem):
    """403: `reasons` says why, `rules` which rules denied, `required_scope` which scope is missing."""


class NotFound(Problem):
    """404: it does not exist, or the caller may not see it."""


class Conflict(Problem):
    """409: not possible in this state, or another change came first."""


class Stale(Problem):
    """412: it has changed since it was read. Read it again."""


class Invalid(Problem):
    """422: `fields` names the invalid fields."""


class Busy(Problem):
    """429 and 503, after all attempts. `detail` says whether the last attempt may have changed anything. An earlier
    attempt may have, if the change has a key. Read the resource before you repeat a change."""


class TokenRefused(Exception):
    """The authorization server refused a token; `error` is its error code (RFC 6749 section 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        self.error = error
        super().__init__(f"{error}: {description}" if description else error)


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
    return [str(item) for item in _list(value)]


def _text(value: object, otherwise: str) -> str:
    return value if isinstance(value, str) else otherwise
