"""Routes that erase people, and routes of legal holds. Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody  # noqa: TC002 - Litestar reads the signatures
from msgspec import Meta

from service.directory.legal_holds import WHAT
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.parameters import CurrentCaller, GivenPerson, WithNames, parse_person, parse_text, parse_uuid
from service.web.http.responses import EXAMPLE_PERSON, Id, Names, PersonId, SheetId, Time, make_response, names_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.directory.erasure import Erasure
    from service.directory.legal_holds import LegalHold, LegalHolds

TAG, HOLDS = "Directory", "Legal holds"


class ErasureRequest(msgspec.Struct, forbid_unknown_fields=True):
    """An erasure, or a dry run of one."""

    dry_run: Annotated[bool, Meta(description="Change nothing, return what would be erased", examples=[True])] = False


class ErasureBody(msgspec.Struct):
    """The result of an erasure. A dry run counts what would be erased, and names what forbids it."""

    person: PersonId
    dry_run: Annotated[bool, Meta(description="Whether this was a dry run, which changes nothing", examples=[False])]
    links: Annotated[int, Meta(description="Links to tokens", ge=0, examples=[1])]
    texts: Annotated[int, Meta(description="Texts beside the log", ge=0, examples=[4])]
    notes: Annotated[int, Meta(description="Notes on hours", ge=0, examples=[2])]
    attributes: Annotated[
        int, Meta(description="Values of attributes that are personal data or not declared", ge=0, examples=[1])
    ]
    sheets: Annotated[int, Meta(description="Timesheets that are drafts or rejected", ge=0, examples=[1])]
    hold: Annotated[Id | None, Meta(description="The legal hold that forbids it; null: none", examples=[None])]
    waiting: Annotated[
        list[SheetId],
        Meta(description="Submitted timesheets, which forbid it too", examples=[[]]),
    ]


class NewHold(msgspec.Struct, forbid_unknown_fields=True):
    """A legal hold to set."""

    what: Annotated[
        str,
        Meta(
            description="Whether everything, a person or one resource is on hold",
            max_length=20,
            examples=["person"],
            extra_json_schema={"enum": list(WHAT)},
        ),
    ]
    reason: Annotated[
        str, Meta(description="The reason", min_length=1, max_length=1000, examples=["Labour court, case 12/26"])
    ]
    about: Annotated[
        GivenPerson | None,
        Meta(description="The person, or the id of the resource; not for `all`", examples=[EXAMPLE_PERSON]),
    ] = None


class HoldBody(msgspec.Struct):
    """A legal hold."""

    id: Annotated[Id, Meta(description="The hold's id")]
    what: Annotated[
        str,
        Meta(
            description="Whether everything, a person or one resource is on hold",
            examples=["person"],
            extra_json_schema={"enum": list(WHAT)},
        ),
    ]
    about: Annotated[
        Id | None, Meta(description="The id of the person or resource; null for `all`", examples=[EXAMPLE_PERSON])
    ]
    reason: Annotated[str, Meta(description="The reason", examples=["Labour court, case 12/26"])]
    since: Annotated[Time, Meta(description="When it was set")]
    until: Annotated[
        Time | None, Meta(description="When it was lifted; null: it is in force", examples=["2027-01-01T00:00:00Z"])
    ]
    names: Names = msgspec.UNSET


class HoldList(msgspec.Struct):
    """Legal holds."""

    items: Annotated[list[HoldBody], Meta(description="The latest 200, newest first")]


def personal_data_routes(erasure: Erasure, holds: LegalHolds) -> list[Any]:
    """The handlers, bound to their use cases."""

    @post(
        "/v1/people/{person_id:str}/erase",
        status_code=200,
        **operation("Erase a person", scope="manage:directory", problems=(*ROW, *BODY, 409), tag=TAG),
    )
    async def erase_person(
        caller: CurrentCaller, person_id: FromPath[str], data: JSONBody[ErasureRequest]
    ) -> Response[ErasureBody]:
        person = parse_uuid(person_id, "path.person_id")
        answer = await (erasure.preview if data.dry_run else erasure.erase)(caller, person)
        erased = answer.value
        hold = str(erased.hold) if erased.hold else None
        body = ErasureBody(
            str(person),
            data.dry_run,
            erased.links,
            erased.texts,
            erased.notes,
            erased.attributes,
            erased.sheets,
            hold,
            [str(sheet) for sheet in erased.pending],
        )
        return make_response(body, answer.receipt)

    @post(
        "/v1/audit/holds",
        **operation("Set a legal hold", scope="read:audit", problems=(*COMMON, *BODY), tag=HOLDS, names=True),
    )
    async def set_hold(caller: CurrentCaller, data: JSONBody[NewHold]) -> Response[HoldBody]:
        about = None if data.about is None else parse_person(data.about, "about")
        answer = await holds.set(caller, data.what, about, parse_text(data.reason, "reason"))
        return make_response(_hold(answer.value, answer.names), answer.receipt, status=201)

    @post(
        "/v1/audit/holds/{hold_id:str}/lift",
        status_code=200,
        **operation("Lift a legal hold", scope="read:audit", problems=ROW, tag=HOLDS, names=True),
    )
    async def lift_hold(caller: CurrentCaller, hold_id: FromPath[str]) -> Response[HoldBody]:
        answer = await holds.lift(caller, parse_uuid(hold_id, "path.hold_id"))
        return make_response(_hold(answer.value, answer.names), answer.receipt)

    @get("/v1/audit/holds", **operation("List legal holds", scope="read:audit", problems=COMMON, tag=HOLDS))
    async def list_holds(
        caller: CurrentCaller,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[HoldList]:
        answer = await holds.list(caller, with_names=names)
        return make_response(HoldList([_hold(*named) for named in answer.value]), answer.receipt)

    return [erase_person, set_hold, lift_hold, list_holds]


def _hold(legal_hold: LegalHold, names: Mapping[str, str] | None = None) -> HoldBody:
    about = str(legal_hold.about) if legal_hold.about else None
    times = legal_hold.since, legal_hold.until
    return HoldBody(str(legal_hold.id), legal_hold.what, about, legal_hold.reason, *times, names_body(names))
