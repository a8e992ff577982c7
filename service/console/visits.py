"""A signed-in person on a page: their session, the API with their token, and how a page is rendered for them.

Handlers get a Visit by asking for `visit: TheVisit`. Owns, for ME_SECONDS in memory, what each person may do.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar
from urllib.parse import urlencode

import httpx2
from litestar import MediaType, Response
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Redirect
from redis.exceptions import RedisError

from service.console.protection import (
    SAFE_METHODS,
    TOKEN_FIELD,
    HttpRequest,
    check_form_token,
    local_path,
    nonce_of,
)
from service.console.rendering import render_template, zone_of
from service.console.sign_in_server import SignInUnavailable
from service.standalone.client import ApiResult, Me, Problem, Timesheet, Timewarden, TokenRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import tzinfo

    from service.console.rooms import NavigationLink, Room
    from service.console.sessions import AttemptCookies, ConsoleSession, KeptForm, SessionStore
    from service.console.sign_in_server import Grant, SignInServer
    from service.standalone.client import Delegation, Membership, Role

ME_SECONDS: Final = 30.0
MAX_REMEMBERED: Final = 10_000
RENEW_EARLY_SECONDS: Final = 60.0
MAX_ITEMS_PER_REQUEST: Final = 200
AVAILABLE: Final = frozenset({"always", "depends", "needs-sign-in"})
ZONE_COOKIE: Final = "timewarden-zone"
DONE_ANYWHERE: Final = {
    "signed-in-again": "You have signed in again. Now repeat what you wanted to do.",
    "signed-in": "You are signed in.",
}


T = TypeVar("T")


class ListPage(ApiResult, Generic[T]):
    """A page of a list of the API, and the cursor of the next."""

    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ListPart(Generic[T]):
    """The part of a list that a page shows. `first` and `following` are the addresses of the page with the first part
    and with the next; None where there is no other."""

    items: list[T]
    first: str | None
    following: str | None

    @property
    def whole(self) -> bool:
        """Whether the page shows the whole list."""
        return self.first is None and self.following is None


class SignInNeeded(Exception):
    """There is no session. `ended`: the browser had one."""

    def __init__(self, *, ended: bool) -> None:
        super().__init__()
        self.ended = ended


@dataclass(slots=True)
class Console:
    """The parts that every request uses. `url`: where browsers reach the console; `api`: where it calls the API."""

    url: str
    api: str
    http: httpx2.AsyncClient
    server: SignInServer
    sessions: SessionStore
    attempts: AttemptCookies
    rooms: Sequence[Room] = ()
    known: OrderedDict[str, tuple[float, Me]] = field(default_factory=OrderedDict)

    @property
    def secure(self) -> bool:
        """Whether browsers reach it over https."""
        return self.url.startswith("https://")

    @property
    def cookie(self) -> str:
        """The name of the session's cookie. Browsers accept the prefix only over https and for this host alone."""
        return "__Host-timewarden-console" if self.secure else f"timewarden-console-{self.url.rpartition(':')[2]}"

    @property
    def attempt_cookie(self) -> str:
        return f"{self.cookie}-attempt"

    async def end(self, session: ConsoleSession) -> Grant:
        """End a session, and forget what is remembered about it. Returns its newest grant."""
        self.known.pop(session.id, None)
        return await self.sessions.end(session)


