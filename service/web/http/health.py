"""Health: `live` says that the process answers, `ready` that it can decide and record. Public, without a decision.

On the management address the supervisor of all API processes answers, and no client traffic reaches it; on the port of
the API whichever process takes the request answers for itself. Owns no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Meta

from service.web.http.operations import public_operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Live(msgspec.Struct):
    """The process answers."""

    status: Annotated[Literal["live"], Meta(description="Always `live`")] = "live"


class HealthPart(msgspec.Struct):
    """One part of readiness."""

    name: Annotated[str, Meta(description="What it is", examples=["database"])]
    ready: Annotated[bool, Meta(description="Whether it can do its work", examples=[True])]
    needed: Annotated[bool, Meta(description="Whether this replica is ready only if it is", examples=[True])]
    detail: Annotated[str, Meta(description="How it is, in words", examples=["answers"])]


class Ready(msgspec.Struct):
    """Whether this replica can decide and record now."""

    status: Annotated[Literal["ready", "not ready"], Meta(description="Whether every needed part is ready")]
    policy_version: Annotated[
        int | None, Meta(description="The policy version that decides here; null: none could be loaded", examples=[7])
    ]
    parts: Annotated[list[HealthPart], Meta(description="The parts, one by one")]


ServiceStatus: TypeAlias = Literal["ready", "not ready", "stopping"]


class WorkerState(msgspec.Struct):
    """One API process, as it said itself a moment ago."""

    worker: Annotated[int, Meta(description="Its number, from 1", examples=[1])]
    pid: Annotated[int | None, Meta(description="Its process; null: it is not running", examples=[4711])]
    ready: Annotated[bool, Meta(description="Whether it can decide and record", examples=[True])]
    detail: Annotated[str, Meta(description="How it is, in words", examples=["ready"])]
    restarts: Annotated[int, Meta(description="How often it was started again", ge=0, examples=[0])]
    policy_version: Annotated[
        int | None, Meta(description="The policy version that decides there; null: it did not say", examples=[7])
    ]
    parts: Annotated[list[HealthPart], Meta(description="The parts, one by one, as it said")]


class ServiceReady(msgspec.Struct):
    """Whether at least one API process can decide and record now."""

    status: Annotated[ServiceStatus, Meta(description="`ready` if one API process is", examples=["ready"])]
    instance: Annotated[str, Meta(description="TIMEWARDEN_INSTANCE", examples=["hours-1"])]
    workers: Annotated[list[WorkerState], Meta(description="The API processes, one by one")]


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
