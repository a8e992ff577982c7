"""The page for operators: the parts of the service, the log, and which replica decides by which policy version.

Figures over time are in Prometheus and Grafana; this page is what one looks at first.
"""

import asyncio
from typing import Any

from litestar import Response, get

from service.console.author import RunningReplica, RunningReplicas
from service.console.rooms import NavigationLink, Room
from service.console.visits import TheVisit, Visit


@get("/service")
async def show_health(visit: TheVisit) -> Response[str]:
    """The parts as the answering replica sees them, also while it is not ready."""
    ready, checkpoint, replicas = await asyncio.gather(_read_parts(visit), _read_checkpoint(visit), _replicas(visit))
    return visit.render("health.html", ready=ready, checkpoint=checkpoint, replicas=replicas)


async def _read_parts(visit: Visit) -> dict[str, Any]:
    """Readiness, which is public. 503 is an answer here, not an error."""
    answer = await visit.console.http.get(f"{visit.console.api}/health/ready")
    found = answer.json()
    return found if isinstance(found, dict) and "parts" in found else {"status": "not ready", "parts": []}


async def _read_checkpoint(visit: Visit) -> tuple[str, int] | None:
    """Name and size of the log that the newest checkpoint covers; nothing before the first."""
    answer = await visit.console.http.get(f"{visit.console.api}/v1/log/checkpoint")
    lines = answer.text.split("\n")
    return (lines[0], int(lines[1])) if answer.is_success and lines[1:2] and lines[1].isdecimal() else None


async def _replicas(visit: Visit) -> list[RunningReplica]:
    """The API processes, for those who may read policy versions."""
    if not visit.may("policy", "read"):
        return []
    return (await visit.api.call(RunningReplicas, "GET", "/v1/policies/replicas")).items


ROOM = Room(
    "Operation",
    (NavigationLink("Health", "/service", "token", ("read", "revoke")),),
    (show_health,),
)
