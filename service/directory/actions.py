"""The use cases of people, teams, memberships, roles and importer grants, all through the gate. Owns no state.

`recorded_change` says how changes are recorded and lists are decided.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from service.authorization.enforcement.person_references import find_person
from service.authorization.enforcement.team_references import find_team
from service.directory import grant_store, people_store, team_store
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
    check_words,
)
from service.directory.grant_store import MembershipFilter
from service.directory.grants import IMPORTER_GRANTS, MEMBERSHIPS, ROLES
from service.directory.people_store import PeopleFilter
from service.directory.recorded_change import (
    SUBJECT,
    DirectoryChange,
    DirectoryPage,
    described_attributes,
    find_subject,
    given_id,
    listing,
    manage,
    single,
    times,
)
from service.directory.store import any_version
from service.identity.subject_hashes import NO_KEYS
from service.ids import make_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, Caller, ExpectRow, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.team_references import NamedTeam
    from service.database import Connection
    from service.directory.declared_attributes import GivenAttributes
    from service.directory.entities import Link
    from service.identity.subject_hashes import SubjectHashes

ALWAYS = Validity()
ALL = MembershipFilter()
TEAM = "path.team_id"


class Directory:
    """Every method raises Denied and TryLater; a change also InvalidField, Conflict, NotFound."""

    def __init__(self, gate: Gate, hashes: SubjectHashes = NO_KEYS) -> None:
        self._gate, self._hashes = gate, hashes

    async def add_person(
        self,
        caller: Caller,
        display_name: str | None,
        email: str | None,
        links: Sequence[Link] = (),
        attributes: GivenAttributes | None = None,
    ) -> Answer[Person]:
        """Create a person with `links` to tokens and with `attributes`. Raises Conflict, whose extra `person` names the
        person who has one of the links or the e-mail address."""
        check_person(display_name, email, tuple(links))
        person = Person(make_id(), display_name, email)

        async def work(permit: Permit, connection: Connection) -> tuple[Person, list[DirectoryChange]]:
            made = await people_store.add_person(permit, connection, person, links, self._hashes, attributes)
            names, values = described_attributes({}, made.attributes)
            facts = {"links": len(links), **names}
            return made, [DirectoryChange(str(made.id), "person.created", facts, {**_texts(made), **values})]

        return await manage(self._gate, caller, person.id, work)

    async def link_person(self, caller: Caller, person: NamedPerson, links: Sequence[Link]) -> Answer[Person]:
        """Link more tokens to a person: a second account, or another issuer. Raises NotFound, and Conflict as
        `add_person`: two people who have both signed in have to be merged."""
        check_person(None, None, tuple(links))

        async def work(permit: Permit, connection: Connection) -> tuple[Person, list[DirectoryChange]]:
            person_id = await find_subject(permit, connection, caller, person)
            linked = await people_store.link_person(permit, connection, person_id, links, self._hashes)
            return linked, [DirectoryChange(str(person_id), "person.linked", {"links": len(links)})]

        return await manage(self._gate, caller, given_id(person), work)

    async def amend_person(
        self,
        caller: Caller,
        person: NamedPerson,
        changes: Mapping[str, str | None],
        expect: ExpectRow = any_version,
        attributes: GivenAttributes | None = None,
    ) -> Answer[Person]:
        """Change the `display_name` or `email` of a person, as `changes` names them, and those of `attributes`; None
        removes one. Raises NotFound, and NotApplied if `expect` refuses the stored version."""
        check_person(changes.get("display_name"), changes.get("email"))

        async def work(permit: Permit, connection: Connection) -> tuple[Person, list[DirectoryChange]]:
            person_id = await find_subject(permit, connection, caller, person)
            before, after = await people_store.amend_person(permit, connection, person_id, changes, expect, attributes)
            facts, values = described_attributes(before.attributes, after.attributes)
            texts = _texts(after) if not facts or _texts(after) != _texts(before) else {}
            return after, [] if after == before else [
                DirectoryChange(str(person_id), "person.described", facts, {**texts, **values})
            ]

        return await manage(self._gate, caller, given_id(person), work)

    async def add_team(
        self, caller: Caller, name: str, parent: NamedTeam | None = None, attributes: GivenAttributes | None = None
    ) -> Answer[Team]:
        """Create a team below `parent`, or at the top. Names of teams are unique."""
        check_team(name)
        uid = make_id()

        async def work(permit: Permit, connection: Connection) -> tuple[Team, list[DirectoryChange]]:
            team = Team(uid, name, await _find_parent(connection, parent))
            made = await team_store.add_team(permit, connection, team, attributes)
            facts, values = described_attributes({}, made.attributes)
            facts, texts = {"parent": made.parent, **facts}, {"name": name, **values}
            return made, [DirectoryChange(str(uid), "team.created", facts, texts)]

        return await manage(self._gate, caller, uid, work)

    async def replace_team(
        self,
        caller: Caller,
        team: NamedTeam,
        name: str,
        parent: NamedTeam | None,
        expect: ExpectRow = any_version,
        attributes: GivenAttributes | None = None,
    ) -> Answer[Team]:
        """Rename a team and move it, with all teams below it. Given `attributes` replace the present ones. Raises
        NotFound, and NotApplied if `expect` refuses the stored version."""
        check_team(name)

        async def work(permit: Permit, connection: Connection) -> tuple[Team, list[DirectoryChange]]:
            team_id = permit.name_resource(await find_team(connection, team, TEAM))
            asked = Team(team_id, name, await _find_parent(connection, parent))
            before, after = await team_store.replace_team(permit, connection, asked, expect, attributes)
            facts, values = described_attributes(before.attributes, after.attributes)
            texts = {"name": name, **values} | ({"name_before": before.name} if before.name != name else {})
            parents = {"parent": after.parent, **facts}, {"parent": before.parent}
            return after, [DirectoryChange(str(team_id), "team.changed", parents[0], texts, parents[1])]

        return await manage(self._gate, caller, given_id(team), work)

    async def add_membership(
        self, caller: Caller, person: NamedPerson, team: NamedTeam, part: Part, validity: Validity = ALWAYS
    ) -> Answer[Membership]:
        """Make a person a member or lead of a team. Raises Conflict if they have that part at any time in
        `validity`."""
        check_grant(validity)
        uid = make_id()

        async def work(permit: Permit, connection: Connection) -> tuple[Membership, list[DirectoryChange]]:
            member = await find_person(connection, caller.principal, person, "person")
            asked = Membership(uid, member, await find_team(connection, team, "team"), part, validity)
            made = await grant_store.add(permit, connection, MEMBERSHIPS, asked)
            return made, [MEMBERSHIPS.begin_change(made)]

        return await manage(self._gate, caller, uid, work)

    async def end_membership(self, caller: Caller, membership: UUID, at: datetime | None = None) -> Answer[Membership]:
        """End a membership now, or at a later time; one that has not begun never takes effect. Raises NotFound, and
        Conflict if it has already ended."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[Membership, list[DirectoryChange]]:
            before, ended = await grant_store.end(permit, connection, MEMBERSHIPS, membership, at)
            return ended, [MEMBERSHIPS.end_change(before, ended)]

        return await manage(self._gate, caller, membership, work)

    async def move_membership(
        self, caller: Caller, membership: UUID, team: NamedTeam, part: Part | None = None, at: datetime | None = None
    ) -> Answer[Membership]:
        """End a membership, now or at a later time, and begin one in another team, or with another part, at that time.
        It ends when the old one would have ended. Raises NotFound, Conflict, InvalidField."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[Membership, list[DirectoryChange]]:
            into = await find_team(connection, team, "team")
            before, ended = await grant_store.end(permit, connection, MEMBERSHIPS, membership, at)
            validity = Validity(ended.validity.valid_to, before.validity.valid_to)
            asked = Membership(make_id(), before.person, into, part or before.part, validity)
            made = await grant_store.add(permit, connection, MEMBERSHIPS, asked)
            return made, [
                MEMBERSHIPS.end_change(before, ended),
                MEMBERSHIPS.begin_change(made),
            ]

        return await manage(self._gate, caller, membership, work)

    async def grant_importer(
        self, caller: Caller, client: str, team: NamedTeam, validity: Validity = ALWAYS
    ) -> Answer[ImporterGrant]:
        """Let a client upload hours for the people of a team and of the teams below it. Raises Conflict for an
        overlap."""
        check_grant(validity, client=client)
        uid = make_id()

        async def work(permit: Permit, connection: Connection) -> tuple[ImporterGrant, list[DirectoryChange]]:
            asked = ImporterGrant(uid, client, await find_team(connection, team, "team"), validity)
            made = await grant_store.add(permit, connection, IMPORTER_GRANTS, asked)
            return made, [IMPORTER_GRANTS.begin_change(made)]

        return await manage(self._gate, caller, uid, work)

    async def end_importer_grant(
        self, caller: Caller, grant: UUID, at: datetime | None = None
    ) -> Answer[ImporterGrant]:
        """End a grant, now or at a later time. Raises as `end_membership`."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[ImporterGrant, list[DirectoryChange]]:
            before, ended = await grant_store.end(permit, connection, IMPORTER_GRANTS, grant, at)
            return ended, [IMPORTER_GRANTS.end_change(before, ended)]

        return await manage(self._gate, caller, grant, work)

    async def give_role(
        self, caller: Caller, person: NamedPerson, role: str, validity: Validity = ALWAYS
    ) -> Answer[GivenRole]:
        """Give a person a role (without the prefix `role:`), in addition to those in their tokens. Raises NotFound, and
        Conflict for a merged or erased person."""
        check_grant(validity, role=role)

        async def work(permit: Permit, connection: Connection) -> tuple[GivenRole, list[DirectoryChange]]:
            person_id = await find_subject(permit, connection, caller, person)
            await people_store.load_present_person(connection, person_id)
            given = await grant_store.give_role(permit, connection, GivenRole(person_id, role, validity))
            return given, [DirectoryChange(str(person_id), ROLES.began, {"role": role, **times(given.validity)})]

        return await manage(self._gate, caller, given_id(person), work)

    async def roles(
        self, caller: Caller, person: NamedPerson, *, with_names: bool = False
    ) -> Answer[Sequence[GivenRole]]:
        """Past, present and future roles of a person from the directory, by their beginning. Raises NotFound."""
        find = partial(find_person, principal=caller.principal, person=person, field=SUBJECT)
        return await single(self._gate, caller, grant_store.list_roles, find, with_names=with_names)

    async def take_role(self, caller: Caller, person: NamedPerson, role: str) -> Answer[GivenRole]:
        """End a role now, and cancel its future periods. Returns the period that ended first. Raises NotFound."""
        check_grant(ALWAYS, role=role)

        async def work(permit: Permit, connection: Connection) -> tuple[GivenRole, list[DirectoryChange]]:
            person_id = await find_subject(permit, connection, caller, person)
            ended = await grant_store.take_role(permit, connection, person_id, role)
            return ended[0][1], [
                DirectoryChange(
                    str(person_id),
                    ROLES.ended,
                    {"role": role, **times(after.validity)},
                    before=dict(times(before.validity)),
                )
                for before, after in ended
            ]

        return await manage(self._gate, caller, given_id(person), work)

    async def people(
        self,
        caller: Caller,
        *,
        email: str | None = None,
        name: str | None = None,
        after: UUID | str | None = None,
        limit: int = 50,
        with_names: bool = False,
    ) -> Answer[DirectoryPage[Person]]:
        """People, oldest first: all, those with this `email`, in any case, or those whose names have words that begin
        with the words of `name`. Raises InvalidField for a name of no word, or of more than MAX_WORDS_PER_SEARCH."""
        of = PeopleFilter(email, None if name is None else check_words(name))
        return await listing(
            self._gate,
            caller,
            lambda seen, at: people_store.list_people(seen, at, of, after, limit),
            limit,
            with_names=with_names,
        )

    async def person(self, caller: Caller, person: NamedPerson, *, with_names: bool = False) -> Answer[Person]:
        """A person. Raises NotFound."""
        find = partial(find_person, principal=caller.principal, person=person, field=SUBJECT)
        return await single(self._gate, caller, people_store.load_person, find, with_names=with_names)

    async def teams(
        self, caller: Caller, *, after: UUID | str | None = None, limit: int = 50, with_names: bool = False
    ) -> Answer[DirectoryPage[Team]]:
        """Teams, oldest first."""
        return await listing(
            self._gate,
            caller,
            lambda seen, at: team_store.list_teams(seen, at, after, limit),
            limit,
            with_names=with_names,
        )

    async def team(self, caller: Caller, team: NamedTeam, *, with_names: bool = False) -> Answer[Team]:
        """A team. Raises NotFound."""
        find = partial(find_team, team=team, field=TEAM)
        return await single(self._gate, caller, team_store.load_team, find, with_names=with_names)

    async def memberships(
        self,
        caller: Caller,
        of: MembershipFilter = ALL,
        *,
        after: UUID | str | None = None,
        limit: int = 50,
        with_names: bool = False,
    ) -> Answer[DirectoryPage[Membership]]:
        """Memberships, oldest first. Ended ones are listed too, unless the filter names a time."""
        return await listing(
            self._gate,
            caller,
            lambda seen, at: grant_store.list_memberships(seen, at, of, after, limit),
            limit,
            with_names=with_names,
        )

    async def importer_grants(
        self, caller: Caller, *, after: UUID | str | None = None, limit: int = 50, with_names: bool = False
    ) -> Answer[DirectoryPage[ImporterGrant]]:
        """Importer grants, oldest first, ended ones too."""
        return await listing(
            self._gate,
            caller,
            lambda seen, at: grant_store.list_grants(seen, at, IMPORTER_GRANTS, after, limit),
            limit,
            with_names=with_names,
        )


async def _find_parent(connection: Connection, parent: NamedTeam | None) -> UUID | None:
    return None if parent is None else await find_team(connection, parent, "parent")


def _texts(person: Person) -> dict[str, str]:
    texts = {"display_name": person.display_name, "email": person.email}
    return {name: text for name, text in texts.items() if text is not None}
