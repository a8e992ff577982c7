"""The authorization endpoint: a request is checked, the person signs in, and says on the consent page what to grant.

Each step checks the whole request again from its query; only the sign-in is remembered, by Sessions.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.rfc6749 import OAuth2Error
from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.params import SkipValidation

from service.development.authorization_server.grants import Approval, CodeGrant
from service.development.authorization_server.oauth_server import OAuthServer, Reply
from service.development.authorization_server.pages import STYLE_HASH, consent_page, error_page, sign_in_page
from service.development.authorization_server.requests import ProtocolRequest, form_pairs, oauth_parameters
from service.development.authorization_server.sessions import Sessions, SignIn, check_password
from service.development.people import DemoClient, in_reading_order, scopes_of

PATH = "/authorize"

HttpRequest = Request[Any, Any, Any]
TheServer = NamedDependency[SkipValidation[OAuthServer]]
TheSessions = NamedDependency[SkipValidation[Sessions]]


@get(PATH)
async def show(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """The sign-in page, or the consent page for a browser in which somebody has signed in."""
    visit = _visit(request, server, sessions)
    if isinstance(visit, Response):
        return visit
    return visit.consent() if visit.sign_in else visit.ask_to_sign_in()


@post(PATH, status_code=200)
async def answer(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """What the person sent from one of the pages; without the form's own token it is nothing but an error."""
    visit = _visit(request, server, sessions)
    if isinstance(visit, Response):
        return visit
    try:
        pairs = form_pairs(await request.body())
    except OAuth2Error as error:
        return _error(error)
    form = dict(pairs)
    step = form.get("step", "")
    if not sessions.is_form_token(form.get("form_token", ""), visit.browser, step, visit.query):
        return _page(error_page("stale_form", "This form was not shown to this browser, or long ago."), 403)
    if step == "sign-in":
        return visit.try_password(form.get("login", ""), form.get("password", ""))
    if step == "switch" or visit.sign_in is None:
        sessions.sign_out(visit.browser)
        return visit.again(visit.browser)
    ticked = frozenset(value for name, value in pairs if name == "scope")
    return visit.decide(visit.sign_in, ticked if form.get("decision") == "allow" else None)


@dataclass(frozen=True, slots=True)
class _Visit:
    """One valid authorization request, in one browser."""

    server: OAuthServer
    sessions: Sessions
    request: ProtocolRequest
    grant: CodeGrant
    query: str
    browser: str
    sign_in: SignIn | None

    @property
    def client(self) -> DemoClient:
        demo: DemoClient = self.request.client.demo
        return demo

    def ask_to_sign_in(self, login: str = "", problem: str = "", status: int = 200) -> Response[str]:
        html = sign_in_page(self.client, self._action, self._token("sign-in"), login=login, problem=problem)
        return self._shown(html, status)

    def try_password(self, login: str, password: str) -> Response[str]:
        who = check_password(login, password)
        if who is None:
            return self.ask_to_sign_in(login, "This name and password do not belong together.", 403)
        self.sessions.sign_out(self.browser)
        return self.again(self.sessions.sign_in(who))

    def consent(self) -> Response[str]:
        who = self.sign_in
        if who is None:
            return self.ask_to_sign_in()
        asked = in_reading_order(self.request.scope.split())
        html = consent_page(
            self.client,
            who.person,
            asked=asked,
            allowed=scopes_of(who.person),
            action=self._action,
            tokens=(self._token("consent"), self._token("switch")),
            redirect_uri=self.grant.redirect_uri,
        )
        return self._shown(html)

    def decide(self, who: SignIn, ticked: frozenset[str] | None) -> Response[str]:
        """Back to the client: with a code, or with `access_denied` when nothing was granted."""
        approval = Approval(who, ticked) if ticked is not None else None
        reply: Reply = self.server.create_authorization_response(self.request, grant_user=approval, grant=self.grant)
        return _redirect(reply.location or "")

    def again(self, browser: str) -> Response[str]:
        """Back to the same request by GET, so that reloading the page does not send the form again."""
        return _redirect(self._action, self._cookie(browser))

    @property
    def _action(self) -> str:
        return f"{PATH}?{self.query}"

    def _token(self, step: str) -> str:
        return self.sessions.form_token(self.browser, step, self.query)

    def _cookie(self, browser: str) -> Cookie:
        return Cookie(key=_cookie_name(self.server), value=browser, path=PATH, httponly=True, samesite="lax")

    def _shown(self, html: str, status: int = 200) -> Response[str]:
        return _page(html, status, self._cookie(self.browser), _form_target(self.grant.redirect_uri))


def _visit(request: HttpRequest, server: OAuthServer, sessions: Sessions) -> _Visit | Response[str]:
    """The valid request, or the answer to an invalid one: an error page, or a redirect where the redirect URI is
    proven to be the client's (RFC 6749 section 4.1.2.1).
    """
    try:
        parameters = oauth_parameters(request.scope["query_string"])
        asked = ProtocolRequest("GET", server.endpoint(PATH), parameters, authorization=None)
        grant: CodeGrant = server.get_consent_grant(asked)
    except OAuth2Error as error:
        return _refuse(server, error)
    browser = sessions.known_browser(request.cookies.get(_cookie_name(server), ""))
    return _Visit(server, sessions, asked, grant, urlencode(parameters), browser, sessions.find(browser))


def _refuse(server: OAuthServer, error: OAuth2Error) -> Response[str]:
    if not error.redirect_uri:
        return _error(error)
    reply: Reply = server.handle_error_response(None, error)
    return _redirect(reply.location or "")


def _error(error: OAuth2Error) -> Response[str]:
    return _page(error_page(error.error, error.get_error_description()), 400)


def _cookie_name(server: OAuthServer) -> str:
    # Browsers share cookies between the ports of one host, and two clones may run side by side.
    return f"timewarden_sign_in_{urlsplit(server.issuer).port or 80}"


def _page(html: str, status: int, cookie: Cookie | None = None, form_target: str = "'self'") -> Response[str]:
    rules = (
        "default-src 'none'",
        f"style-src '{STYLE_HASH}'",
        f"form-action {form_target}",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
    headers = {"Content-Security-Policy": "; ".join(rules), **_PRIVATE}
    cookies = [cookie] if cookie else None
    return Response(html, status_code=status, media_type=MediaType.HTML, headers=headers, cookies=cookies)


def _redirect(location: str, cookie: Cookie | None = None) -> Response[str]:
    headers = {"Location": location, **_PRIVATE}
    cookies = [cookie] if cookie else None
    return Response("", status_code=303, media_type=MediaType.TEXT, headers=headers, cookies=cookies)


def _form_target(redirect_uri: str) -> str:
    """What a page's forms may lead to. Browsers apply `form-action` to the redirect after a form too, and the
    policy's grammar has no IPv6 addresses.
    """
    parts = urlsplit(redirect_uri)
    return f"'self' {parts.scheme}:" if "[" in parts.netloc else f"'self' {parts.scheme}://{parts.netloc}"


_PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