class Visit:
    """See the module."""

    def __init__(self, console: Console, request: HttpRequest, session: ConsoleSession) -> None:
        self.console, self.request, self.session = console, request, session
        self.api = Timewarden(console.api, self._token, http=console.http, attempts=2)
        self.kept: KeptForm | None = None
        self._me: Me | None = None

    @property
    def me(self) -> Me:
        """The person, as the API sees them."""
        if self._me is None:
            raise RuntimeError("open_visit has not read it")
        return self._me

    @property
    def knows_person(self) -> bool:
        """Whether `me` can be read; not while the API does not answer, nor while `open_visit` asks it."""
        return self._me is not None

    @property
    def name(self) -> str:
        """The name to show for the person."""
        return str(self.session.grant.claims.get("name") or "You")

    @cached_property
    def zone(self) -> tzinfo:
        """The time zone of the browser, which a script writes into a cookie."""
        return zone_of(self.request.cookies.get(ZONE_COOKIE, ""))

    @property
    def today(self) -> date:
        """The present day where the person is."""
        return datetime.now(self.zone).date()

    @property
    def zone_name(self) -> str:
        return str(self.zone)

    def may(self, kind: str, *actions: str) -> bool:
        """Whether the token could do one of these actions to some resource of this kind."""
        return any(
            right["kind"] == kind and right["action"] in actions and right["may"] in AVAILABLE for right in self.me.may
        )

    @property
    def known_actions(self) -> list[str]:
        """Every action that the policy knows, to choose from."""
        return sorted({right["action"] for right in self.me.may})

    @property
    def known_kinds(self) -> list[str]:
        """Every kind of resource that the policy knows."""
        return sorted({right["kind"] for right in self.me.may})

    @property
    def navigation(self) -> list[tuple[str, list[NavigationLink]]]:
        """The rooms with the links that this person has a use for."""
        rooms = [
            (room.title, [link for link in room.links if not link.kind or self.may(link.kind, *link.actions)])
            for room in self.console.rooms
        ]
        return [(title, links) for title, links in rooms if links]

    def render(self, template: str, status: int = 200, **context: Any) -> Response[str]:
        """A page, or a part of one for htmx."""
        text = render_template(
            template,
            self.zone,
            csrf=self.session.csrf,
            visit=self,
            nonce=nonce_of(self.request),
            notice=self._notice,
            **context,
        )
        return Response(text, status_code=status, media_type=MediaType.HTML)

    def is_at(self, path: str) -> bool:
        """Whether the page is at this path or below it."""
        here = self.request.url.path
        return here == path or here.startswith(f"{path}/")

    def name_of(self, person: str | None, names: Mapping[str, str] | None = None) -> str:
        """The name to show for a person, given the names of an answer."""
        if person == self.me.person:
            return "you"
        return (names or {}).get(person or "", "another person")

    async def read_part(
        self, shape: type[ListPage[T]], path: str, *, most: int, at: str = "cursor", **query: Any
    ) -> ListPart[T]:
        """About `most` items of a list of the API, from the cursor that the parameter `at` of the address holds."""
        given = self.request.query_params
        begin = cursor = given.get(at) or None
        items: list[T] = []
        while True:
            asked = {**query, "limit": min(most, MAX_ITEMS_PER_REQUEST), "cursor": cursor}
            page = await self.api.call(shape, "GET", path, query=asked)
            items += page.items
            cursor = page.next_cursor
            if cursor is None or len(items) >= most:
                break
        kept = {name: value for name, value in given.items() if name not in {at, "done"}}
        here = self.request.url.path
        return ListPart(
            items,
            f"{here}?{urlencode(kept)}".rstrip("?") if begin else None,
            f"{here}?{urlencode({**kept, at: cursor})}" if cursor else None,
        )

    async def read_form(self) -> dict[str, str]:
        """The texts of the form that was sent, without blanks around them."""
        form = await self.request.form()
        return {name: value.strip() for name, value in form.items() if isinstance(value, str)}

    async def keep_form(self) -> None:
        """Keep the form that was sent, for this person to send again after another sign-in."""
        fields = [(name, value) for name, value in find_sent(self.request) if name != TOKEN_FIELD]
        if fields and is_form(self.request) and self.me.person:
            self.kept = await self.console.sessions.keep(self.me.person, address_of(self.request), fields)

    def redirect(self, path: str, done: str = "") -> Redirect:
        """Go to a page after a change, where the sentence of `done` is shown."""
        glue = "&" if "?" in path else "?"
        return Redirect(f"{path}{glue}{urlencode({'done': done})}" if done else path, status_code=303)

    @property
    def _notice(self) -> str:
        done = self.request.query_params.get("done", "")
        shown = self.request.route_handler.fn
        rooms = [room for room in self.console.rooms if any(shown is handler.fn for handler in room.handlers)]
        return next((room.done[done] for room in rooms if done in room.done), DONE_ANYWHERE.get(done, ""))

    def owner_of(self, sheet: Timesheet) -> str:
        """The name to show for the owner of a sheet."""
        return self.name_of(sheet.owner, sheet.names)

    async def read_me(self) -> None:
        """Learn who the person is, at most once in ME_SECONDS. While the API cannot say, what it said last holds: it
        only chooses what pages offer, and the API decides on each request."""
        known = self.console.known
        at, me = known.get(self.session.id, (0.0, None))
        if me is None or time.monotonic() > at + ME_SECONDS:
            try:
                me = await self.api.me()
                known[self.session.id] = (time.monotonic(), me)
            except (Problem, httpx2.TransportError) as error:
                if me is None or not is_outage(error):
                    raise
            while len(known) > MAX_REMEMBERED:
                known.popitem(last=False)
        self._me = me

    async def _token(self, refused: str | None = None) -> str:
        """The access token, renewed when it was refused or is about to expire. Raises SignInNeeded."""
        grant = self.session.grant
        if grant.access_token != refused and time.time() < grant.expires_at - RENEW_EARLY_SECONDS:
            return grant.access_token
        sessions = self.console.sessions
        async with sessions.hold(self.session):
            newest = await sessions.find(self.session.id)
            if newest is None:
                raise SignInNeeded(ended=True)
            if newest.grant.access_token in (grant.access_token, refused):
                try:
                    newest.grant = await self.console.server.refresh(newest.grant)
                except TokenRefused as error:
                    if grant.access_token != refused and time.time() < grant.expires_at:
                        return grant.access_token
                    await self.end()
                    raise SignInNeeded(ended=True) from error
                if not await sessions.save(newest):
                    # The session has ended meanwhile. A sign-out revokes the grant that it finds, not this newer one.
                    with suppress(SignInUnavailable):
                        await self.console.server.revoke(newest.grant)
                    raise SignInNeeded(ended=True)
            self.session.grant = newest.grant
        return self.session.grant.access_token

    async def end(self) -> Grant:
        """End the session. Returns its newest grant."""
        return await self.console.end(self.session)


