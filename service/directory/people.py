"""From tokens to people: the person for whom an issuer's subject speaks, made on first valid use.

Postgres owns people and links. No decision stands behind the first use, only a verified token; the record says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.audit.record import Kind, Record
from service.directory import people_store, store
from service.directory.entities import Link, Person
from service.identity.principal import PrincipalKind

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from service.audit.log import Log
    from service.database import Database


class People:
    """`database` is that of the requests."""

    def __init__(self, database: Database, log: Log) -> None:
        self._database = database
        self._log = log

    async def person_for(self, issuer: str, subject: str, client: str) -> UUID:
        """The person behind a token that was verified; `client` is the acting client's id.

        A new person has no name, team or role. Two first uses at once make one person. Raises TryLater.
        """
        link = Link(issuer, subject)
        async with self._database.connection() as connection:
            known = await people_store.linked_person(connection, link)
        return known or await self._make(link, client)

    async def _make(self, link: Link, client: str) -> UUID:
        async with self._database.transaction() as connection:
            moment = await store.advance(connection)
            # Another request may have made the person while this one waited for the revision.
            known = await people_store.linked_person(connection, link)
            if known is not None:
                return known
            person = Person(uuid7())
            await people_store.insert_person(connection, person, [link])
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
