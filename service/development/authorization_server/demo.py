"""The demo page over HTTP: forges tokens, reads tokens, changes signing keys. Owns no state.

Forging needs no sign-in: the passwords are public already, and the server answers on loopback alone, to its own name.
"""

import json
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Error
from joserfc import jws
from joserfc.errors import JoseError
from litestar import Response, get, post

from service.development.authorization_server import html_answers
from service.development.authorization_server.authorize import HttpRequest, TheServer, TheSessions
from service.development.authorization_server.demo_pages import demo_page, forged_token, read_token
from service.development.authorization_server.forging import FAULTS, FORGED_ALGORITHMS, TYPES, Wish, forged
from service.development.authorization_server.oauth_server import OAuthServer
from service.development.authorization_server.requests import form_pairs
from service.development.authorization_server.sessions import Sessions
from service.development.people import CLIENTS, PEOPLE
from service.errors import Conflict

PATH = "/demo"
_LONGEST_LIFE = 10 * 365 * 86_400


@get(PATH)
async def show_demo(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """The page."""
    return _page(request, server, sessions)


@post(f"{PATH}/forge", status_code=200)
async def forge(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[Any]:
    """A token as wished: on the page, or as JSON to those who accept that."""
    try:
        wish = _wish(dict(form_pairs(await request.body())))
    except OAuth2Error as error:
        return _page(request, server, sessions, problem=error.get_error_description(), status=400)
    token = forged(wish, server.issuer, server.audience, server.keys.signing_key)
    if request.headers.get("accept") == "application/json":
        return Response({"access_token": token}, headers={"Cache-Control": "no-store"})
    return _page(request, server, sessions, content=forged_token(token))


@post(f"{PATH}/read", status_code=200)
async def read(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """What a token says, and whether we made it."""
    try:
        token = "".join(dict(form_pairs(await request.body())).get("token", "").split())
    except OAuth2Error as error:
        return _page(request, server, sessions, problem=error.get_error_description(), status=400)
    content = read_token(*_parts(token, server), _verdict(token, server))
    return _page(request, server, sessions, content=content)


@post(f"{PATH}/keys", status_code=200)
async def change_keys(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """New signing keys; only from our own page."""
    try:
        form = dict(form_pairs(await request.body()))
    except OAuth2Error as error:
        return _page(request, server, sessions, problem=error.get_error_description(), status=400)
    if not sessions.is_form_token(form.get("form_token", ""), _browser(request, server, sessions), "keys", PATH):
        return _page(request, server, sessions, problem="This form was not shown to this browser.", status=403)
    try:
        if form.get("when") == "now":
            server.keys.rotate(0)
        else:
            server.keys.rotate()
    except Conflict as error:
        return _page(request, server, sessions, problem=str(error), status=409)
    return html_answers.redirect(PATH)


def _wish(form: dict[str, str]) -> Wish:
    """Raises InvalidRequestError, whose sentence names the field."""
    _one_of(form, "who", PEOPLE, "")
    _one_of(form, "client_id", CLIENTS)
    _one_of(form, "typ", TYPES, "")
    _one_of(form, "algorithm", FORGED_ALGORITHMS, "")
    _one_of(form, "fault", FAULTS, "")
    return Wish(
        client_id=form["client_id"],
        who=form.get("who", ""),
        scope=" ".join(form.get("scope", "").split()),
        lifetime=_number(form, "lifetime", 3600),
        typ=form.get("typ", "at+jwt"),
        algorithm=form.get("algorithm", "RS256"),
        fault=form.get("fault", ""),
        second_factor=bool(form.get("second_factor")),
        sign_in_age=_number(form, "sign_in_age", 0),
    )


def _one_of(form: dict[str, str], name: str, known: Any, default: str | None = None) -> None:
    if form.get(name, default) != default and form[name] not in known:
        raise InvalidRequestError(f"The field {name} must be one of the page's choices")
    if default is None and name not in form:
        raise InvalidRequestError(f"The field {name} is missing")


def _number(form: dict[str, str], name: str, default: int) -> int:
    try:
        number = int(form.get(name) or default)
    except ValueError:
        number = _LONGEST_LIFE + 1
    if abs(number) > _LONGEST_LIFE:
        raise InvalidRequestError(f"The field {name} must be a number of seconds, at most ten years")
    return number


def _parts(token: str, server: OAuthServer) -> tuple[str, str]:
    """Header and claims, to read."""
    kept = server.issued.access(token)
    try:
        read = jws.extract_compact(token.encode())
        return json.dumps(read.headers(), indent=2), json.dumps(json.loads(read.payload), indent=2)
    except (JoseError, ValueError, TypeError, AttributeError):
        if kept is None:
            return "No JWT", ""
        return "An opaque token", json.dumps(dict(kept.claims), indent=2)


def _verdict(token: str, server: OAuthServer) -> str:
    if server.issued.access(token):
        return "We issued it, and it holds."
    try:
        key = server.keys.public_key(str(jws.extract_compact(token.encode()).headers().get("kid")))
        if key is not None:
            jws.deserialize_compact(token, key, algorithms=list(FORGED_ALGORITHMS))
            return (
                "The signature is ours, but we do not remember it: forged, revoked, expired, or from before a restart."
            )
    except (JoseError, ValueError, TypeError, AttributeError):
        pass
    return "We know nothing of it, and its signature is not ours."


def _page(
    request: HttpRequest,
    server: OAuthServer,
    sessions: Sessions,
    *,
    content: str = "",
    problem: str = "",
    status: int = 200,
) -> Response[str]:
    browser = _browser(request, server, sessions)
    html = demo_page(server.keys.plan(), sessions.form_token(browser, "keys", PATH), content=content, problem=problem)
    return html_answers.page(html, status, html_answers.browser_cookie(server.issuer, browser))


def _browser(request: HttpRequest, server: OAuthServer, sessions: Sessions) -> str:
    return sessions.known_browser(request.cookies.get(html_answers.cookie_name(server.issuer), ""))
