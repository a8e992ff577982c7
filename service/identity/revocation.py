"""Revocation: the SQL condition that looks a token up in the deny list, and its parameters. Pure: owns no state.

The list is in Postgres (`token_revocation` writes it). The statement of the facts of each decision reads it, or that it
has not changed since this token was looked up. So an entry works at once on every replica, without Redis. A person's
token is looked up already in the statement that finds the person, so that a revoked token adds no person. Neither
tokens nor their hashes are stored: one token has several spellings, but only one (iss, jti) (RFC 7519 section 4.1.7).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.identity.principal import Principal

    Parameters = tuple[str, str | None, str, str, datetime]


def revocation_condition(people: str, token: Sequence[str]) -> str:
    """The SQL condition that the deny list has this token. `people` is the SQL of an array with every id of the person,
    empty or NULL without a person. `token` is the SQL of `parameters`, such as `numbered(4)`."""
    issuer, token_id, subject, client, issued = token
    people = f"({people})::text[]"
    # The index finds all values in one scan, which is cheaper to start than one for each kind.
    return f"""
        EXISTS (SELECT FROM revocation AS denied
                WHERE denied.value = ANY (ARRAY[{token_id}::text, {subject}::text, {client}::text] || {people})
                  AND CASE denied.what WHEN 'token' THEN denied.value = {token_id}::text
                                       WHEN 'subject' THEN denied.value = {subject}::text
                                       WHEN 'client' THEN denied.value = {client}::text
                                       WHEN 'person' THEN denied.value = ANY ({people}) END
                  AND (denied.issuer IS NULL OR denied.issuer = {issuer}::text)
                  AND denied.issued_before > {issued}::timestamptz)
    """


def numbered(first: int) -> Sequence[str]:
    """The SQL of `parameters` that start at number `first`."""
    return [f"${place}" for place in range(first, first + 5)]


def parameters(principal: Principal) -> Parameters:
    """The parameters of `revocation_condition`: issuer, token id, subject, client, and when the token was issued."""
    issued = datetime.fromtimestamp(principal.issued_at, UTC)
    return principal.issuer, principal.token_id, principal.subject, principal.client, issued
