"""Answers a request that ended with an exception: by a page, for htmx by a fragment, or by a redirect to the sign-in.

Owns nothing.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog
from litestar import MediaType, Response
from litestar.exceptions import MethodNotAllowedException
from litestar.response import Redirect

from service.console.failures import FORGED, OLD_FORM, SESSION_ENDED, Failure, find_failure
from service.console.protection import SAFE_METHODS, TOKEN_FIELD, ForgedRequest, HttpRequest, local_path, nonce_of
from service.console.rendering import render_template, zone_of
from service.console.sign_in_server import Demand
from service.console.visits import ZONE_COOKIE, SignInNeeded, Visit, address_of, find_sent, is_form, is_part, visit_of
from service.standalone.client import Unauthenticated

_log = structlog.get_logger(__name__)
STEP_UP = "step-up-needed"


def answer_failure(request: HttpRequest, error: Exception) -> Response[Any]:
    """The answer to a request that ended with this exception."""
    visit = visit_of(request)
    sent = find_sent(request) if is_form(request) else []
    if isinstance(error, SignInNeeded):
        if error.ended and (_is_typed_around(request) or any(name != TOKEN_FIELD for name, _ in sent)):
            return _render(
                request, None, SESSION_ENDED, sent, sign_in=f"/sign-in?{urlencode({'next': _page_of(request)})}"
            )
        return _navigate(request, f"/sign-in?{urlencode({'next': _page_of(request), 'ended': int(error.ended)})}")
    if isinstance(error, Unauthenticated) and error.slug == STEP_UP and visit is not None:
        demand = Demand(" ".join(error.acr_values) or None, error.max_age)
        if demand != visit.session.demand or demand == Demand() or request.method not in SAFE_METHODS:
            path = step_up_path(_return_to(request, visit), demand)
            if _is_typed_around(request):
                return _render(request, visit, find_failure(error), sign_in=path)
            return _navigate(request, path)
    failure = find_failure(error)
    # Other sites cannot send this header, so the form is one of ours, and a person decides whether to send it again.
    same_site = request.headers.get("sec-fetch-site") == "same-origin"
    if isinstance(error, ForgedRequest) and same_site and sent and visit and _is_own_form(request, visit):
        failure = OLD_FORM
    if failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request_failed", path=request.url.path, status=failure.status, exc_info=error)
    allowed = _allowed_methods(error)
    # What htmx sends is still on its page, except that this page has an old token.
    again = failure.again and (failure is OLD_FORM or not is_part(request))
    # The answer to a forged form has no token of the session.
    answer = _render(request, None if failure is FORGED else visit, failure, sent if again else [])
    answer.headers |= {"Allow": allowed} if allowed else {}
    return answer


def _allowed_methods(error: Exception) -> str:
    """The methods of an address, for one that it has not; else empty. HEAD is answered wherever GET is."""
    if not isinstance(error, MethodNotAllowedException):
        return ""
    methods = {method for method in (error.headers or {}).get("allow", "").split(", ") if method}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def step_up_path(page: str, demand: Demand) -> str:
    """Where a person signs in to meet the demand, and then returns to the page."""
    asked = {"next": page, "acr_values": demand.acr_values, "max_age": demand.max_age}
    return f"/sign-in?{urlencode({name: value for name, value in asked.items() if value is not None})}"


def _render(
    request: HttpRequest,
    visit: Visit | None,
    failure: Failure,
    sent: list[tuple[str, str]] | None = None,
    sign_in: str = "",
) -> Response[str]:
    """The page; for htmx a fragment, unless the page holds the form that was `sent`. `sign_in`: where to sign in."""
    fragment = is_part(request) and not sent
    zone = zone_of(request.cookies.get(ZONE_COOKIE, ""))
    template = "failure_fragment.html" if fragment else "failure.html"
    text = render_template(
        template,
        zone,
        csrf=visit.session.csrf if visit else "",
        # Without the API there is a session, but no navigation.
        visit=visit if visit and visit.knows_person else None,
        nonce=nonce_of(request),
        notice="",
        failure=failure,
        has_session=visit is not None,
        sent=sent,
        sign_in=sign_in,
        path=address_of(request),
        # The address of a form need not be a page.
        page="" if request.method in SAFE_METHODS else _page_of(request),
    )
    # htmx puts a fragment into the page's place for problems, instead of the part that it was to replace.
    headers = (
        {"HX-Retarget": "#problems", "HX-Reswap": "innerHTML show:window:top", "HX-Push-Url": "false"}
        if fragment
        else {}
    )
    return Response(text, status_code=failure.status, media_type=MediaType.HTML, headers=headers)


def _navigate(request: HttpRequest, path: str) -> Response[Any]:
    """Send the whole page there, also when a part of it was asked for."""
    if is_part(request):
        return Response(b"", status_code=200, headers={"HX-Redirect": path})
    return Redirect(path, status_code=303)


def _is_own_form(request: HttpRequest, visit: Visit) -> bool:
    """Whether the form was opened in an earlier session of the same person."""
    return visit.session.is_of_person(str(request.state.sent.get(TOKEN_FIELD, "")))


def _is_typed_around(request: HttpRequest) -> bool:
    """Whether htmx asks for something beside a form that is being filled in, such as names to choose from: the page
    must not go away by itself."""
    asks = request.method not in SAFE_METHODS or "hx-trigger-name" in request.headers
    return is_part(request) and not is_form(request) and asks


def _return_to(request: HttpRequest, visit: Visit) -> str:
    """The page for after a step-up. After a form it shows what was sent, or asks to repeat it if that is not kept."""
    page = _page_of(request)
    if request.method in SAFE_METHODS:
        return page
    path, _, query = page.partition("?")
    more = {"kept": visit.kept.id} if visit.kept else {"done": "signed-in-again"}
    return f"{path}?{urlencode(more)}{'&' if query else ''}{query}"


def _page_of(request: HttpRequest) -> str:
    """The page that a browser shows: this request's, or for a form and for a part of a page, the page around it."""
    if request.method in SAFE_METHODS and not is_part(request):
        return address_of(request)
    around = urlsplit(request.headers.get("hx-current-url") or request.headers.get("referer") or "")
    return local_path(around.path + (f"?{around.query}" if around.query else ""))
