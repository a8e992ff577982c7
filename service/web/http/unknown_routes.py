"""Requests to paths and methods that no route has: they meet the bounds of a request's head and the limit of their
address, as others do, before the framework answers 404 or 405. Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.utils import normalize_path

from service.errors import TimewardenError
from service.web.http.direct_routes import send_json
from service.web.http.refusals import cors_headers
from service.web.http.requests import check_head

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.config.cors import CORSConfig
    from litestar.types import Receive, Scope, Send

    from service.web.http.problems import Problems
    from service.web.http.rate_limits import AddressLimits


class UnknownRoutes:
    """Wraps `app`, whose middleware runs only for requests that have a route. `cors` lets browser apps read the
    refusals."""

    def __init__(
        self, app: Litestar, limits: AddressLimits, problems: Problems, cors: CORSConfig | None = None
    ) -> None:
        self._app, self._limits, self._problems, self._cors = app, limits, problems, cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or self._has_route(scope):
            await self._app(scope, receive, send)
            return
        try:
            check_head(scope)
            await self._limits.handle(scope, receive, send, self._app)
        except TimewardenError as error:
            answer = self._problems.answer(scope, error)
            if self._cors is not None:
                answer.headers |= {name.decode(): value.decode() for name, value in cors_headers(scope, self._cors)}
            await send_json(answer, send)

    def _has_route(self, scope: Scope) -> bool:
        try:
            # The router remembers what it found.
            self._app.asgi_router.handle_routing(path=normalize_path(scope["path"]), method=scope.get("method"))
        except HTTPException:
            return False
        return True
