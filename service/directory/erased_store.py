"""SQL of erased subjects: their keyed hashes, and the new ids of erased people who signed in again. Postgres owns both
tables; the keeper deletes expired rows. The SQL function `erase_person` writes the hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.merged_people import all_ids
from service.errors import ErasureKeyMissing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.database import Connection
    from service.directory.entities import Link
    from service.identity.subject_hashes import SubjectHashes

# Expired rows, by the indexes on `until`; the keeper runs these every few minutes, so there are few.
FORGET: Final = (
    "DELETE FROM former_person WHERE until < statement_timestamp()",
    "DELETE FROM erased_subject WHERE until < statement_timestamp()",
)

# The former ids of people $1, by the hashes $2 of their links. A current id of a person is no former id.
RECOGNISE: Final = f"""
    INSERT INTO former_person AS known (person_id, former_id, until)
    SELECT given.person_id, erased.person_id, max(erased.until)
    FROM unnest($1::uuid[], $2::bytea[]) AS given (person_id, hash)
    JOIN erased_subject AS erased ON erased.hash = given.hash AND statement_timestamp() < erased.until
    WHERE erased.person_id <> ALL ({all_ids("given.person_id")}) GROUP BY given.person_id, erased.person_id
    ON CONFLICT (person_id, former_id) DO UPDATE SET until = greatest(known.until, excluded.until)
"""

# Copies the former ids of $1 to $2; the rows of $1 stay until they expire.
COPY: Final = """
    INSERT INTO former_person AS known (person_id, former_id, until)
    SELECT $2::uuid, former_id, until FROM former_person WHERE person_id = $1 AND former_id <> $2
    ON CONFLICT (person_id, former_id) DO UPDATE SET until = greatest(known.until, excluded.until)
"""


async def recognise(connection: Connection, links: Sequence[tuple[UUID, Link]], hashes: SubjectHashes) -> None:
    """Store the former ids of erased people who come back with these new links; only laws and deny rules use them.
    Raises ErasureKeyMissing if this process lacks the key of an erasure."""
    # Keys of erasures that have not expired: how many, and which of them this process lacks.
    row = await connection.fetchrow(
        "SELECT coalesce(array_agg(name) FILTER (WHERE name <> ALL ($1::text[])), '{}') AS lacking, count(*) AS known"
        " FROM erasure_key WHERE statement_timestamp() < until",
        list(hashes.names),
    )
    if row is None or row["lacking"]:
        raise ErasureKeyMissing(cause=f"keys of erasures are missing: {row and ', '.join(row['lacking'])}")
    if not row["known"]:
        return
    hashed = [(person, digest) for person, link in links for digest in hashes.compute(link.issuer, link.subject)]
    await connection.execute(
        RECOGNISE,
        [person for person, _ in hashed],
        [digest for _, digest in hashed],
    )


async def copy_former_ids(connection: Connection, person: UUID, into: UUID) -> None:
    """Give the remaining person of a merge the former ids of the other."""
    await connection.execute(COPY, person, into)
