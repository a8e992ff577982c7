"""Revoking tokens before they expire, and the list of what was revoked, for those who manage tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody  # noqa: TC002 — Litestar reads handler signatures

from service.authorization.enforcement.token_revocation import LONGEST_CLIENT, Wanted, What
from service.errors import InvalidField
from service.places import FieldError
from service.web.http.answers import answered
from service.web.http.operations import BODY, COMMON, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import Asking, Cursor, Limit, plain_text, uuid_of

if TYPE_CHECKING:
    from service.authorization.enforcement.token_revocation import Revocation, Revocations
    from service.web.http.paging import Cursors

SCOPE, TAG, LISTING = "manage:tokens", "Revocations", "revocations"
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class NewRevocation(msgspec.Struct, forbid_unknown_fields=True):
    """Exactly one of `token_id` (`jti`), `person`, `subject` and `client` (every token issued to it, whoever used it).
    `issuer`, the exact `iss`, is needed with `token_id` and `subject`; `client` without it means every issuer's.
    `issued_before`: tokens issued before that moment; left out, every token that is valid now: it is then a little
    later than now, as far as an issuer's clock may be ahead."""

    token_id: Word | None = None
    person: Annotated[str, msgspec.Meta(max_length=64, examples=["0198c0de-0000-7000-8000-000000000001"])] | None = None
    subject: Word | None = None
    client: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_CLIENT)] | None = None
    issuer: Word | None = None
    issued_before: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class RevocationBody(msgspec.Struct):
    """An entry of the deny list. A subject is never shown: `person` is whom it belongs to, if that is known.
    `issued_before` is null for a single token. Behind `expires_at` no such token can be valid, and the entry may go."""

    id: str
    what: str
    issuer: str | None
    token_id: str | None
    person: str | None
    client: str | None
    issued_before: datetime | None
    expires_at: datetime
    revoked_at: datetime


class RevocationPageBody(msgspec.Struct):
    """Revocations, newest first."""

    items: list[RevocationBody]
    next_cursor: str | None


def revocation_routes(revocations: Revocations, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @post("/v1/revocations", **operation("Revoke tokens", scope=SCOPE, problems=(*COMMON, *BODY), tag=TAG))
    async def revoke_tokens(ask: Asking, data: JSONBody[NewRevocation]) -> Response[RevocationBody]:
        answer = await revocations.revoke(ask, _wanted(data))
        return answered(_body(answer.value), answer.receipt, status=201)

    @get("/v1/revocations", **operation("List revocations", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_revocations(
        ask: Asking, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
    ) -> Response[RevocationPageBody]:
        place = cursors.read(LISTING, {}, cursor)
        answer = await revocations.list(ask, after=UUID(place[0]) if place else None, limit=limit)
        after = answer.value.after
        following = cursors.make(LISTING, {}, [str(after)]) if after else None
        return answered(RevocationPageBody([_body(one) for one in answer.value.items], following), answer.receipt)

    return [revoke_tokens, list_revocations]


def _wanted(data: NewRevocation) -> Wanted:
    """The one thing that the body names. Raises InvalidField."""
    fields = {What.TOKEN: data.token_id, What.PERSON: data.person, What.SUBJECT: data.subject, What.CLIENT: data.client}
    named = {what: value for what, value in fields.items() if value is not None}
    if len(named) != 1:
        raise InvalidField(FieldError("body", "name exactly one of token_id, person, subject and client"))
    what, value = next(iter(named.items()))
    if what is What.PERSON:
        value = str(uuid_of(value, "person"))
        if data.issuer is not None:
            raise InvalidField(FieldError("issuer", "does not go with a person, who may have several"))
    else:
        plain_text(value, "token_id" if what is What.TOKEN else str(what))
    if data.issuer is not None:
        plain_text(data.issuer, "issuer")
    return Wanted(what, value, data.issuer, data.issued_before)


def _body(one: Revocation) -> RevocationBody:
    return RevocationBody(
        id=str(one.id),
        what=str(one.what),
        issuer=one.issuer,
        token_id=one.token_id,
        person=str(one.person) if one.person else None,
        client=one.client,
        issued_before=one.issued_before,
        expires_at=one.expires_at,
        revoked_at=one.revoked_at,
    )
