"""People as forms name them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from service.console.visits import first_of
from service.standalone.client import Denied, Invalid, Membership, Person, Receipt, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.console.visits import Visit

MAX_NAME_CHARS = 200
# As many as one request of the API takes.
MAX_PEOPLE_PER_REQUEST = 100


async def find_people(visit: Visit, text: str, limit: int) -> list[Person]:
    """People whose names have the words of the text, without those that were merged into others."""
    found = await first_of(visit.api.pages(Person, "/v1/people", name=text.strip()[:MAX_NAME_CHARS]), limit)
    return [person for person in found if person.merged_into is None]


async def teams_of(visit: Visit, people: Iterable[str | None]) -> dict[str, str]:
    """The names of the present teams of people, by person; nothing for a viewer who may not read the directory, or only
    after a stronger sign-in: no page asks for that just to show teams."""
    if not visit.may("directory", "read"):
        return {}
    ids = list(dict.fromkeys(person for person in people if person))
    teams: dict[str, list[str]] = {}
    for start in range(0, len(ids), MAX_PEOPLE_PER_REQUEST):
        asked = {"people": ids[start : start + MAX_PEOPLE_PER_REQUEST], "as_of": datetime.now(UTC).isoformat()}
        try:
            async for membership in visit.api.pages(Membership, "/v1/memberships", names="true", **asked):
                team = (membership.names or {}).get(membership.team)
                if team and team not in teams.setdefault(membership.person, []):
                    teams[membership.person].append(team)
        except (Denied, Unauthenticated):
            return {}
    return {person: ", ".join(sorted(names)) for person, names in teams.items()}


async def resolve_person(visit: Visit, text: str, field: str = "person") -> str:
    """A person as the API takes them: an id, an address or tokens as they are, or the id of the only person of this
    name. Raises Invalid about the field."""
    try:
        return str(UUID(text))
    except ValueError:
        pass
    if not text or "@" in text or "#" in text:
        return text
    found = await find_people(visit, text, limit=10)
    exact = [person for person in found if (person.display_name or "").casefold() == text.casefold()] or found
    if len(exact) == 1:
        return exact[0].id
    reason = "Nobody has this name" if not exact else "Several people have this name: write an e-mail address"
    members = {
        "type": "urn:timewarden:problem:invalid-field",
        "detail": f"{field}: {reason}",
        "fields": [{"field": field, "message": reason}],
    }
    raise Invalid(Receipt(422), members)
