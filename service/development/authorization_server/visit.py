"""The pages that one person sees in one browser: password, second factor if demanded, consent.

Each step checks everything again; Sessions stores only the sign-in. The authorization endpoint and the device page both
use it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.development.authorization_server import html_answers
from service.development.authorization_server.pages import consent_page, error_page, second_factor_page, sign_in_page
from service.development.authorization_server.second_factor import demo_code, is_demo_code
from service.development.authorization_server.sessions import check_password
from service.development.people import grantable_scopes, sort_scopes

if TYPE_CHECKING:
    from litestar import Response
    from litestar.datastructures import Cookie

    from service.development.authorization_server.demands import Demand
    from service.development.authorization_server.requests import Parameters
    from service.development.authorization_server.sessions import Sessions, SignIn
    from service.development.people import DemoClient


@dataclass(frozen=True, slots=True)
class Approval:
    """The consent of a person: the scopes that they ticked."""

    sign_in: SignIn
    ticked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The person refused on the consent page."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A valid request in a browser. `action`: where its forms are sent; it identifies the request. `redirect_uri`:
    where the browser goes afterwards, empty if a device waits with `user_code`.
    """

    issuer: str
    sessions: Sessions
    browser: str
    action: str
    client: DemoClient
    scope: str
    demand: Demand
    redirect_uri: str = ""
    user_code: str = ""

    def show(self) -> Response[str]:
        """The next page for this person."""
        who = self._who
        step = self.demand.next_step(who, self.action)
        if who is None or step == "password":
            return self._ask_to_sign_in(who.person.login if who else "")
        return self._ask_second_factor(who) if step else self._ask_consent(who)

    def handle_form(self, pairs: Parameters) -> Approval | Refusal | Response[str]:
        """Handle the form of a page. Returns the person's decision, or the next page."""
        form = dict(pairs)
        step = form.get("step", "")
        if not self.sessions.is_form_token(form.get("form_token", ""), self.browser, step, self.action):
            html = error_page("stale_form", "This form was not shown to this browser, or is too old.")
            return html_answers.page(html, 403)
        if step == "sign-in":
            return self._try_password(form.get("login", ""), form.get("password", ""))
        if step == "switch":
            self.sessions.sign_out(self.browser)
            return self._reload(self.browser)
        if step == "second-factor":
            return self._try_second_factor(form.get("second_factor", ""))
        return self._decide(form.get("decision", ""), frozenset(value for name, value in pairs if name == "scope"))

    def _decide(self, decision: str, ticked: frozenset[str]) -> Approval | Refusal | Response[str]:
        who = self._who
        if who is None or self.demand.next_step(who, self.action):
            return self._reload(self.browser)
        # The sign-in was made for this request, which ends here.
        self.sessions.change(self.browser, replace(who, made_for=""))
        return Approval(who, ticked) if decision == "allow" else Refusal()

    @property
    def _who(self) -> SignIn | None:
        return self.sessions.find(self.browser)

    def _ask_to_sign_in(self, login: str = "", problem: str = "", status: int = 200) -> Response[str]:
        html = sign_in_page(self.client, self.action, self._token("sign-in"), login=login, problem=problem)
        return self._show_page(html, status)

    def _try_password(self, login: str, password: str) -> Response[str]:
        who = check_password(login, password)
        if who is None:
            return self._ask_to_sign_in(login, "Wrong name or password.", 403)
        self.sessions.sign_out(self.browser)
        return self._reload(self.sessions.sign_in(replace(who, made_for=self.action)))

    def _ask_second_factor(self, who: SignIn, problem: str = "", status: int = 200) -> Response[str]:
        code = demo_code(who.person.login)
        html = second_factor_page(who.person, self.action, self._token("second-factor"), code, problem=problem)
        return self._show_page(html, status)

    def _try_second_factor(self, code: str) -> Response[str]:
        who = self._who
        if who is None:
            return self._reload(self.browser)
        if not is_demo_code(who.person.login, code):
            return self._ask_second_factor(who, "Wrong code.", 403)
        self.sessions.sign_out(self.browser)
        # `auth_time` stays that of the password: a second factor does not make an old sign-in new.
        return self._reload(self.sessions.sign_in(replace(who, methods=("pwd", "mfa"))))

    def _ask_consent(self, who: SignIn) -> Response[str]:
        html = consent_page(
            self.client,
            who.person,
            asked=sort_scopes(self.scope.split()),
            allowed=grantable_scopes(who.person),
            action=self.action,
            tokens=(self._token("consent"), self._token("switch")),
            redirect_uri=self.redirect_uri,
            user_code=self.user_code,
        )
        return self._show_page(html)

    def _reload(self, browser: str) -> Response[str]:
        return html_answers.redirect(self.action, html_answers.browser_cookie(self.issuer, browser))

    def _token(self, step: str) -> str:
        return self.sessions.form_token(self.browser, step, self.action)

    def _show_page(self, html: str, status: int = 200) -> Response[str]:
        cookie: Cookie = html_answers.browser_cookie(self.issuer, self.browser)
        target = html_answers.form_target(self.redirect_uri) if self.redirect_uri else "'self'"
        return html_answers.page(html, status, cookie, target)
