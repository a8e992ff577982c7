"""Routes that revoke tokens before they expire, and list revocations. They need the scope `manage:tokens`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody  # noqa: TC002 — Litestar reads handler signatures
from msgspec import Meta

from service.authorization.enforcement.person_references import PersonReference
from service.authorization.enforcement.token_revocation import LONGEST_CLIENT, RevocationKind, RevocationRequest
from service.errors import InvalidField
from service.places import FieldError
from service.web.http.operations import BODY, COMMON, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    CurrentCaller,
    Cursor,
    GivenPerson,
    Limit,
    WithNames,
    parse_person,
    parse_text,
)
from service.web.http.responses import Id, Names, NextCursor, PersonId, Time, make_response, names_body

if TYPE_CHECKING:
    from service.authorization.enforcement.token_revocation import Revocation, Revocations
    from service.web.http.paging import Cursors

SCOPE, TAG, LISTING = "manage:tokens", "Revocations", "revocations"
Word = Annotated[str, Meta(min_length=1, max_length=255)]


class NewRevocation(msgspec.Struct, forbid_unknown_fields=True):
    """What to revoke: exactly one of `token_id`, `person`, `subject` and `client`."""

    token_id: Annotated[
        Word | None, Meta(description="The `jti` of one token, or the issuer's `token_id_claim`; needs `issuer`")
    ] = None
    person: Annotated[
        GivenPerson | None,
        Meta(description="Every token of a person, by id, or, if you may read the directory, as elsewhere"),
    ] = None
    subject: Annotated[
        Word | None, Meta(description="The `sub` of tokens, or the issuer's `subject_claim` for people; needs `issuer`")
    ] = None
    client: Annotated[
        Annotated[str, Meta(min_length=1, max_length=LONGEST_CLIENT)] | None,
        Meta(description="Every token that was issued to this client, for any user; with its issuer's prefix"),
    ] = None
    issuer: Annotated[
        Word | None, Meta(description="The exact `iss`. For a client it is optional; without it, every issuer")
    ] = None
    issued_before: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="Tokens that were issued before this time. Without it, every token that is valid now: the time"
            " is then slightly later than now, because an issuer's clock may be ahead"
        ),
    ] = None


class RevocationBody(msgspec.Struct):
    """An entry of the deny list."""

    id: Annotated[Id, Meta(description="The revocation's id")]
    what: Annotated[
        RevocationKind,
        Meta(description="The kind of thing that was revoked. A subject itself is never shown", examples=["person"]),
    ]
    issuer: Annotated[str | None, Meta(description="The `iss` of the tokens; null: every issuer", examples=[None])]
    token_id: Annotated[
        str | None, Meta(description="The `jti` of a single token; null: more than one token", examples=[None])
    ]
    person: Annotated[PersonId | None, Meta(description="The person whose tokens they are; null: not known")]
    client: Annotated[str | None, Meta(description="The client that they were issued to; null: any", examples=[None])]
    issued_before: Annotated[Time | None, Meta(description="Tokens issued before this time; null for a single token")]
    expires_at: Annotated[
        Time,
        Meta(
            description="When all these tokens have expired and the entry can be deleted",
            examples=["2026-12-01T09:00:30Z"],
        ),
    ]
    revoked_at: Annotated[Time, Meta(description="When it was revoked")]
    names: Names = msgspec.UNSET


class RevocationPageBody(msgspec.Struct):
    """Revocations, newest first."""

    items: Annotated[list[RevocationBody], Meta(description="The revocations of this page")]
    next_cursor: NextCursor


def revocation_routes(revocations: Revocations, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @post("/v1/revocations", **operation("Revoke tokens", scope=SCOPE, problems=(*COMMON, *BODY), tag=TAG, names=True))
    async def revoke_tokens(caller: CurrentCaller, data: JSONBody[NewRevocation]) -> Response[RevocationBody]:
        answer = await revocations.revoke(caller, _parse_request(data))
        return make_response(_body(answer.value), answer.receipt, status=201)

    @get("/v1/revocations", **operation("List revocations", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_revocations(
        caller: CurrentCaller,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[RevocationPageBody]:
        place = cursors.read(LISTING, {}, cursor)
        answer = await revocations.list(caller, after=UUID(place[0]) if place else None, limit=limit, with_names=names)
        after = answer.value.after
        following = cursors.make(LISTING, {}, [str(after)]) if after else None
        return make_response(
            RevocationPageBody([_body(revocation) for revocation in answer.value.items], following), answer.receipt
        )

    return [revoke_tokens, list_revocations]


def _parse_request(data: NewRevocation) -> RevocationRequest:
    """Parse the body. Raises InvalidField unless it names exactly one thing to revoke."""
    fields = {
        RevocationKind.TOKEN: data.token_id,
        RevocationKind.PERSON: data.person,
        RevocationKind.SUBJECT: data.subject,
        RevocationKind.CLIENT: data.client,
    }
    named: dict[RevocationKind, Any] = {what: value for what, value in fields.items() if value is not None}
    if len(named) != 1:
        raise InvalidField(FieldError("body", "name exactly one of token_id, person, subject and client"))
    what, value = next(iter(named.items()))
    if what is RevocationKind.PERSON:
        person = parse_person(value, "person")
        value = person if isinstance(person, PersonReference) else str(person)
        if data.issuer is not None:
            raise InvalidField(FieldError("issuer", "must not be given with a person, who may have several issuers"))
    else:
        parse_text(value, "token_id" if what is RevocationKind.TOKEN else str(what))
    if data.issuer is not None:
        parse_text(data.issuer, "issuer")
    return RevocationRequest(what, value, data.issuer, data.issued_before)


def _body(revocation: Revocation) -> RevocationBody:
    return RevocationBody(
        id=str(revocation.id),
        what=revocation.what,
        issuer=revocation.issuer,
        token_id=revocation.token_id,
        person=str(revocation.person) if revocation.person else None,
        client=revocation.client,
        issued_before=revocation.issued_before,
        expires_at=revocation.expires_at,
        revoked_at=revocation.revoked_at,
        names=names_body(revocation.names),
    )
