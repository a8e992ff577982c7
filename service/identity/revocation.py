"""Revocation: what of a token the deny list is asked about, and the SQL that asks it. Pure: owns no state.

The list lives in Postgres (`token_revocation` writes it) and is read in the same statement as the facts of each
decision, so an entry works at once on every replica, whatever Redis does; a person's token already with the statement
that finds the person, so that a revoked one makes nobody known. Neither tokens nor hashes of them are kept:
one token has several spellings, but only one (iss, jti) (RFC 7519 section 4.1.7).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.identity.principal import Principal

    Parameters = tuple[str, str | None, str, str, datetime]


def revoked(people: str, first: int) -> str:
    """The condition that the deny list names this token. `people` is the SQL of an array of every id of the person,
    empty or NULL for nobody; `first` is the number of the first of `parameters`."""
    issuer, token, subject, client, issued = (f"${place}" for place in range(first, first + 5))
    return f"""
        EXISTS (SELECT FROM revocation AS denied
                WHERE ((denied.value, denied.what) IN (({token}::text, 'token'), ({subject}::text, 'subject'),
                                                       ({client}::text, 'client'))
                       OR (denied.what = 'person' AND denied.value = ANY (({people})::text[])))
                  AND (denied.issuer IS NULL OR denied.issuer = {issuer}::text)
                  AND denied.issued_before > {issued}::timestamptz)
    """


def parameters(principal: Principal) -> Parameters:
    """What `revoked` compares: issuer, token id, subject, client, and when the token was issued."""
    issued = datetime.fromtimestamp(principal.issued_at, UTC)
    return principal.issuer, principal.token_id, principal.subject, principal.client, issued
