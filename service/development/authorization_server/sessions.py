"""The sign-ins of browsers, and the form tokens that bind a form to a browser.

Sessions are in memory, bounded, for eight hours, under a random cookie. A restart signs everybody out.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.development.authorization_server.expiring import ExpiringStore
from service.development.people import PEOPLE

if TYPE_CHECKING:
    from service.development.people import DemoPerson

# OpenID's name for a second factor, which Auth0 uses too.
ACR_MFA = "http://schemas.openid.net/pape/policies/2007/06/multi-factor"
_EIGHT_HOURS = 8 * 3600
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in: the person, the time in Unix seconds (`auth_time`), and how they authenticated (`amr`).

    `made_for`: the request that asked for the password, until it is decided.
    """

    person: DemoPerson
    auth_time: int
    methods: tuple[str, ...] = ("pwd",)
    made_for: str = ""

    @property
    def acr(self) -> str | None:
        """The token's `acr`; None for a password alone."""
        return ACR_MFA if "mfa" in self.methods else None


def check_password(login: str, password: str) -> SignIn | None:
    """A new sign-in if the password is right, else None. An unknown login takes as long as a wrong password."""
    person = PEOPLE.get(login.strip().lower())
    expected = person.password if person else secrets.token_hex(8)
    right = hmac.compare_digest(expected.encode(), password.encode())
    return SignIn(person, int(time.time())) if person and right else None


class Sessions:
    """Sign-ins by browser. A browser gets a cookie with the first page and another one when it signs in, so that a
    cookie that an attacker planted is useless.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._sign_ins: ExpiringStore[SignIn] = ExpiringStore(seconds=_EIGHT_HOURS, capacity=1000)

    def known_browser(self, cookie: str) -> str:
        """The cookie if it is well formed, else a new one."""
        return cookie if _COOKIE.fullmatch(cookie) else secrets.token_urlsafe(32)

    def sign_in(self, who: SignIn) -> str:
        """Store a sign-in under a new cookie and return the cookie."""
        browser = secrets.token_urlsafe(32)
        self._sign_ins.put(browser, who)
        return browser

    def find(self, browser: str) -> SignIn | None:
        return self._sign_ins.find(browser)

    def change(self, browser: str, who: SignIn) -> None:
        """Replace the sign-in of a browser."""
        if self.find(browser) is not None:
            self._sign_ins.put(browser, who)

    def sign_out(self, browser: str) -> None:
        self._sign_ins.take(browser)

    def form_token(self, browser: str, step: str, action: str) -> str:
        """The anti-forgery token of one form, valid only for this browser, step and request."""
        message = f"{browser}\n{step}\n{action}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()

    def is_form_token(self, token: str, browser: str, step: str, action: str) -> bool:
        expected = self.form_token(browser, step, action)
        return bool(browser) and hmac.compare_digest(expected.encode(), token.encode())
