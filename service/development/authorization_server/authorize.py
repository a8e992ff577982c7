"""The authorization endpoint (RFC 6749 section 3.1): checks a request, shows the person the pages, and redirects the
browser to the app. Owns no state: each step checks the whole request again from its query.
"""

from typing import Any
from urllib.parse import urlencode

from authlib.oauth2.rfc6749 import OAuth2Error
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from service.development.authorization_server import html_answers
from service.development.authorization_server.demands import read_demand
from service.development.authorization_server.grants import CodeGrant
from service.development.authorization_server.oauth_server import OAuthServer, Reply
from service.development.authorization_server.pages import error_page
from service.development.authorization_server.requests import ProtocolRequest, form_pairs, oauth_parameters
from service.development.authorization_server.sessions import Sessions
from service.development.authorization_server.visit import Approval, Visit

PATH = "/authorize"

HttpRequest = Request[Any, Any, Any]
TheServer = NamedDependency[SkipValidation[OAuthServer]]
TheSessions = NamedDependency[SkipValidation[Sessions]]


@get(PATH)
async def show(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """The next page for the person: sign in, second factor, or consent."""
    try:
        return _visit(*_check(request, server), request, server, sessions).show()
    except OAuth2Error as error:
        return _refuse(server, error)


@post(PATH, status_code=200)
async def answer(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """Handle the form of a page. A form without a valid form token is an error."""
    try:
        asked, grant = _check(request, server)
        visit = _visit(asked, grant, request, server, sessions)
    except OAuth2Error as error:
        return _refuse(server, error)
    try:
        result = visit.handle_form(form_pairs(await request.body()))
    except OAuth2Error as error:
        return _error(error)
    if isinstance(result, Response):
        return result
    approval = result if isinstance(result, Approval) else None
    reply: Reply = server.create_authorization_response(asked, grant_user=approval, grant=grant)
    return html_answers.redirect(reply.location or "")


def _check(request: HttpRequest, server: OAuthServer) -> tuple[ProtocolRequest, CodeGrant]:
    """The valid request. Raises OAuth2Error, with a `redirect_uri` only if it is known to be the client's."""
    asked = ProtocolRequest("GET", server.endpoint(PATH), oauth_parameters(request.scope["query_string"]), None)
    grant: CodeGrant = server.get_consent_grant(asked)
    return asked, grant


def _visit(
    asked: ProtocolRequest, grant: CodeGrant, request: HttpRequest, server: OAuthServer, sessions: Sessions
) -> Visit:
    try:
        demand = read_demand(asked.args)
    except OAuth2Error as error:
        error.redirect_uri, error.state = grant.redirect_uri, asked.payload.state
        raise
    return Visit(
        issuer=server.issuer,
        sessions=sessions,
        browser=sessions.known_browser(request.cookies.get(html_answers.cookie_name(server.issuer), "")),
        action=f"{PATH}?{urlencode(asked.pairs)}",
        client=asked.client.demo,
        scope=asked.scope,
        demand=demand,
        redirect_uri=grant.redirect_uri,
    )


def _refuse(server: OAuthServer, error: OAuth2Error) -> Response[str]:
    """An error page, or a redirect if the redirect URI can be trusted (RFC 6749 section 4.1.2.1)."""
    if not error.redirect_uri:
        return _error(error)
    reply: Reply = server.handle_error_response(None, error)
    return html_answers.redirect(reply.location or "")


def _error(error: OAuth2Error) -> Response[str]:
    return html_answers.page(error_page(error.error, error.get_error_description()), 400)
