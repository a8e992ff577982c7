"""Erasing a person, and the legal holds that forbid it. Owns no state."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody  # noqa: TC002 - Litestar reads the signatures

from service.web.http.answers import answered
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.parameters import Asking, optional_uuid, plain_text, uuid_of

if TYPE_CHECKING:
    from service.directory.erasure import Erasure
    from service.directory.legal_holds import LegalHold, LegalHolds

TAG, HOLDS = "Directory", "Legal holds"
PERSON = "0198c0de-0000-7000-8000-000000000001"


class ErasureWish(msgspec.Struct, forbid_unknown_fields=True):
    """`dry_run`: only say what would go."""

    dry_run: Annotated[bool, msgspec.Meta(examples=[True])] = False


class ErasureBody(msgspec.Struct):
    """What went, or with `dry_run` what would go: links to tokens, texts beside the log, notes on hours, and `sheets`,
    drafts and rejected ones. What would forbid it: a legal `hold`, and `waiting`, sheets that wait for approval."""

    person: str
    dry_run: bool
    links: int
    texts: int
    notes: int
    sheets: int
    hold: str | None
    waiting: list[str]


class NewHold(msgspec.Struct, forbid_unknown_fields=True):
    """`what` is `all`, `person` or `resource`; `about` its id, left out for `all`."""

    what: Annotated[str, msgspec.Meta(max_length=20, examples=["person"])]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, examples=["Labour court, case 12/26"])]
    about: Annotated[str, msgspec.Meta(max_length=64, examples=[PERSON])] | None = None


class HoldBody(msgspec.Struct):
    """A legal hold. It stands while `until` is null."""

    id: str
    what: str
    about: str | None
    reason: str
    since: datetime
    until: datetime | None


class HoldList(msgspec.Struct):
    """The latest 200 holds, newest first."""

    items: list[HoldBody]


def personal_data_routes(erasure: Erasure, holds: LegalHolds) -> list[Any]:
    """The handlers, bound to their use cases."""

    @post(
        "/v1/people/{person_id:str}/erase",
        status_code=200,
        **operation("Erase a person", scope="manage:directory", problems=(*ROW, *BODY, 409), tag=TAG),
    )
    async def erase_person(ask: Asking, person_id: FromPath[str], data: JSONBody[ErasureWish]) -> Response[ErasureBody]:
        person = uuid_of(person_id, "path.person_id")
        answer = await (erasure.preview if data.dry_run else erasure.erase)(ask, person)
        went = answer.value
        hold = str(went.hold) if went.hold else None
        body = ErasureBody(
            str(person),
            data.dry_run,
            went.links,
            went.texts,
            went.notes,
            went.sheets,
            hold,
            [str(one) for one in went.waiting],
        )
        return answered(body, answer.receipt)

    @post("/v1/audit/holds", **operation("Set a legal hold", scope="read:audit", problems=(*COMMON, *BODY), tag=HOLDS))
    async def set_hold(ask: Asking, data: JSONBody[NewHold]) -> Response[HoldBody]:
        about = optional_uuid(data.about, "about")
        answer = await holds.set(ask, data.what, about, plain_text(data.reason, "reason"))
        return answered(_hold(answer.value), answer.receipt, status=201)

    @post(
        "/v1/audit/holds/{hold_id:str}/lift",
        status_code=200,
        **operation("Lift a legal hold", scope="read:audit", problems=ROW, tag=HOLDS),
    )
    async def lift_hold(ask: Asking, hold_id: FromPath[str]) -> Response[HoldBody]:
        answer = await holds.lift(ask, uuid_of(hold_id, "path.hold_id"))
        return answered(_hold(answer.value), answer.receipt)

    @get("/v1/audit/holds", **operation("List legal holds", scope="read:audit", problems=COMMON, tag=HOLDS))
    async def list_holds(ask: Asking) -> Response[HoldList]:
        answer = await holds.list(ask)
        return answered(HoldList([_hold(one) for one in answer.value]), answer.receipt)

    return [erase_person, set_hold, lift_hold, list_holds]


def _hold(one: LegalHold) -> HoldBody:
    about = str(one.about) if one.about else None
    return HoldBody(str(one.id), one.what, about, one.reason, one.since, one.until)
