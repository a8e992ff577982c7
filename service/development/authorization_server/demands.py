"""The demands of an authorization request on the sign-in: a second factor, a maximum age, a new sign-in (RFC 9470
section 4, OpenID Connect Core section 3.1.2.1). Pure.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Error

from service.development.authorization_server.sessions import ACR_MFA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.development.authorization_server.sessions import SignIn

_PROMPTS = {"login", "consent", "select_account", "none"}


class UnmetAuthentication(OAuth2Error):  # type: ignore[misc]  # Authlib ships no types
    """RFC 9470 section 4: this server supports none of the `acr_values`."""

    error = "unmet_authentication_requirements"
    description = "None of the acr_values is supported"


class InteractionRequired(OAuth2Error):  # type: ignore[misc]  # Authlib ships no types
    """OpenID Connect Core section 3.1.2.6, for `prompt=none`: the consent page is always shown."""

    error = "interaction_required"
    description = "The consent page is always shown"


@dataclass(frozen=True, slots=True)
class Demand:
    """`max_age` in seconds; `anew`: even a recent sign-in is not enough."""

    second_factor: bool = False
    max_age: int | None = None
    anew: bool = False

    def next_step(self, sign_in: SignIn | None, request: str) -> str:
        """The next step of the sign-in: `password`, `second-factor`, or empty if none is needed.

        A sign-in that was made for this request is recent enough.
        """
        if sign_in is None:
            return "password"
        if sign_in.made_for != request:
            too_old = self.max_age is not None and time.time() - sign_in.auth_time > self.max_age
            if self.anew or too_old:
                return "password"
        return "second-factor" if self.second_factor and "mfa" not in sign_in.methods else ""


def read_demand(asked: Mapping[str, str]) -> Demand:
    """Read the demand from the parameters of a request. Raises OAuth2Error for unsupported values."""
    prompts = set(asked.get("prompt", "").split())
    if not prompts <= _PROMPTS or ("none" in prompts and len(prompts) > 1):
        raise InvalidRequestError("The prompt must be login, consent or select_account, or only none")
    if "none" in prompts:
        raise InteractionRequired
    levels = asked.get("acr_values", "").split()
    if levels and ACR_MFA not in levels:
        raise UnmetAuthentication
    age = asked.get("max_age")
    if age is not None and not (age.isascii() and age.isdigit() and len(age) < 10):  # noqa: PLR2004  # seconds
        raise InvalidRequestError("The max_age must be a number of seconds")
    anew = bool(prompts & {"login", "select_account"})
    return Demand(second_factor=bool(levels), max_age=None if age is None else int(age), anew=anew)
