"""Revoking tokens before they expire: decided by the policy, recorded, and checked by every fact lookup.

Postgres owns the deny list (`revocation`). An entry names a token by (issuer, jti), or all tokens that were issued to a
subject, a person or a client before a time. Records hold our ids and commitments to the rest, never a subject.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from service.authorization.enforcement.changes import Target
from service.authorization.enforcement.decision_point import Resource
from service.authorization.enforcement.names import load_names_of_change, load_names_of_rows
from service.authorization.enforcement.person_references import DIRECTORY, ME, PersonReference, find_person
from service.errors import DatabaseUnavailable, InvalidField
from service.identity.issuer import prefix_of
from service.ids import make_id
from service.places import FieldError
from service.policy.nearest_word import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from service.authorization.enforcement.changes import Answer, Caller, Change, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.names import Names
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

KIND = "token"
LONGEST_VALUE = 255
# A client's own id after the longest prefix of an issuer and a colon.
LONGEST_CLIENT = 276
EARLIEST = datetime(1970, 1, 2)  # noqa: DTZ001 — compared with a time of any offset
# How far an issuer's clock may be ahead of ours. `issued_before` may not be later.
CLOCK_SKEW = timedelta(seconds=60)


class RevocationKind(StrEnum):
    """The sort of a revocation's value."""

    TOKEN = "token"  # noqa: S105 — a word
    SUBJECT = "subject"
    PERSON = "person"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class RevocationRequest:
    """The tokens to revoke. A person may be named by a reference. `issuer` is the exact `iss`; for a person or a
    client, None means every issuer. `issued_before` is not for a single token; None means every token that is valid
    now."""

    what: RevocationKind
    value: str | PersonReference
    issuer: str | None = None
    issued_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Revocation:
    """An entry of the deny list. `person` is the owner of a subject, if known. `issued_before` is None for a single
    token. After `expires_at` no such token can be valid. `names`: that of the person, None until it is asked for."""

    id: UUID
    what: RevocationKind
    issuer: str | None
    token_id: str | None
    person: UUID | None
    client: str | None
    issued_before: datetime | None
    expires_at: datetime
    revoked_at: datetime
    names: Names | None = None


@dataclass(frozen=True, slots=True)
class RevocationPage:
    """Newest first. `after` is the id after which the next page starts; None on the last page."""

    items: Sequence[Revocation]
    after: UUID | None


class Revocations:
    """`lifetime`: seconds after which no token of any issuer is valid. `ahead`: seconds by which the time of issue of a
    valid token may be in the future. `issuers`: those whose tokens are accepted, each with the prefix of its clients,
    empty for none; without them, a revocation may name any."""

    def __init__(self, gate: Gate, lifetime: int, ahead: int, issuers: Mapping[str, str] | None = None) -> None:
        self._gate, self._issuers = gate, issuers
        self._lifetime, self._ahead = timedelta(seconds=lifetime), timedelta(seconds=ahead)

    async def revoke(self, caller: Caller, wanted: RevocationRequest) -> Answer[Revocation]:
        """Refuse these tokens from now on, on every replica. Raises InvalidField, Denied, TryLater."""
        _check_request(wanted)
        async with self._gate.change(caller, KIND, "revoke", Target()) as change:
            # Only who may revoke is told which issuers there are.
            if self._issuers is not None:
                _check_issuer(wanted, self._issuers)
            if isinstance(wanted.value, PersonReference):
                wanted = replace(wanted, value=str(await _find_person(change, wanted.value)))
            made = await _insert(change.permit, change.connection, caller, wanted, self._lifetime, self._ahead)
            change.record(
                "token.revoked",
                Resource(KIND, str(made.id)),
                before={},
                after=_record_members(made),
                texts=_texts(made),
            )
            people = [] if made.person is None else [str(made.person)]
            made = replace(made, names=await load_names_of_change(change, people))
        return change.answer(made)

    async def list(
        self, caller: Caller, *, after: UUID | None = None, limit: int = 50, with_names: bool = False
    ) -> Answer[RevocationPage]:
        """The deny list, newest first. Raises Denied, TryLater."""
        async with self._gate.list(caller, KIND, "read") as listing:
            found = await _load_page(listing.visibility, listing.connection, after, limit + 1)
            items = found[:limit]
            if with_names:
                ids = {entry.id: [str(entry.person)] for entry in items}
                named = await load_names_of_rows(listing.visibility, listing.connection, ids)
                items = [replace(entry, names=named[entry.id]) for entry in items]
            listing.returned = [str(entry.id) for entry in items]
        return listing.answer(RevocationPage(items, items[-1].id if len(found) > limit else None))


_SHOWN = """
    r.id, r.what, r.value, r.issuer, nullif(r.issued_before, 'infinity') AS issued_before, r.expires_at, r.revoked_at,
    (SELECT person_id FROM person_link WHERE issuer = r.issuer AND subject = r.value AND r.what = 'subject') AS linked
"""


