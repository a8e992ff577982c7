"""What administrators do with the directory: one use case for each change, all through the gate. Owns no state.

Every change counts up the directory's revision and is recorded, and relations see it from the next decision on. Names
and addresses never stand in a record's bytes: they go beside it as texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from uuid_utils.compat import uuid7

from service.directory import importer_store, membership_store, people_store, store, team_store
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
from service.directory.membership_store import OfWhom
from service.directory.recorded_change import Listed, Told, listing, manage, single, times
from service.directory.store import KIND, anything
from service.identity.subject_hashes import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, Caller, Expect, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.entities import Link
    from service.identity.subject_hashes import SubjectHashes

T = TypeVar("T")
Row = TypeVar("Row", Person, Team, Membership, ImporterGrant)
ALWAYS = Validity()
EVERYBODYS = OfWhom()


class Directory:
    """Every method raises Denied and TryLater; a change also InvalidField, Conflict, NotFound."""

    def __init__(self, gate: Gate, hashes: SubjectHashes = NO_KEYS) -> None:
        self._gate, self._hashes = gate, hashes

    async def add_person(
        self, caller: Caller, display_name: str | None, email: str | None, links: Sequence[Link] = ()
    ) -> Answer[Person]:
        """Make a person for whom the tokens of `links` speak. Raises Conflict, whose extra `person` says for whom one
        of them speaks already."""
        check_person(display_name, email, tuple(links))
        person = Person(uuid7(), display_name, email)

        async def work(permit: Permit, connection: Connection) -> tuple[Person, Told]:
            await people_store.add_person(permit, connection, person, links, self._hashes)
            return person, Told(str(person.id), "person.created", {"links": len(links)}, _texts(person))

        return await self._manage(caller, person.id, work)

    async def link_person(self, caller: Caller, person_id: UUID, links: Sequence[Link]) -> Answer[Person]:
        """Let the tokens of `links` speak for a person too: a second account, or another issuer. Raises Conflict as
        `add_person`; two people who were both seen already stay two."""
        check_person(None, None, tuple(links))

        async def work(permit: Permit, connection: Connection) -> tuple[Person, Told]:
            person = await people_store.link_person(permit, connection, person_id, links, self._hashes)
            return person, Told(str(person.id), "person.linked", {"links": len(links)})

        return await self._manage(caller, person_id, work)

    async def amend_person(
        self, caller: Caller, person_id: UUID, changes: Mapping[str, str | None], expect: Expect = anything
    ) -> Answer[Person]:
        """Give a person another `display_name` or `email`: what `changes` names. Raises NotFound, and NotApplied when
        they are not as the caller has seen them."""
        check_person(changes.get("display_name"), changes.get("email"))

        async def work(permit: Permit, connection: Connection) -> tuple[Person, list[Told]]:
            was, person = await people_store.amend_person(permit, connection, person_id, changes, expect)
            return person, [] if person == was else [Told(str(person.id), "person.described", {}, _texts(person))]

        return await manage(self._gate, caller, person_id, work)

    async def add_team(self, caller: Caller, name: str, parent: UUID | None = None) -> Answer[Team]:
        """Make a team below `parent`, or at the top. A name is given once."""
        check_team(name)
        team = Team(uuid7(), name, parent)

        async def work(permit: Permit, connection: Connection) -> tuple[Team, Told]:
            await team_store.add_team(permit, connection, team)
            return team, Told(str(team.id), "team.created", {"parent": parent}, {"name": name})

        return await self._manage(caller, team.id, work)

    async def replace_team(
        self, caller: Caller, team_id: UUID, name: str, parent: UUID | None, expect: Expect = anything
    ) -> Answer[Team]:
        """Give a team another name and another place in the tree, with all below it. Raises NotFound, and NotApplied
        when it is not as the caller has seen it."""
        check_team(name)
        team = Team(team_id, name, parent)

        async def work(permit: Permit, connection: Connection) -> tuple[Team, Told]:
            was, now = await team_store.replace_team(permit, connection, team, expect)
            texts = {"name": name} | ({"name_before": was.name} if was.name != name else {})
            return now, Told(str(team_id), "team.changed", {"parent": parent}, texts, {"parent": was.parent})

        return await self._manage(caller, team_id, work)

    async def add_membership(
        self, caller: Caller, person: UUID, team: UUID, part: Part, validity: Validity = ALWAYS
    ) -> Answer[Membership]:
        """Give a person a part in a team; the same part at the same time is given once."""
        check_grant(validity)
        asked = Membership(uuid7(), person, team, part, validity)

        async def work(permit: Permit, connection: Connection) -> tuple[Membership, Told]:
            made = await membership_store.add_membership(permit, connection, asked)
            return made, Told(str(made.id), "membership.created", _membership(made))

        return await self._manage(caller, asked.id, work)

    async def end_membership(self, caller: Caller, membership: UUID, at: datetime | None = None) -> Answer[Membership]:
        """End a membership now, or at a later moment; one that has not begun never begins. Raises NotFound, and
        Conflict when it is over already."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[Membership, Told]:
            was, ended = await membership_store.end_membership(permit, connection, membership, at)
            told = Told(str(ended.id), "membership.ended", _membership(ended), before=_membership(was))
            return ended, told

        return await self._manage(caller, membership, work)

    async def move_membership(
        self, caller: Caller, membership: UUID, team: UUID, part: Part | None = None, at: datetime | None = None
    ) -> Answer[Membership]:
        """End a membership, now or at a later moment, and begin one in another team, or with another part, at that very
        moment; it lasts as long as the old one would have. Raises NotFound, Conflict, InvalidField; then neither."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[Membership, list[Told]]:
            was, ended = await membership_store.end_membership(permit, connection, membership, at)
            validity = Validity(ended.validity.valid_to, was.validity.valid_to)
            asked = Membership(uuid7(), was.person, team, part or was.part, validity)
            made = await membership_store.add_membership(permit, connection, asked)
            return made, [
                Told(str(ended.id), "membership.ended", _membership(ended), before=_membership(was)),
                Told(str(made.id), "membership.created", _membership(made)),
            ]

        return await manage(self._gate, caller, membership, work)

    async def grant_importer(
        self, caller: Caller, client: str, team: UUID, validity: Validity = ALWAYS
    ) -> Answer[ImporterGrant]:
        """Let a client upload hours for the people of a team and of the teams below it."""
        check_grant(validity, client=client)
        asked = ImporterGrant(uuid7(), client, team, validity)

        async def work(permit: Permit, connection: Connection) -> tuple[ImporterGrant, Told]:
            made = await importer_store.grant_importer(permit, connection, asked)
            return made, Told(
                str(made.id), "importer.granted", {"client": client, "team": team, **times(made.validity)}
            )

        return await self._manage(caller, asked.id, work)

    async def end_importer_grant(
        self, caller: Caller, grant: UUID, at: datetime | None = None
    ) -> Answer[ImporterGrant]:
        """Take a grant back, from now or a later moment on, as `end_membership`."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[ImporterGrant, Told]:
            was, ended = await importer_store.end_importer_grant(permit, connection, grant, at)
            return ended, Told(str(ended.id), "importer.ended", _grant(ended), before=_grant(was))

        return await self._manage(caller, grant, work)

    async def give_role(
        self, caller: Caller, person: UUID, role: str, validity: Validity = ALWAYS
    ) -> Answer[GivenRole]:
        """Give a person a role (without the prefix `role:`), beside those in their tokens. Raises NotFound, and
        Conflict for somebody merged."""
        check_grant(validity, role=role)

        async def work(permit: Permit, connection: Connection) -> tuple[GivenRole, Told]:
            await people_store.unmerged(connection, person)
            given = await store.give_role(permit, connection, GivenRole(person, role, validity))
            return given, Told(str(person), "role.given", {"role": role, **times(given.validity)})

        return await self._manage(caller, person, work)

    async def roles(self, caller: Caller, person: UUID) -> Answer[Sequence[GivenRole]]:
        """What the directory gives a person, gave and will give, in the order of its beginning. Raises NotFound."""
        return await single(self._gate, caller, KIND, lambda seen, at: store.roles(seen, at, person), person)

    async def take_role(self, caller: Caller, person: UUID, role: str) -> Answer[GivenRole]:
        """Take a role of the directory back, from now on; what is planned of it never begins. Returns what ended
        first. Raises NotFound."""
        check_grant(ALWAYS, role=role)

        async def work(permit: Permit, connection: Connection) -> tuple[GivenRole, list[Told]]:
            taken = await store.take_role(permit, connection, person, role)
            return taken[0][1], [
                Told(str(person), "role.taken", {"role": role, **times(now.validity)}, before=dict(times(was.validity)))
                for was, now in taken
            ]

        return await manage(self._gate, caller, person, work)

    async def people(
        self, caller: Caller, *, email: str | None = None, after: UUID | str | None = None, limit: int = 50
    ) -> Answer[Listed[Person]]:
        """Everybody, or those with this e-mail address in whatever capitals, oldest first."""

        async def load(seen: Visibility, at: Connection, after: UUID | str | None, limit: int) -> list[Person]:
            return await people_store.people(seen, at, email, after, limit)

        return await self._list(caller, load, after, limit)

    async def person(self, caller: Caller, person_id: UUID) -> Answer[Person]:
        """One of them. Raises NotFound."""
        return await single(
            self._gate, caller, KIND, lambda seen, at: people_store.person(seen, at, person_id), person_id
        )

    async def teams(self, caller: Caller, *, after: UUID | str | None = None, limit: int = 50) -> Answer[Listed[Team]]:
        """Every team, oldest first."""
        return await self._list(caller, team_store.teams, after, limit)

    async def team(self, caller: Caller, team_id: UUID) -> Answer[Team]:
        """One of them. Raises NotFound."""
        return await single(self._gate, caller, KIND, lambda seen, at: team_store.team(seen, at, team_id), team_id)

    async def memberships(
        self, caller: Caller, of: OfWhom = EVERYBODYS, *, after: UUID | str | None = None, limit: int = 50
    ) -> Answer[Listed[Membership]]:
        """Memberships, ended ones too unless a moment is asked for, oldest first."""

        async def load(seen: Visibility, at: Connection, after: UUID | str | None, limit: int) -> list[Membership]:
            return await membership_store.memberships(seen, at, of, after, limit)

        return await self._list(caller, load, after, limit)

    async def importer_grants(
        self, caller: Caller, *, after: UUID | str | None = None, limit: int = 50
    ) -> Answer[Listed[ImporterGrant]]:
        """Every grant to a client, ended ones too, oldest first."""
        return await self._list(caller, importer_store.importer_grants, after, limit)

    async def _manage(
        self, caller: Caller, subject: UUID, work: Callable[[Permit, Connection], Awaitable[tuple[T, Told]]]
    ) -> Answer[T]:
        async def one(permit: Permit, connection: Connection) -> tuple[T, list[Told]]:
            value, told = await work(permit, connection)
            return value, [told]

        return await manage(self._gate, caller, subject, one)

    async def _list(
        self,
        caller: Caller,
        load: Callable[[Visibility, Connection, UUID | str | None, int], Awaitable[list[Row]]],
        after: UUID | str | None,
        limit: int,
    ) -> Answer[Listed[Row]]:
        return await listing(
            self._gate, caller, KIND, lambda seen, at: load(seen, at, after, limit), limit, lambda one: str(one.id)
        )


def _texts(person: Person) -> dict[str, str]:
    texts = {"display_name": person.display_name, "email": person.email}
    return {name: text for name, text in texts.items() if text is not None}


def _grant(importer_grant: ImporterGrant) -> dict[str, object]:
    return {"client": importer_grant.client, "team": importer_grant.team, **times(importer_grant.validity)}


def _membership(membership: Membership) -> dict[str, object]:
    return {
        "person": membership.person,
        "team": membership.team,
        "part": str(membership.part),
        **times(membership.validity),
    }
