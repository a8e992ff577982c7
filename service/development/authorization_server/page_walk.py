"""Walks the sign-in pages as a person with a browser would: reads each page's forms, fills them and sends them.

Owns no state; the connection and the account are parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx2

from service.development.authorization_server.second_factor import demo_code
from service.errors import TimewardenError

if TYPE_CHECKING:
    from collections.abc import Iterable


Attributes = list[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Field:
    """A named input or submit button."""

    name: str
    value: str
    kind: str


@dataclass(slots=True)
class Form:
    """A form and its fields, in the order of the page."""

    action: str
    fields: list[Field] = field(default_factory=list)

    def has(self, kind: str) -> bool:
        return any(field.kind == kind for field in self.fields)

    def values(self, name: str) -> list[str]:
        return [field.value for field in self.fields if field.name == name]


@dataclass(slots=True)
class Page:
    """The forms of a page, and the text of its alerts."""

    forms: list[Form] = field(default_factory=list)
    alert: str = ""


def read_page(html: str) -> Page:
    """Read the forms, fields and alerts of a page; the rest is ignored."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    reader.page.alert = " ".join(reader.page.alert.split())
    return reader.page


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self._form: Form | None = None
        self._alert_tag: str | None = None

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        given = {name: value or "" for name, value in attrs}
        if given.get("role") == "alert":
            self._alert_tag = tag
        if tag == "form":
            self._form = Form(given.get("action", ""))
            self.page.forms.append(self._form)
        elif tag in ("input", "button") and self._form is not None and given.get("name") and "disabled" not in given:
            kind = given.get("type", "text" if tag == "input" else "submit").lower()
            self._form.fields.append(Field(given["name"], given.get("value", "on" if kind == "checkbox" else ""), kind))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        if tag == self._alert_tag:
            self._alert_tag = None

    def handle_data(self, data: str) -> None:
        if self._alert_tag is not None:
            self.page.alert += f" {data}"


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
    """The account to sign in with, and the boxes to leave ticked on the consent page; None: all of them."""

    login: str
    password: str = field(repr=False)
    ticked: frozenset[str] | None = None

    @classmethod
    def of(cls, login: str, password: str, granted: Iterable[str] | None) -> Account:
        return cls(login, password, None if granted is None else frozenset(granted))


async def walk(http: httpx2.AsyncClient, first: httpx2.URL, account: Account, back: str) -> str:
    """Walk from page to page until the browser is redirected to `back`, an address without its query. Returns the whole
    address and does not open it. Raises SignInRefused.
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
        if answer.status_code != httpx2.codes.OK:
            raise SignInRefused("sign_in_failed", page.alert or f"The page answered {answer.status_code}")
        form, values = _fill(page, account)
        answer = await http.post(answer.url.join(form.action), data=values)
    raise SignInRefused("sign_in_failed", "The pages do not end")


def read_code(location: str, state: str, issuer: str) -> str:
    """The code in the redirect. Raises SignInRefused for an error, or for the answer of another request or server."""
    given = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
    if given.get("state") != state or given.get("iss") != issuer:
        raise SignInRefused("sign_in_failed", "The answer does not belong to this request")  # RFC 6749 10.12, RFC 9207
    if "code" not in given:
        raise SignInRefused(given.get("error", "sign_in_failed"), given.get("error_description", ""))
    return given["code"]


def _fill(page: Page, account: Account) -> tuple[Form, Values]:
    for form in page.forms:
        values: Values = {hidden.name: hidden.value for hidden in form.fields if hidden.kind == "hidden"}
        if form.has("password"):
            return form, values | {"login": account.login, "password": account.password}
        if form.values("second_factor"):
            return form, values | {"second_factor": demo_code(account.login)}
        if "deny" in form.values("decision"):
            boxes = [box.value for box in form.fields if box.kind == "checkbox" and box.name == "scope"]
            chosen = [scope for scope in boxes if account.ticked is None or scope in account.ticked]
            return form, values | {"scope": chosen, "decision": "allow" if chosen else "deny"}
    raise SignInRefused("sign_in_failed", page.alert or "The server showed a page without a form to fill")