async def _insert(
    permit: Permit,
    connection: Connection,
    caller: Caller,
    wanted: RevocationRequest,
    lifetime: timedelta,
    ahead: timedelta,
) -> Revocation:
    permit.covers(KIND, "revoke")
    # Entries of tokens that have expired.
    await connection.execute("DELETE FROM revocation WHERE expires_at < statement_timestamp()")
    # The new entry. A single token was issued up to now, other tokens up to the given time. A valid token may have been
    # issued in the future, by a clock that is ahead: "now" includes those.
    row = await connection.fetchrow(
        f"""
        WITH r AS (
            INSERT INTO revocation (id, what, value, issuer, issued_before, expires_at, by_person, by_client)
            SELECT $1, $2::text, $3, $4,
                   CASE $2::text WHEN 'token' THEN 'infinity' ELSE asked.moment END, asked.moment + $6::interval, $7, $8
            FROM (SELECT coalesce($5::timestamptz, statement_timestamp() + $9::interval)) AS asked (moment) RETURNING *)
        SELECT {_SHOWN} FROM r
        """,
        make_id(),
        str(wanted.what),
        wanted.value,
        wanted.issuer,
        wanted.issued_before,
        lifetime,
        caller.principal.person,
        caller.principal.client,
        ahead,
    )
    if row is None:
        raise DatabaseUnavailable(cause="an INSERT returned no row")
    return _parse_row(row)


async def _find_person(change: Change, person: PersonReference) -> UUID:
    """The person, for a caller who may read the directory; others are not told who is in it."""
    if person != ME and not change.permit.may_read(DIRECTORY):
        raise InvalidField(FieldError("person", "must be an id, because you may not read the directory"))
    return await find_person(change.connection, change.decision.request.principal, person, "person")


async def _load_page(
    visibility: Visibility, connection: Connection, after: UUID | None, limit: int
) -> list[Revocation]:
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # Visible entries; ids grow with time.
    rows = await connection.fetch(
        f"SELECT {_SHOWN} FROM revocation AS r WHERE {visibility.condition} AND ($3::uuid IS NULL OR r.id < $3)"
        " ORDER BY r.id DESC LIMIT $4",
        *visibility.parameters,
        after,
        limit,
    )
    return [_parse_row(row) for row in rows]


def _check_request(wanted: RevocationRequest) -> None:
    """Raise InvalidField for values that the list cannot hold, and for times that would shut out later sign-ins."""
    longest = LONGEST_CLIENT if wanted.what is RevocationKind.CLIENT else LONGEST_VALUE
    if isinstance(wanted.value, str) and (not 1 <= len(wanted.value) <= longest or "\x00" in wanted.value):
        raise InvalidField(FieldError(_FIELD[wanted.what], f"must have 1 to {longest} characters"))
    if wanted.issuer is None and wanted.what in {RevocationKind.TOKEN, RevocationKind.SUBJECT}:
        raise InvalidField(FieldError("issuer", "is required for a single token or a subject"))
    if wanted.issuer is not None and (not 1 <= len(wanted.issuer) <= LONGEST_VALUE or "\x00" in wanted.issuer):
        raise InvalidField(FieldError("issuer", f"must have 1 to {LONGEST_VALUE} characters"))
    if wanted.issued_before is None:
        return
    if wanted.what is RevocationKind.TOKEN:
        raise InvalidField(FieldError("issued_before", "does not go with a single token"))
    if wanted.issued_before.replace(tzinfo=None) < EARLIEST:
        # At the ends of the calendar a change of offset overflows.
        raise InvalidField(FieldError("issued_before", "must be later than 1970"))
    if wanted.issued_before > datetime.now(UTC) + CLOCK_SKEW:
        raise InvalidField(FieldError("issued_before", "must not be in the future"))


def _check_issuer(wanted: RevocationRequest, issuers: Mapping[str, str]) -> None:
    """Raise InvalidField for an issuer or a client that no token which is accepted here can have: the revocation would
    change nothing."""
    if wanted.issuer is not None and wanted.issuer not in issuers:
        known = nearest(wanted.issuer, issuers) or "/.well-known/oauth-protected-resource lists them"
        raise InvalidField(FieldError("issuer", f"is no issuer whose tokens are accepted here; {known}"))
    if wanted.what is not RevocationKind.CLIENT:
        return
    # A client has the prefix of an issuer before a colon, as in rules.
    prefixes = set(issuers.values()) if wanted.issuer is None else {issuers[wanted.issuer]}
    if prefix_of(str(wanted.value), issuers.values()) not in prefixes:
        named = " or ".join(f"`{prefix}:`" if prefix else "no issuer's prefix" for prefix in sorted(prefixes))
        raise InvalidField(FieldError("client", f"must begin with {named}, as in rules"))


_FIELD = {
    RevocationKind.TOKEN: "token_id",
    RevocationKind.SUBJECT: "subject",
    RevocationKind.PERSON: "person",
    RevocationKind.CLIENT: "client",
}


def _parse_row(row: asyncpg.Record) -> Revocation:
    what, value = RevocationKind(row["what"]), row["value"]
    return Revocation(
        id=row["id"],
        what=what,
        issuer=row["issuer"],
        token_id=value if what is RevocationKind.TOKEN else None,
        person=UUID(value) if what is RevocationKind.PERSON else row["linked"],
        client=value if what is RevocationKind.CLIENT else None,
        issued_before=row["issued_before"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )


def _record_members(made: Revocation) -> dict[str, object]:
    """The members of the record: ids of ours, and times."""
    return {
        "what": str(made.what),
        "person": made.person,
        "issued_before": made.issued_before,
        "expires_at": made.expires_at,
    }


def _texts(made: Revocation) -> dict[str, str]:
    """Texts from outside, which may be anything: the record only commits to them."""
    texts = {"issuer": made.issuer, "token": made.token_id, "client": made.client}
    return {name: text for name, text in texts.items() if text is not None}
