"""From tokens to people: the person for whom an issuer's subject speaks, made on first valid use.

Postgres owns people and links. No decision stands behind the first use, only a verified token; the record says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.directory import people_store, store
from service.directory.entities import Link, Person
from service.identity.principal import PrincipalKind
from service.identity.refusals import refusal
from service.identity.subject_hashes import NO_KEYS
from service.log.record import Kind, Record

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from service.database import Database
    from service.identity.principal import Principal
    from service.identity.subject_hashes import SubjectHashes
    from service.log.log import Log


class People:
    """`database` is that of the requests; `hashes` recognises whoever was erased."""

    def __init__(self, database: Database, log: Log, hashes: SubjectHashes = NO_KEYS) -> None:
        self._database = database
        self._log = log
        self._hashes = hashes

    async def person_for(self, principal: Principal) -> UUID:
        """The person behind a token that was verified.

        A new person has no name, team or role. Two first uses at once make one person. Raises TryLater, and
        InvalidToken for a revoked token: it is refused before its request is read, and makes nobody known. Every
        decision asks again, with its other facts. Whoever was erased is a new person, of whom laws and denials know who
        they were; where that cannot be told, for want of a key, ErasureKeyMissing is raised.
        """
        async with self._database.connection() as connection:
            known, revoked = await people_store.asking_person(connection, principal, self._hashes)
        if revoked:
            raise refusal("revoked")
        return known or await self._make(Link(principal.issuer, principal.subject), principal.client)

    async def _make(self, link: Link, client: str) -> UUID:
        async with self._database.transaction() as connection:
            moment = await store.advance(connection)
            # Another request may have made the person while this one waited for the revision.
            known = await people_store.linked_person(connection, link)
            if known is not None:
                return known
            person = Person(uuid7())
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
