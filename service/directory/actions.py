"""What administrators do with the directory: one use case for each change, all through enforcement. Owns no state.

Every change counts up the directory's revision and is recorded, and relations see it from the next decision on. Names
and addresses never stand in a record's bytes: they go beside it as texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from uuid_utils.compat import uuid7

from service.audit.record import Kind
from service.authorization.changes import Target
from service.authorization.decision_point import Resource
from service.directory import people_store, store
from service.directory.entities import (
    GivenRole,
    ImporterGrant,
    Membership,
    Part,
    Person,
    Team,
    Validity,
    check_grant,
    check_person,
    check_team,
)
from service.directory.store import KIND, MANAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from service.authorization.changes import Answer, Change
    from service.authorization.decision_record import Ask
    from service.authorization.enforcement import Enforcement
    from service.authorization.permit import Permit
    from service.authorization.visibility import Visibility
    from service.database import Connection
    from service.directory.entities import Link

T = TypeVar("T")
Row = TypeVar("Row", Person, Team, Membership)
ALWAYS = Validity()


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A page; `after` is the id to go on behind, None on the last page."""

    items: Sequence[T]
    after: UUID | None


@dataclass(frozen=True, slots=True)
class _Told:
    """What the log is told of a change: the id of what changed, the kind of change, ids and times, texts."""

    subject: UUID
    what: str
    after: Mapping[str, object] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


