"""The demo page: reads tokens and rotates the signing keys. Owns no state.

All outside text on the page passes through `escape`.
"""

import json
from collections.abc import Sequence
from html import escape

from authlib.oauth2.rfc6749 import OAuth2Error
from joserfc import jws
from joserfc.errors import JoseError
from litestar import Response, get, post

from service.development.authorization_server import html_answers
from service.development.authorization_server.authorize import HttpRequest, TheServer, TheSessions
from service.development.authorization_server.oauth_server import OAuthServer
from service.development.authorization_server.pages import alert, page
from service.development.authorization_server.requests import form_pairs
from service.development.authorization_server.sessions import Sessions
from service.development.authorization_server.signing_keys import ALGORITHMS
from service.errors import Conflict

PATH = "/demo"


@get(PATH)
async def show_demo(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """The page."""
    return _answer(request, server, sessions)


@post(f"{PATH}/read", status_code=200)
async def read(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """Show the content of a token, and whether this server issued it."""
    try:
        token = "".join(dict(form_pairs(await request.body())).get("token", "").split())
    except OAuth2Error as error:
        return _answer(request, server, sessions, problem=error.get_error_description(), status=400)
    content = describe_token(*_decode(token, server), _verdict(token, server))
    return _answer(request, server, sessions, content=content)


@post(f"{PATH}/keys", status_code=200)
async def change_keys(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """Make new signing keys. Accepts only the form of this page."""
    try:
        form = dict(form_pairs(await request.body()))
    except OAuth2Error as error:
        return _answer(request, server, sessions, problem=error.get_error_description(), status=400)
    if not sessions.is_form_token(form.get("form_token", ""), _browser(request, server, sessions), "keys", PATH):
        return _answer(request, server, sessions, problem="This form was not shown to this browser.", status=403)
    try:
        if form.get("when") == "now":
            server.keys.rotate(0)
        else:
            server.keys.rotate()
    except Conflict as error:
        return _answer(request, server, sessions, problem=str(error), status=409)
    return html_answers.redirect(PATH)


def _decode(token: str, server: OAuthServer) -> tuple[str, str]:
    """The header and the claims, to show."""
    kept = server.issued.access(token)
    try:
        read = jws.extract_compact(token.encode())
        return json.dumps(read.headers(), indent=2), json.dumps(json.loads(read.payload), indent=2)
    except (JoseError, ValueError, TypeError, AttributeError):
        if kept is None:
            return "Not a JWT", ""
        return "An opaque token", json.dumps(dict(kept.claims), indent=2)


def _verdict(token: str, server: OAuthServer) -> str:
    if server.issued.access(token):
        return "This server issued it, and it is valid."
    try:
        key = server.keys.public_key(str(jws.extract_compact(token.encode()).headers().get("kid")))
        if key is not None:
            jws.deserialize_compact(token, key, algorithms=list(ALGORITHMS))
            return "The signature is ours, but the token is unknown: revoked, expired, or from before a restart."
    except (JoseError, ValueError, TypeError, AttributeError):
        pass
    return "The token is unknown, and its signature is not ours."


def _answer(
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


def demo_page(keys: Sequence[tuple[str, str, str]], form_token: str, *, content: str = "", problem: str = "") -> str:
    """The whole page. `content` is the answer to the last form."""
    rows = "".join(
        f"<li><code>{escape(kid)}</code> {escape(algorithm)}, {escape(state)}</li>" for kid, algorithm, state in keys
    )
    return page(
        "Demo tokens",
        f"""{alert(problem)}
{content}
<h2>Read a token</h2>
<form method="post" action="/demo/read">
<label for="token">Access token</label>
<textarea id="token" name="token" rows="5" spellcheck="false" required></textarea>
<button type="submit">Read it</button>
</form>
<h2>Signing keys</h2>
<ul>{rows}</ul>
<form method="post" action="/demo/keys">
<input type="hidden" name="form_token" value="{escape(form_token)}">
<button type="submit" name="when" value="soon">New keys: publish now, sign in five minutes</button>
<button type="submit" name="when" value="now">New keys: publish and sign at once</button>
</form>
<p><small>The old keys stay published until the tokens that they signed have expired.</small></p>""",
    )


def describe_token(header: str, claims: str, verdict: str) -> str:
    """The part of the page about a token."""
    return f"<h2>This token</h2><p>{escape(verdict)}</p><pre>{escape(header)}</pre><pre>{escape(claims)}</pre>"
