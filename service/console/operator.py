"""The page for operators: the parts of the service, the log, and which replica decides by which policy version.

Figures over time are in Prometheus and Grafana; this page is what one looks at first.
"""

import asyncio
from contextlib import suppress
from typing import Any

import httpx2
from litestar import Response, get

from service.console.author import RunningReplica, RunningReplicas
from service.console.rooms import NavigationLink, Room
from service.console.visits import TheVisit, Visit, is_outage
from service.standalone.client import Problem


@get("/service")
async def show_health(visit: TheVisit) -> Response[str]:
    """The parts as the answering replica sees them, also while it is not ready."""
    ready, checkpoint, replicas = await asyncio.gather(_read_parts(visit), _read_checkpoint(visit), _replicas(visit))
    return visit.render("health.html", ready=ready, checkpoint=checkpoint, replicas=replicas)


async def _read_parts(visit: Visit) -> dict[str, Any]:
    """Readiness, which is public. 503 is an answer here, not an error."""
    found = _read_object(await visit.console.http.get(f"{visit.console.api}/health/ready"))
    return found if "parts" in found else {"status": "not ready", "parts": []}


async def _read_checkpoint(visit: Visit) -> tuple[str, int] | str:
    """Name and size of the log that the newest checkpoint covers, or a sentence that says why there are none."""
    answer = await visit.console.http.get(f"{visit.console.api}/v1/log/checkpoint")
    lines = answer.text.split("\n")
    if answer.is_success and lines[1:2] and lines[1].isdecimal():
        return lines[0], int(lines[1])
    if str(_read_object(answer).get("type", "")).endswith(":not-sealed"):
        return "No checkpoint is signed yet. A keeper signs one within seconds: check that one runs."
    return "The checkpoint cannot be read at the moment."


def _read_object(answer: httpx2.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty for all else, such as the page of a proxy in front of the API."""
    with suppress(ValueError):
        found = answer.json()
        return found if isinstance(found, dict) else {}
    return {}


async def _replicas(visit: Visit) -> list[RunningReplica] | None:
    """The API processes, for those who may read policy versions; None while they cannot be read."""
    if not visit.may("policy", "read"):
        return []
    try:
        return (await visit.api.call(RunningReplicas, "GET", "/v1/policies/replicas")).items
    except (Problem, httpx2.TransportError) as error:
        if not is_outage(error):
            raise
        return None


ROOM = Room(
    "Operation",
    (NavigationLink("Health", "/service", "token", ("read", "revoke")),),
    (show_health,),
)