class Directory:
    """Every method raises Denied and TryLater; a change also InvalidField, Conflict, NotFound."""

    def __init__(self, enforcement: Enforcement) -> None:
        self._enforcement = enforcement

    async def add_person(
        self, ask: Ask, display_name: str | None, email: str | None, links: Sequence[Link] = ()
    ) -> Answer[Person]:
        """Make a person for whom the tokens of `links` speak. Raises Conflict, whose extra `person` says for whom one
        of them speaks already."""
        check_person(display_name, email, tuple(links))
        person = Person(uuid7(), display_name, email)

        async def work(permit: Permit, connection: Connection) -> tuple[Person, _Told]:
            await people_store.add_person(permit, connection, person, links)
            return person, _Told(person.id, "person.created", {"links": len(links)}, _texts(person))

        return await self._manage(ask, person.id, work)

    async def link_person(self, ask: Ask, person_id: UUID, links: Sequence[Link]) -> Answer[Person]:
        """Let the tokens of `links` speak for a person too: a second account, or another issuer. Raises Conflict as
        `add_person`; two people who were both seen already stay two."""
        check_person(None, None, tuple(links))

        async def work(permit: Permit, connection: Connection) -> tuple[Person, _Told]:
            person = await people_store.link_person(permit, connection, person_id, links)
            return person, _Told(person.id, "person.linked", {"links": len(links)})

        return await self._manage(ask, person_id, work)

    async def describe_person(
        self, ask: Ask, person_id: UUID, display_name: str | None, email: str | None
    ) -> Answer[Person]:
        """Give a person another name and e-mail address."""
        check_person(display_name, email)
        person = Person(person_id, display_name, email)

        async def work(permit: Permit, connection: Connection) -> tuple[Person, _Told]:
            await people_store.describe_person(permit, connection, person)
            return person, _Told(person.id, "person.described", {}, _texts(person))

        return await self._manage(ask, person_id, work)

    async def add_team(self, ask: Ask, name: str, parent: UUID | None = None) -> Answer[Team]:
        """Make a team below `parent`, or at the top. A name is given once."""
        check_team(name)
        team = Team(uuid7(), name, parent)

        async def work(permit: Permit, connection: Connection) -> tuple[Team, _Told]:
            await store.add_team(permit, connection, team)
            return team, _Told(team.id, "team.created", {"parent": parent}, {"name": name})

        return await self._manage(ask, team.id, work)

    async def add_membership(
        self, ask: Ask, person: UUID, team: UUID, part: Part, validity: Validity = ALWAYS
    ) -> Answer[Membership]:
        """Give a person a part in a team; the same part at the same time is given once."""
        check_grant(validity)
        asked = Membership(uuid7(), person, team, part, validity)

        async def work(permit: Permit, connection: Connection) -> tuple[Membership, _Told]:
            made = await store.add_membership(permit, connection, asked)
            return made, _Told(made.id, "membership.created", _membership(made))

        return await self._manage(ask, asked.id, work)

    async def end_membership(self, ask: Ask, membership: UUID, at: datetime | None = None) -> Answer[Membership]:
        """End a membership now, or at a later moment."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[Membership, _Told]:
            ended = await store.end_membership(permit, connection, membership, at)
            return ended, _Told(ended.id, "membership.ended", _membership(ended))

        return await self._manage(ask, membership, work)

    async def grant_importer(
        self, ask: Ask, client: str, team: UUID, validity: Validity = ALWAYS
    ) -> Answer[ImporterGrant]:
        """Let a client upload hours for the people of a team and of the teams below it."""
        check_grant(validity, client=client)
        asked = ImporterGrant(uuid7(), client, team, validity)

        async def work(permit: Permit, connection: Connection) -> tuple[ImporterGrant, _Told]:
            made = await store.grant_importer(permit, connection, asked)
            return made, _Told(made.id, "importer.granted", {"client": client, "team": team, **_times(made.validity)})

        return await self._manage(ask, asked.id, work)

    async def end_importer_grant(self, ask: Ask, grant: UUID) -> Answer[ImporterGrant]:
        """Take a grant back, from now on."""

        async def work(permit: Permit, connection: Connection) -> tuple[ImporterGrant, _Told]:
            ended = await store.end_importer_grant(permit, connection, grant)
            after = {"client": ended.client, "team": ended.team, **_times(ended.validity)}
            return ended, _Told(ended.id, "importer.ended", after)

        return await self._manage(ask, grant, work)

    async def give_role(self, ask: Ask, person: UUID, role: str, validity: Validity = ALWAYS) -> Answer[GivenRole]:
        """Give a person a role (without the prefix `role:`), beside those in their tokens."""
        check_grant(validity, role=role)

        async def work(permit: Permit, connection: Connection) -> tuple[GivenRole, _Told]:
            given = await store.give_role(permit, connection, GivenRole(person, role, validity))
            return given, _Told(person, "role.given", {"role": role, **_times(given.validity)})

        return await self._manage(ask, person, work)

    async def take_role(self, ask: Ask, person: UUID, role: str) -> Answer[GivenRole]:
        """Take a role of the directory back, from now on."""
        check_grant(ALWAYS, role=role)

        async def work(permit: Permit, connection: Connection) -> tuple[GivenRole, _Told]:
            taken = await store.take_role(permit, connection, person, role)
            return taken, _Told(person, "role.taken", {"role": role, **_times(taken.validity)})

        return await self._manage(ask, person, work)

    async def people(self, ask: Ask, *, after: UUID | None = None, limit: int = 50) -> Answer[Listed[Person]]:
        """Everybody, oldest first."""
        return await self._list(ask, store.people, after, limit)

    async def teams(self, ask: Ask, *, after: UUID | None = None, limit: int = 50) -> Answer[Listed[Team]]:
        """Every team, oldest first."""
        return await self._list(ask, store.teams, after, limit)

    async def memberships(self, ask: Ask, *, after: UUID | None = None, limit: int = 50) -> Answer[Listed[Membership]]:
        """Every membership, ended ones too, oldest first."""
        return await self._list(ask, store.memberships, after, limit)

    async def _manage(
        self, ask: Ask, subject: UUID, work: Callable[[Permit, Connection], Awaitable[tuple[T, _Told]]]
    ) -> Answer[T]:
        async def whole(change: Change) -> T:
            await store.advance(change.connection)
            value, told = await work(change.permit, change.connection)
            change.record(
                "directory.changed",
                Resource(KIND, str(told.subject)),
                before={},
                after={"what": told.what, **told.after},
                texts=told.texts,
                kind=Kind.DIRECTORY,
            )
            return value

        return await self._enforcement.change(ask, KIND, MANAGE, Target(str(subject)), whole)

    async def _list(
        self,
        ask: Ask,
        load: Callable[[Visibility, Connection, UUID | None, int], Awaitable[list[Row]]],
        after: UUID | None,
        limit: int,
    ) -> Answer[Listed[Row]]:
        async def query(visibility: Visibility, connection: Connection) -> tuple[Listed[Row], Sequence[str]]:
            found = await load(visibility, connection, after, limit)
            items = found[:limit]
            return Listed(items, items[-1].id if len(found) > limit else None), [str(one.id) for one in items]

        return await self._enforcement.list(ask, KIND, "read", query)


def _texts(person: Person) -> dict[str, str]:
    texts = {"display_name": person.display_name, "email": person.email}
    return {name: text for name, text in texts.items() if text is not None}


def _membership(one: Membership) -> dict[str, object]:
    return {"person": one.person, "team": one.team, "part": str(one.part), **_times(one.validity)}


def _times(validity: Validity) -> dict[str, object]:
    return {"valid_from": validity.valid_from, "valid_to": validity.valid_to}
