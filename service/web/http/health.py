"""Health: `live` says that the process answers, `ready` that it can decide and record. Public, without a decision.

On the management address the supervisor of all API processes answers, and no client traffic reaches it; on the port of
the API whichever process takes the request answers for itself. Owns no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec

from service.web.http.operations import public_operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Live(msgspec.Struct):
    """The process answers."""

    status: str = "live"


class Part(msgspec.Struct):
    """One thing that readiness depends on, or, if not `needed`, only tells of."""

    name: str
    ready: bool
    needed: bool
    detail: str


class Ready(msgspec.Struct):
    """Whether this replica can decide and record now, part by part."""

    status: str
    policy_version: int | None
    parts: list[Part]


class WorkerState(msgspec.Struct):
    """One API process, as it said itself a moment ago."""

    worker: int
    pid: int | None
    ready: bool
    detail: str
    restarts: int
    policy_version: int | None
    parts: list[Part]


class ServiceReady(msgspec.Struct):
    """Whether at least one API process can decide and record now; `instance` is TIMEWARDEN_INSTANCE."""

    status: str
    instance: str
    workers: list[WorkerState]


def health_routes(look: Callable[[], Awaitable[Ready]]) -> list[Any]:
    """The two handlers; `look` asks every part, within its bounds."""
    readiness = public_operation("Can this replica decide and record", tag="Health")
    readiness["responses"][503] = ResponseSpec(Ready, generate_examples=False, description="Not now; the parts say why")

    @get("/health/live", **public_operation("Does the process answer", tag="Health"))
    async def live() -> Live:
        return Live()

    @get("/health/ready", **readiness)
    async def ready() -> Response[Ready]:
        found = await look()
        return Response(found, status_code=200 if found.status == "ready" else 503)

    return [live, ready]
