"""The routes that sign people in and out: /sign-in, /sign-in/callback, /sign-out, and the page for strangers at /."""

from datetime import UTC
from typing import Annotated, Any

from litestar import MediaType, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import QueryParameter, SkipValidation
from litestar.response import Redirect

from service.console.protection import HttpRequest, local_path, nonce_of
from service.console.rendering import render_template
from service.console.sessions import ATTEMPT_SECONDS
from service.console.sign_in_server import Demand, SignInFailed, SignInUnavailable
from service.console.visits import Console, SignInNeeded, TheResumedVisit, open_visit

TheConsole = NamedDependency[SkipValidation[Console]]
CALLBACK = "/sign-in/callback"
Short = Annotated[str | None, QueryParameter(max_length=500)]


@get("/")
async def show_start(request: HttpRequest, console: TheConsole) -> Response[Any]:
    """The first page that the person has a use for, or the page for strangers."""
    try:
        visit = await open_visit(console, request)
    except SignInNeeded:
        return _render(request, "welcome.html")
    for _, links in visit.navigation:
        return visit.redirect(links[0].path + (f"?{request.url.query}" if request.url.query else ""))
    return visit.render("nothing_to_do.html")


@get("/sign-in")
async def begin_sign_in(
    request: HttpRequest,
    console: TheConsole,
    acr_values: Short = None,
    max_age: Annotated[int | None, QueryParameter(ge=0, le=86_400 * 365)] = None,
    ended: Annotated[int, QueryParameter(ge=0, le=1)] = 0,
) -> Response[Any]:
    """Send the browser to the authorization server, or first say that its session has ended."""
    path = local_path(request.query_params.get("next"))
    if ended:
        return _render(request, "welcome.html", next_path=path)
    url, attempt = await console.server.begin(path, Demand(acr_values or None, max_age))
    cookie = console.attempts.add(request.cookies.get(console.attempt_cookie, ""), attempt)
    redirect = Redirect(url, status_code=303)
    redirect.set_cookie(_cookie(console, console.attempt_cookie, cookie, ATTEMPT_SECONDS))
    return redirect


@get(CALLBACK)
async def finish_sign_in(request: HttpRequest, console: TheConsole) -> Response[Any]:
    """Take the code, start a new session, and return to the page that was wanted."""
    query = request.query_params
    attempt = console.attempts.find(request.cookies.get(console.attempt_cookie, ""), query.get("state", ""))
    if attempt is None:
        raise SignInFailed("This sign-in was not begun in this browser, or more than ten minutes ago")
    grant = await console.server.finish(attempt, {name: str(value) for name, value in query.items()})
    session = await console.sessions.start(grant, attempt.demand)
    if former := request.cookies.get(console.cookie):
        old = await console.sessions.find(former)
        if old is not None:
            await console.end(old)
    redirect = Redirect(attempt.next_path, status_code=303)
    redirect.set_cookie(_cookie(console, console.cookie, session.id))
    redirect.set_cookie(_cookie(console, console.attempt_cookie, "", 0))
    return redirect


@post("/sign-out", status_code=303)
async def sign_out(resumed: TheResumedVisit) -> Response[Any]:
    """End the session here, revoke its tokens, and end the session at the authorization server. Also while the API does
    not answer, or refuses the person's token: nobody must stay signed in for that."""
    console, grant = resumed.console, await resumed.end()
    try:
        await console.server.revoke(grant)
        url = await console.server.end_session_url(grant, f"{console.url}/signed-out")
    except SignInUnavailable:
        url = None
    redirect = Redirect(url or "/signed-out", status_code=303)
    redirect.set_cookie(_cookie(console, console.cookie, "", 0))
    redirect.headers["Clear-Site-Data"] = '"cache", "storage"'
    return redirect


@get("/signed-out")
async def show_signed_out(request: HttpRequest) -> Response[str]:
    """Say that the person is signed out."""
    return _render(request, "signed_out.html")


@get("/health", media_type=MediaType.TEXT)
async def read_health(console: TheConsole) -> Response[str]:
    """200 when sessions can be read: for operators and load balancers."""
    await console.sessions.ping()
    return Response("ready\n", media_type=MediaType.TEXT)


def _render(request: HttpRequest, template: str, next_path: str | None = None) -> Response[str]:
    text = render_template(template, UTC, visit=None, nonce=nonce_of(request), notice="", next_path=next_path)
    return Response(text, media_type=MediaType.HTML)


def _cookie(console: Console, name: str, value: str, seconds: int | None = None) -> Cookie:
    """A cookie for this host alone, that scripts cannot read. Lax: it comes with links from elsewhere, and not with
    their forms."""
    return Cookie(name, value=value, max_age=seconds, path="/", httponly=True, secure=console.secure, samesite="lax")
