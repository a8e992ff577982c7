"""The device flow over HTTP: the endpoint for devices, and the pages for people (RFC 8628 sections 3.1 and 3.3).

Owns no state.
"""

from typing import Any
from urllib.parse import urlencode

from authlib.oauth2.rfc6749 import OAuth2Error
from litestar import Response, get, post

from service.development.authorization_server import html_answers
from service.development.authorization_server.authorize import HttpRequest, TheServer, TheSessions
from service.development.authorization_server.demands import Demand
from service.development.authorization_server.device_grant import VERIFICATION_PATH, DeviceRequest
from service.development.authorization_server.oauth_server import OAuthServer, Reply
from service.development.authorization_server.pages import device_done_page, error_page, user_code_page
from service.development.authorization_server.requests import form_pairs
from service.development.authorization_server.sessions import Sessions
from service.development.authorization_server.token_endpoint import protocol_request
from service.development.authorization_server.visit import Approval, Visit
from service.development.people import CLIENTS, scopes_of, sort_scopes

AUTHORIZATION_PATH = "/device_authorization"
DONE_PATH = f"{VERIFICATION_PATH}/done"


@post(AUTHORIZATION_PATH, status_code=200)
async def authorize_device(request: HttpRequest, server: TheServer) -> Response[Any]:
    """The codes for a device (section 3.2), or an error."""
    try:
        asked = protocol_request(AUTHORIZATION_PATH, await request.body(), request, server)
        reply: Reply = server.create_endpoint_response("device_authorization", asked)
    except OAuth2Error as error:
        reply = server.handle_error_response(None, error)
    return Response(reply.body, status_code=reply.status, headers=reply.headers)


@get(VERIFICATION_PATH)
async def show_device(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """Ask for the user code; with the code of a waiting device, show sign-in and consent."""
    typed = request.query_params.get("user_code", "")
    waiting = server.devices.find_by_user_code(typed)
    if waiting is not None:
        return _visit(waiting, request, server, sessions).show()
    problem = "No device waits with this code. Check it, or start again on the device." if typed else ""
    return html_answers.page(user_code_page(VERIFICATION_PATH, problem=problem), 404 if typed else 200)


@post(VERIFICATION_PATH, status_code=200)
async def answer_device(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """Handle the form of a page."""
    waiting = server.devices.find_by_user_code(request.query_params.get("user_code", ""))
    if waiting is None:
        return html_answers.page(user_code_page(VERIFICATION_PATH, problem="This device no longer waits."), 404)
    try:
        result = _visit(waiting, request, server, sessions).handle_form(form_pairs(await request.body()))
    except OAuth2Error as error:
        return html_answers.page(error_page(error.error, error.get_error_description()), 400)
    if isinstance(result, Response):
        return result
    _decide(waiting, result if isinstance(result, Approval) else None)
    return html_answers.redirect(DONE_PATH)


@get(DONE_PATH)
async def device_done() -> Response[str]:
    return html_answers.page(device_done_page())


def _decide(waiting: DeviceRequest, approval: Approval | None) -> None:
    """Record the decision. Granted are the requested scopes that the person ticked and may grant; none is a refusal."""
    waiting.decided = True
    if approval is None:
        return
    granted = frozenset(waiting.scope.split()) & approval.ticked & scopes_of(approval.sign_in.person)
    waiting.scope = " ".join(sort_scopes(granted))
    waiting.sign_in = approval.sign_in if granted else None


def _visit(waiting: DeviceRequest, request: HttpRequest, server: OAuthServer, sessions: Sessions) -> Visit:
    return Visit(
        issuer=server.issuer,
        sessions=sessions,
        browser=sessions.known_browser(request.cookies.get(html_answers.cookie_name(server.issuer), "")),
        action=f"{VERIFICATION_PATH}?{urlencode({'user_code': waiting.user_code})}",
        client=CLIENTS[waiting.client_id],
        scope=waiting.scope,
        demand=Demand(),
        user_code=waiting.user_code,
    )
