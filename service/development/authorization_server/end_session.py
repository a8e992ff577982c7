"""The end of a browser's session, at the request of an app (OpenID Connect RP-Initiated Logout). Owns no state."""

from typing import Any
from urllib.parse import parse_qsl, urlencode

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from litestar import Response, get

from service.development.authorization_server import html_answers
from service.development.authorization_server.authorize import HttpRequest, TheServer, TheSessions
from service.development.authorization_server.identity_tokens import ALGORITHM
from service.development.authorization_server.pages import error_page
from service.development.authorization_server.signing_keys import SigningKeys

PATH = "/end-session"


@get(PATH)
async def end_session(request: HttpRequest, server: TheServer, sessions: TheSessions) -> Response[str]:
    """Sign the browser out and return to the app that asked for it (OpenID Connect RP-Initiated Logout). The app proves
    by its ID token that it signed this person in; without it the session goes on."""
    asked = dict(parse_qsl(request.url.query, max_num_fields=10))
    browser = sessions.known_browser(request.cookies.get(html_answers.cookie_name(server.issuer), ""))
    who, target = sessions.find(browser), asked.get("post_logout_redirect_uri", "")
    claims = _read_hint(asked.get("id_token_hint", ""), server.keys)
    client = server.query_client(str(claims.get("aud")))
    if client is None or (who is not None and claims.get("sub") != who.person.subject):
        return html_answers.page(error_page("invalid_request", "The app did not prove that it signed you in."), 400)
    if not client.check_post_logout_uri(target):
        return html_answers.page(error_page("invalid_request", "The app may not send you there afterwards."), 400)
    sessions.sign_out(browser)
    state = {"state": asked["state"]} if "state" in asked else {}
    return html_answers.redirect(f"{target}?{urlencode(state)}" if state else target)


def _read_hint(token: str, keys: SigningKeys) -> dict[str, Any]:
    """The claims of an ID token of ours, also of an expired one; empty without one."""
    try:
        return dict(jwt.decode(token, KeySet.import_key_set(keys.public_jwks()), algorithms=[ALGORITHM]).claims)  # type: ignore[arg-type]
    except (JoseError, ValueError):
        return {}
