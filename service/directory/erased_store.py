"""SQL of erased subjects: their keyed hashes, and who came back. Postgres owns both tables, and the keeper removes rows
whose time is over. `erase_person` writes the hashes, together with all else that an erasure does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.one_person import ids
from service.errors import ErasureKeyMissing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.database import Connection
    from service.directory.entities import Link
    from service.identity.subject_hashes import SubjectHashes

# Rows whose time is over, by the indexes on it; the keeper runs these every few minutes, so they are few.
FORGET: Final = (
    "DELETE FROM former_person WHERE until < statement_timestamp()",
    "DELETE FROM erased_subject WHERE until < statement_timestamp()",
)

# Who the people $1 were, by the hashes $2 of their links and their primary key; nobody is noted as who they are anyway.
RECOGNISE: Final = f"""
    INSERT INTO former_person AS noted (person_id, former_id, until)
    SELECT given.person_id, gone.person_id, max(gone.until)
    FROM unnest($1::uuid[], $2::bytea[]) AS given (person_id, hash)
    JOIN erased_subject AS gone ON gone.hash = given.hash AND statement_timestamp() < gone.until
    WHERE gone.person_id <> ALL ({ids("given.person_id")}) GROUP BY given.person_id, gone.person_id
    ON CONFLICT (person_id, former_id) DO UPDATE SET until = greatest(noted.until, excluded.until)
"""

# What is noted of $1 is noted of $2, by the primary key; the rows of $1 stay until their time is over.
TAKE_OVER: Final = """
    INSERT INTO former_person AS noted (person_id, former_id, until)
    SELECT $2::uuid, former_id, until FROM former_person WHERE person_id = $1 AND former_id <> $2
    ON CONFLICT (person_id, former_id) DO UPDATE SET until = greatest(noted.until, excluded.until)
"""


async def recognise(connection: Connection, links: Sequence[tuple[UUID, Link]], hashes: SubjectHashes) -> None:
    """Note who the people were for whom these new links speak, as far as they were erased; it counts for laws and
    denials alone. Raises ErasureKeyMissing where that cannot be told."""
    # Whether anybody was erased whose time is not over, and whether it was under a key that this process lacks.
    row = await connection.fetchrow(
        "SELECT coalesce(array_agg(name) FILTER (WHERE name <> ALL ($1::text[])), '{}') AS lacking, count(*) AS known"
        " FROM erasure_key WHERE statement_timestamp() < until",
        list(hashes.names),
    )
    if row is None or row["lacking"]:
        raise ErasureKeyMissing(cause=f"keys of erasures are missing: {row and ', '.join(row['lacking'])}")
    if not row["known"]:
        return
    found = [(person, one) for person, link in links for one in hashes.compute(link.issuer, link.subject)]
    await connection.execute(
        RECOGNISE,
        [person for person, _ in found],
        [one for _, one in found],
    )


async def take_over(connection: Connection, person: UUID, into: UUID) -> None:
    """Whoever stays after a merge was, before an erasure, also whom the other was."""
    await connection.execute(TAKE_OVER, person, into)
