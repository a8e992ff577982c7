"""The WWW-Authenticate value of an error (RFC 6750 section 3, 9470, 9728 section 5.1). Pure: owns no state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from service.errors import InsufficientScope, InvalidToken, MalformedCredentials, StepUpNeeded, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.errors import TimewardenError

REALM = "timewarden"
# RFC 6750 section 3: what a description or a scope may hold; it leaves nothing to escape inside quotes.
_UNSAFE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


def challenge(error: TimewardenError, *, realm: str = REALM, resource_metadata: str | None = None) -> str | None:
    """The header's value for `error`; None for errors that no credentials would mend.

    `resource_metadata` is the URL of our protected-resource metadata. A missing token gets no error code (section 3.1).
    """
    described = [("error_description", error.public)]
    match error:
        case MalformedCredentials():
            return _bearer([("error", "invalid_request"), *described], realm, resource_metadata)
        case InvalidToken():
            return _bearer([("error", "invalid_token"), *described], realm, resource_metadata)
        case StepUpNeeded():
            needs = [
                ("acr_values", error.acr_values),
                ("max_age", None if error.max_age is None else str(error.max_age)),
            ]
            return _bearer(
                [("error", "insufficient_user_authentication"), *described, *needs], realm, resource_metadata
            )
        case InsufficientScope():
            scopes = [("scope", " ".join(error.scopes))]
            return _bearer([("error", "insufficient_scope"), *described, *scopes], realm, resource_metadata)
        case Unauthenticated():
            return _bearer([], realm, resource_metadata)
        case _:
            return None


def _bearer(parameters: Iterable[tuple[str, str | None]], realm: str, resource_metadata: str | None) -> str:
    given = [("realm", realm), *parameters, ("resource_metadata", resource_metadata)]
    return "Bearer " + ", ".join(f'{name}="{_UNSAFE.sub("", value)}"' for name, value in given if value is not None)
