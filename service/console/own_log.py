"""The pages of decisions about a person: a list, and the explanation of each.

The API decides what of a decision its subject may know; these pages show all of its answer.
"""

from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from litestar import Response, get
from litestar.params import FromPath

from service.console.form_values import with_times
from service.console.rooms import NavigationLink
from service.console.visits import ListPage, TheVisit
from service.standalone.client import Invalid, OwnDecision

PAGE: Final = 50
PATH: Final = "/in-my-name"
FIELDS: Final = ("client", "actor", "action", "outcome", "since", "until")
LINK: Final = NavigationLink("In my name", PATH, "me", ("review",))


@get(PATH)
async def show_own_decisions(visit: TheVisit) -> Response[str]:
    """Decisions about requests of others for what is the person's; or with `by=me`, about those in their name."""
    asked = visit.request.query_params
    given = {name: asked[name].strip() for name in FIELDS if asked.get(name, "").strip()}
    by = "me" if asked.get("by") == "me" else "others"
    # A person's own looks of the last minutes would hide the rest, while they come for those of others.
    looks = by == "others" or asked.get("reads") == "yes"
    kept = {"by": by, **given, **({"reads": "yes"} if looks and by == "me" else {})}
    page, problem = ListPage[OwnDecision]([], None), None
    try:
        query = {**with_times(given, visit.zone), "by": by, "reads": looks, "limit": PAGE, "names": True}
        query["cursor"] = asked.get("cursor") or None
        page = await visit.api.call(ListPage[OwnDecision], "GET", "/v1/me/decisions", query=query)
    except Invalid as found:
        problem = found
    return visit.render(
        "own_decisions.html",
        problem.receipt.status if problem else 200,
        page=page,
        by=by,
        looks=looks,
        given={name: given.get(name, "") for name in FIELDS},
        narrowed=bool(given),
        problem=problem,
        link=lambda **more: f"{PATH}?{urlencode({**kept, **more})}",
        following=page.next_cursor,
        continued=bool(asked.get("cursor")),
    )


@get(f"{PATH}/{{decision:uuid}}")
async def show_own_decision(visit: TheVisit, decision: FromPath[UUID]) -> Response[str]:
    """One decision, with its explanation as far as it is the person's to know."""
    found = await visit.api.own_decision(str(decision), names=True)
    return visit.render("own_decision.html", decision=found)
