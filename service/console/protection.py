"""Protects every request and every response of the console against other sites and against injections.

A change is refused unless it comes from a page of this console: the browser says that it is the same origin, and the
form contains the token of the session, which no other site can read.
"""

import secrets
from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import PermissionDeniedException
from litestar.types import Message, Scope

from service.console.sessions import ConsoleSession

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TOKEN_FIELD, TOKEN_HEADER = "csrf_token", "x-csrf-token"
MAX_PATH = 2_000
# In the scope of a request for the headers alone, which is answered like a GET.
HEAD_MARK = "console.head"
SELF = "'self'"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}

HttpRequest = Request[Any, Any, Any]


class ForgedRequest(PermissionDeniedException):
    """A change that no page of this console asked for."""


def refuse_other_origins(request: HttpRequest, origin: str) -> None:
    """Raise ForgedRequest for a change that comes from another site, by what browsers say of themselves."""
    if request.method in SAFE_METHODS:
        return
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise ForgedRequest
    if request.headers.get("origin", origin) != origin:
        raise ForgedRequest


async def check_form_token(request: HttpRequest, session: ConsoleSession) -> None:
    """Raise ForgedRequest for a change without the token of the session."""
    if request.method in SAFE_METHODS:
        return
    given = request.headers.get(TOKEN_HEADER)
    if given is None:
        given = (await request.form()).get(TOKEN_FIELD)
    if not isinstance(given, str) or not secrets.compare_digest(given.encode(), session.csrf.encode()):
        raise ForgedRequest


def is_head(request: HttpRequest) -> bool:
    """Whether only the headers of the answer are sent."""
    return HEAD_MARK in request.scope


def local_path(given: str | None) -> str:
    """The path of this console that was given, to go to afterwards; `/` for everything else."""
    if not given or len(given) > MAX_PATH or not given.startswith("/") or given.startswith(("//", "/\\")):
        return "/"
    if any(character <= " " or character in "\\\x7f" for character in given) or not given.isascii():
        return "/"
    try:
        parts = urlsplit(given)
    except ValueError:
        return "/"
    return given if not parts.scheme and not parts.netloc and not parts.fragment else "/"


def nonce_of(request: HttpRequest) -> str:
    """The nonce of this response, for style elements that a script makes."""
    if "nonce" not in request.state:
        request.state.nonce = secrets.token_urlsafe(16)
    return str(request.state.nonce)


def set_security_headers(message: Message, scope: Scope, *, secure: bool, form_targets: tuple[str, ...]) -> None:
    """Set the headers of a response that is about to be sent. `form_targets`: other origins to which the answer to a
    form may lead."""
    if message["type"] != "http.response.start":
        return
    policy = (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self';"
        f" style-src 'self' 'nonce-{nonce_of(Request(scope))}'; base-uri 'none'; frame-ancestors 'none';"
        f" form-action {' '.join((SELF, *form_targets))}"
    )
    headers = MutableScopeHeaders.from_message(message)
    headers["Content-Security-Policy"] = policy
    for name, value in HEADERS.items():
        headers[name] = value
    if secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    headers.setdefault("Cache-Control", "no-store")