def is_part(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of a page."""
    return request.headers.get("hx-request") == "true"


def is_form(request: HttpRequest) -> bool:
    """Whether a form of a page was sent, by the browser or by htmx, and not only asked about."""
    return request.method not in SAFE_METHODS and (not is_part(request) or "hx-boosted" in request.headers)


def visit_of(request: HttpRequest) -> Visit | None:
    """The visit of a request whose session was found, for the page about a failure."""
    found: Visit | None = request.state.get("visit")
    return found


def find_sent(request: HttpRequest) -> list[tuple[str, str]]:
    """The fields of the form that was sent, in their order, to send them again; none if a file is among them."""
    # `multi_items()` of Litestar shuffles them.
    fields = list(request.state.sent.items()) if "sent" in request.state else []
    if any(not isinstance(value, str) and value.filename for _, value in fields):
        return []
    visit = visit_of(request)
    token = visit.session.csrf if visit else ""
    return [
        (name, token if name == TOKEN_FIELD and token else value) for name, value in fields if isinstance(value, str)
    ]


def address_of(request: HttpRequest) -> str:
    """The path and query of a request, to go there again."""
    return local_path(request.url.path + (f"?{request.url.query}" if request.url.query else ""))


def is_outage(error: Exception) -> bool:
    """Whether the API, or a part of it, does not answer."""
    return not isinstance(error, Problem) or error.receipt.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def is_over(given: Role | Membership | Delegation) -> bool:
    """Whether it does not hold any more. One that was ended before it began ends when it would have begun."""
    return given.valid_to is not None and (given.valid_to <= datetime.now(UTC) or given.valid_to == given.valid_from)


async def first_of(items: AsyncIterator[T], most: int) -> list[T]:
    """The first items of a list of the API."""
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) == most:
            break
    return found


TheVisit: TypeAlias = NamedDependency[SkipValidation[Visit]]
# For a handler that must work while the API does not; its parameter is `resumed`.
TheResumedVisit: TypeAlias = NamedDependency[SkipValidation[Visit]]


async def open_visit(console: Console, request: HttpRequest) -> Visit:
    """The visit of a request, with the person as the API sees them. Raises what `resume_session` and the API raise."""
    visit = await resume_session(console, request)
    await visit.read_me()
    if kept := request.query_params.get("kept"):
        visit.kept = await console.sessions.find_kept(visit.me.person or "", kept)
    return visit


async def resume_session(console: Console, request: HttpRequest) -> Visit:
    """The visit of a request, without asking the API who the person is. A page about a failure lets them sign out.
    Raises SignInNeeded without a session, ForgedRequest for a change without its token."""
    cookie = request.cookies.get(console.cookie, "")
    sends = request.method not in SAFE_METHODS
    if sends:
        # Read before anything can fail, so that it can be offered to be sent again.
        request.state.sent = await request.form()
    session = await console.sessions.find(cookie) if cookie else None
    if session is None:
        # A form was opened in a session. It has no cookie if the person has signed out in another tab.
        raise SignInNeeded(ended=sends or bool(cookie))
    request.state.visit = visit = Visit(console, request, session)
    await check_form_token(request, session)
    return visit


async def recognize_visitor(console: Console, request: HttpRequest) -> None:
    """Find the visit of a request that no handler answers, so that the page about it has the navigation. Without a
    session, or without a part that does not answer, the page has none."""
    with suppress(Problem, httpx2.HTTPError, RedisError, OSError, SignInNeeded, SignInUnavailable):
        cookie = request.cookies.get(console.cookie, "")
        session = await console.sessions.find(cookie) if cookie else None
        if session is not None:
            visit = Visit(console, request, session)
            await visit.read_me()
            request.state.visit = visit
