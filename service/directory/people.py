"""Finds the person of a token by its issuer and subject, and creates the person on first use.

Postgres owns people and links. The first use needs no decision, only a verified token; the record says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.directory_memory import DirectoryMemory
from service.directory import people_store, store
from service.directory.entities import Link, Person
from service.identity.principal import PrincipalKind
from service.identity.refusals import refusal
from service.identity.subject_hashes import NO_KEYS
from service.ids import make_id
from service.log.record import Kind, Record
from service.values import replace

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from service.database import Database
    from service.identity.principal import Principal
    from service.identity.subject_hashes import SubjectHashes
    from service.log.log import Log


class People:
    """`database` is the pool of the requests; `hashes` recognises erased people; `memory` remembers people."""

    def __init__(
        self, database: Database, log: Log, hashes: SubjectHashes = NO_KEYS, memory: DirectoryMemory | None = None
    ) -> None:
        self._database = database
        self._log = log
        self._hashes = hashes
        self._memory = memory or DirectoryMemory()

    async def identify(self, principal: Principal, *, fresh: bool = False) -> Principal:
        """The principal with its person: a remembered one, or if it must be `fresh` as `person_for`, with what that
        raises."""
        token = principal.issuer, principal.subject, principal.issued_at
        known = self._memory.person(*token)
        if known is not None and not fresh:
            return known.identify(principal)
        person = await self.person_for(principal)
        self._memory.remember_person(*token, person)
        return replace(principal, person=person)

    async def person_for(self, principal: Principal) -> UUID:
        """The person of a verified token.

        A new person has no name, team or role. Two concurrent first uses create one person. An erased person who signs
        in again is a new person, whom laws and deny rules still recognise. Raises TryLater; InvalidToken for a revoked
        token, which every decision checks again; and ErasureKeyMissing if a key to recognise erased people is missing.
        """
        async with self._database.connection() as connection:
            known, revoked = await people_store.person_of_token(connection, principal, self._hashes)
        if revoked:
            raise refusal("revoked")
        return known or await self._create(Link(principal.issuer, principal.subject), principal.client)

    async def _create(self, link: Link, client: str) -> UUID:
        async with self._database.transaction() as connection:
            moment = await store.advance(connection)
            # Another request may have created the person while this one waited for the revision.
            known = await people_store.find_linked_person(connection, link)
            if known is not None:
                return known
            person = Person(make_id())
            await people_store.insert_person(connection, person, [link], self._hashes)
            await self._log.append([_first_use(person, client, moment)], connection)
        return person.id


def _first_use(person: Person, client: str, moment: datetime) -> Record:
    return Record.make(
        Kind.DIRECTORY,
        {
            "decided_at": moment,
            "action": "create",
            "resource": {"kind": store.KIND, "id": str(person.id), "owner": str(person.id)},
            "principal": {"kind": str(PrincipalKind.USER), "person": str(person.id), "client": client},
            "change": {
                "type": "directory.changed",
                "from": {},
                "to": {"what": "person.created", "cause": "first-use", "person": str(person.id)},
            },
        },
    )
