"""Walks the sign-in pages as a person with a browser would: fills and sends each form until the app, or an end, is
reached. Owns no state; the connection and the account are handed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx

from service.development.authorization_server.forms import Form, Page, read_page
from service.development.authorization_server.second_factor import demo_code
from service.errors import TimewardenError

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_PAGES = 10

Values = dict[str, str | list[str]]


class SignInRefused(TimewardenError):
    """The authorization server gave no token. `error` is its OAuth error code, or `sign_in_failed`."""

    slug = "sign-in-refused"
    summary = "The authorization server gave no token"

    def __init__(self, error: str, description: str = "") -> None:
        super().__init__(f"No token: {description or error}", extra={"error": error})
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True)
class Account:
    """Who signs in, and which boxes stay ticked on the consent page; None means all that are offered."""

    login: str
    password: str = field(repr=False)
    ticked: frozenset[str] | None = None

    @classmethod
    def of(cls, login: str, password: str, granted: Iterable[str] | None) -> Account:
        return cls(login, password, None if granted is None else frozenset(granted))


async def walk(http: httpx.AsyncClient, first: httpx.URL, account: Account, back: str) -> str:
    """From page to page until the browser is sent to `back`, an app's or the last page's address, without its query:
    the whole address, which is not opened. Raises SignInRefused.
    """
    answer = await http.get(first)
    for _ in range(_MAX_PAGES):
        if answer.has_redirect_location:
            location = str(answer.url.join(answer.headers["location"]))
            if location.partition("?")[0] == back:
                return location
            answer = await http.get(location)
            continue
        page = read_page(answer.text)
        if answer.status_code != httpx.codes.OK:
            raise SignInRefused("sign_in_failed", page.alert or f"The page answered {answer.status_code}")
        form, values = _fill(page, account)
        answer = await http.post(answer.url.join(form.action), data=values)
    raise SignInRefused("sign_in_failed", "The pages lead in a circle")


def code_in(location: str, state: str, issuer: str) -> str:
    """The code that the app was sent. Raises SignInRefused for an error, or another request's or server's answer."""
    given = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
    if given.get("state") != state or given.get("iss") != issuer:
        raise SignInRefused("sign_in_failed", "The answer does not belong to this request")  # RFC 6749 10.12, RFC 9207
    if "code" not in given:
        raise SignInRefused(given.get("error", "sign_in_failed"), given.get("error_description", ""))
    return given["code"]


def _fill(page: Page, account: Account) -> tuple[Form, Values]:
    for form in page.forms:
        values: Values = {one.name: one.value for one in form.fields if one.kind == "hidden"}
        if form.has("password"):
            return form, values | {"login": account.login, "password": account.password}
        if form.values("second_factor"):
            return form, values | {"second_factor": demo_code(account.login)}
        if "deny" in form.values("decision"):
            boxes = [one.value for one in form.fields if one.kind == "checkbox" and one.name == "scope"]
            chosen = [scope for scope in boxes if account.ticked is None or scope in account.ticked]
            return form, values | {"scope": chosen, "decision": "allow" if chosen else "deny"}
    raise SignInRefused("sign_in_failed", page.alert or "The server showed a page without a form to fill")
