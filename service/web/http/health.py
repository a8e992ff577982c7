"""Health: `live` says that the process answers, `ready` that it can decide and record. Public, without a decision.

On the management address, which no client traffic reaches, the supervisor answers for all API processes. On the port of
the API, which strangers reach, the process that gets the request answers for itself. There it leaves out what a keeper
reports, since that names hosts, processes and files. Owns no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Meta

from service.web.http.operations import public_operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Parts whose details name nothing of the inside; besides them, KEYS and the name of an issuer.
TOLD_TO_STRANGERS: Final = frozenset({"policy", "database", "log", "checkpoint", "replica", "log lines"})
KEYS: Final = "keys of "


class Live(msgspec.Struct):
    """The process answers."""

    status: Annotated[Literal["live"], Meta(description="Always `live`")] = "live"


class HealthPart(msgspec.Struct):
    """One part of readiness."""

    name: Annotated[str, Meta(description="The part", examples=["database"])]
    ready: Annotated[bool, Meta(description="Whether it works", examples=[True])]
    needed: Annotated[bool, Meta(description="Whether the replica needs it to be ready", examples=[True])]
    detail: Annotated[str, Meta(description="Its state in words", examples=["answers"])]


class Ready(msgspec.Struct):
    """Whether this replica can decide and record now."""

    status: Annotated[Literal["ready", "not ready"], Meta(description="Whether every needed part is ready")]
    policy_version: Annotated[
        int | None, Meta(description="The policy version that decides here; null: none could be loaded", examples=[7])
    ]
    parts: Annotated[list[HealthPart], Meta(description="The parts")]


ServiceStatus: TypeAlias = Literal["ready", "not ready", "stopping"]


class WorkerState(msgspec.Struct):
    """One API process, as it reported itself a moment ago."""

    worker: Annotated[int, Meta(description="Its number, from 1", examples=[1])]
    pid: Annotated[int | None, Meta(description="Its process id; null: it is not running", examples=[4711])]
    ready: Annotated[bool, Meta(description="Whether it can decide and record", examples=[True])]
    detail: Annotated[str, Meta(description="Its state in words", examples=["ready"])]
    restarts: Annotated[int, Meta(description="How often it was restarted", ge=0, examples=[0])]
    policy_version: Annotated[
        int | None, Meta(description="The policy version that decides there; null: not reported", examples=[7])
    ]
    parts: Annotated[list[HealthPart], Meta(description="The parts, as it reported them")]


class ServiceReady(msgspec.Struct):
    """Whether at least one API process can decide and record now."""

    status: Annotated[ServiceStatus, Meta(description="`ready` if at least one API process is", examples=["ready"])]
    instance: Annotated[str, Meta(description="TIMEWARDEN_INSTANCE", examples=["hours-1"])]
    workers: Annotated[list[WorkerState], Meta(description="The API processes")]


def health_routes(look: Callable[[], Awaitable[Ready]]) -> list[Any]:
    """The two handlers. `look` checks every part, in bounded time."""
    readiness = public_operation("Check whether this replica can decide and record", tag="Health")
    readiness["responses"][503] = ResponseSpec(Ready, generate_examples=False, description="Not now; the parts say why")

    @get("/health/live", **public_operation("Check whether the process answers", tag="Health"))
    async def live() -> Live:
        return Live()

    @get("/health/ready", **readiness)
    async def ready() -> Response[Ready]:
        found = await look()
        told = Ready(found.status, found.policy_version, [_for_strangers(part) for part in found.parts])
        return Response(told, status_code=200 if found.status == "ready" else 503)

    return [live, ready]


def _for_strangers(part: HealthPart) -> HealthPart:
    """The part as anybody may know it."""
    if part.name in TOLD_TO_STRANGERS or part.name.startswith(KEYS):
        return part
    detail = "works" if part.ready else "does not work: the management address says why"
    return HealthPart(part.name, part.ready, part.needed, detail)
