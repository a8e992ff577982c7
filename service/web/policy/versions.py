"""/v1/policies: list, read, propose, activate and roll back versions while the service runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody  # noqa: TC002 — Litestar reads handler signatures
from msgspec import Meta

from service.fields import Fields
from service.policy.policy_file import PolicyText
from service.web.http.bodies import DeferredBodyRequest, read_body
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import CurrentCaller, Cursor, Limit, Number, WithNames, parse_number, parse_text
from service.web.http.problem_documents import PolicyComplaint
from service.web.http.responses import (
    ClientId,
    Hex,
    Id,
    Names,
    NextCursor,
    PersonId,
    TimeText,
    make_response,
    names_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.administration.versions.administration import PolicyAdministration, Proposed, VersionWithTexts
    from service.administration.versions.version_store import PolicyVersion
    from service.authorization.enforcement.changes import Caller
    from service.places import Complaint
    from service.web.http.paging import Cursors

LISTING = "policy versions"
# A whole policy, in bytes of JSON: more than other bodies may have.
MAX_BYTES = 2_000_000
MAX_MESSAGE_CHARS = 500
TAG = "Policy"


class Proposal(msgspec.Struct, forbid_unknown_fields=True):
    """A whole policy, as the texts of its files. The body may have 2,000,000 bytes."""

    message: Annotated[
        str,
        Meta(description="Why, on one line", min_length=1, max_length=MAX_MESSAGE_CHARS, examples=["Leads may reopen"]),
    ]
    model: Annotated[
        str, Meta(description="The text of model.conf", max_length=20_000, examples=["[request_definition] ..."])
    ]
    rules: Annotated[str, Meta(description="The text of policy.csv", max_length=1_000_000, examples=["p, ..."])]
    vocabulary: Annotated[
        str, Meta(description="The text of vocabulary.toml", max_length=200_000, examples=["[kinds.timesheet] ..."])
    ]
    cases: Annotated[
        dict[str, str], Meta(description="The texts of the case files by name", examples=[{"timesheets.yaml": "..."}])
    ]


# The body is read by the handler, once the caller is known to be one who may propose.
DEFERRED: Final[Mapping[str, Any]] = {
    "request_class": DeferredBodyRequest,
    "request_max_body_size": MAX_BYTES,
    "opt": {"unread": Proposal("", "", "", "", {})},
}


class Activation(msgspec.Struct, forbid_unknown_fields=True):
    """An activation or rollback that is made only if the expected version is active."""

    expected_active: Annotated[
        int,
        Meta(
            description="The version that you expect to be active; 409 if another version is",
            ge=1,
            le=2_147_483_647,
            examples=[1],
        ),
    ]


class VersionBody(msgspec.Struct, kw_only=True):
    """A policy version."""

    number: Annotated[int, Meta(description="Its number, from 1", ge=1, examples=[2])]
    digest: Annotated[Hex, Meta(description="The SHA-256 of its texts")]
    parent: Annotated[
        int | None, Meta(description="The version that was active when it was proposed; null: none", examples=[1])
    ]
    message: Annotated[str, Meta(description="Why it was proposed", examples=["Leads may reopen"])]
    author: Annotated[PersonId | None, Meta(description="Who proposed it; null: the client acted for itself")]
    author_client: Annotated[ClientId, Meta(description="Through which client", examples=["timesheets-cli"])]
    proposed_at: Annotated[TimeText, Meta(description="When it was proposed")]
    state: Annotated[
        Literal["proposed", "active", "retired"],
        Meta(
            description="`proposed` until it is activated, `active` while it decides, `retired` afterwards",
            examples=["proposed"],
        ),
    ]
    active: Annotated[bool, Meta(description="Whether it decides", examples=[False])]
    activated_at: Annotated[
        TimeText | None, Meta(description="When it was activated last; null: never", examples=[None])
    ]
    activated_by: Annotated[
        PersonId | None,
        Meta(description="Who activated it; null: nobody, or a client that acted for itself", examples=[None]),
    ]
    activated_by_client: Annotated[str | None, Meta(description="Through which client; null: never", examples=[None])]
    names: Names = msgspec.UNSET


class ProposedVersion(VersionBody, kw_only=True):
    """A proposed version. Up to a hundred warnings and untested rules are listed, with the number of the others."""

    warnings: Annotated[
        list[PolicyComplaint],
        Meta(description="Warnings that do not reject the proposal, such as a row that a broader row shadows"),
    ]
    untried: Annotated[
        list[PolicyComplaint],
        Meta(description="Rules that decide no case, and words without an allowed or a denied case"),
    ]


class CheckedPolicy(msgspec.Struct):
    """The findings about a policy. Only complaints would refuse a proposal."""

    complaints: Annotated[list[PolicyComplaint], Meta(description="What would refuse it", examples=[[]])]
    warnings: Annotated[
        list[PolicyComplaint],
        Meta(description="What would not, such as a row that a broader row shadows", examples=[[]]),
    ]
    untried: Annotated[
        list[PolicyComplaint],
        Meta(description="Rules that decide no case, and words without an allowed or a denied case", examples=[[]]),
    ]
    changes: Annotated[
        list[str],
        Meta(
            description="Sentences about the decisions that would differ from those of the active version; empty if"
            " there are complaints",
            examples=[["a caller with the role payroll may now read a timesheet in any state"]],
        ),
    ]


class VersionTexts(VersionBody, kw_only=True):
    """A policy version with its texts."""

    model: Annotated[str, Meta(description="The text of model.conf", examples=["[request_definition]\n..."])]
    rules: Annotated[str, Meta(description="The text of policy.csv", examples=["p, allow, ..."])]
    vocabulary: Annotated[str, Meta(description="The text of vocabulary.toml", examples=["[kinds.timesheet]\n..."])]
    cases: Annotated[
        dict[str, str],
        Meta(
            description="The texts of the case files by name",
            examples=[{"timesheets.yaml": "- case: an employee reads their own week\n  ..."}],
        ),
    ]


class ReplicaBody(msgspec.Struct):
    """An API process. A process that is behind loads the active version before its next decision."""

    id: Annotated[Id, Meta(description="The process's id")]
    policy_version: Annotated[
        int | None,
        Meta(description="The version that it decided by at its last heartbeat; null while it started", examples=[7]),
    ]
    started_at: Annotated[TimeText, Meta(description="When it started")]
    seen_at: Annotated[TimeText, Meta(description="When its last heartbeat was")]
    alive: Annotated[bool, Meta(description="Whether it is alive", examples=[True])]


class Replicas(msgspec.Struct):
    """The API processes that ran within the last hour."""

    items: Annotated[list[ReplicaBody], Meta(description="The processes, newest first")]


class VersionPage(msgspec.Struct):
    """Policy versions, newest first."""

    items: Annotated[list[VersionBody], Meta(description="The versions of this page")]
    next_cursor: NextCursor


def policy_routes(administration: PolicyAdministration, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @get("/v1/policies/versions", **operation("List policy versions", scope="read:policies", problems=COMMON, tag=TAG))
    async def list_versions(
        caller: CurrentCaller,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[VersionPage]:
        after = cursors.read(LISTING, {}, cursor)
        before = int(after[0]) if after else None
        answer = await administration.list(caller, before=before, limit=limit + 1, with_names=names)
        page = answer.value[:limit]
        following = cursors.make(LISTING, {}, [page[-1].number]) if len(answer.value) > limit else None
        return make_response(
            VersionPage([VersionBody(**_members(version)) for version in page], following), answer.receipt
        )

    @get(
        "/v1/policies/versions/{number:str}",
        **operation("Read a version", scope="read:policies", problems=ROW, tag=TAG),
    )
    async def read_version(
        caller: CurrentCaller,
        number: Number,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[VersionTexts]:
        answer = await administration.read(caller, parse_number(number, "path.number"), with_names=names)
        return make_response(_version_texts(answer.value), answer.receipt)

    @get(
        "/v1/policies/active",
        **operation("Read the active version", scope="read:policies", problems=ROW, tag=TAG),
    )
    async def read_active(
        caller: CurrentCaller,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[VersionTexts]:
        answer = await administration.active(caller, with_names=names)
        return make_response(_version_texts(answer.value), answer.receipt)

    @get(
        "/v1/policies/replicas",
        **operation("List replicas with their versions", scope="read:policies", problems=COMMON, tag=TAG),
    )
    async def list_replicas(caller: CurrentCaller) -> Response[Replicas]:
        answer = await administration.replicas(caller)
        items = [
            ReplicaBody(
                str(replica.id),
                replica.policy_version,
                replica.started_at.isoformat(),
                replica.seen_at.isoformat(),
                replica.alive,
            )
            for replica in answer.value
        ]
        return make_response(Replicas(items), answer.receipt)

    async def read_proposal(request: DeferredBodyRequest, caller: Caller) -> Proposal:
        """The body, for a caller who could propose it at all. Raises Denied, BadInput."""
        await administration.admit(caller)
        proposal: Proposal = read_body(await request.read_whole(MAX_BYTES), Proposal)
        return proposal

    proposing = operation(
        "Propose a version", scope="write:policies", problems=(*COMMON, *BODY), tag=TAG, location=True, names=True
    )
    proposing["responses"][200] = ResponseSpec(
        ProposedVersion,
        generate_examples=False,
        description="The newest version has these texts and is not activated yet",
    )

    @post("/v1/policies/versions", **DEFERRED, **proposing)
    async def propose(
        request: DeferredBodyRequest, caller: CurrentCaller, data: JSONBody[Proposal]
    ) -> Response[ProposedVersion]:
        data = await read_proposal(request, caller)
        answer = await administration.propose(caller, _text(data), _message(data.message))
        return make_response(
            _proposed_version(answer.value),
            answer.receipt,
            status=201 if answer.value.anew else 200,
            location=f"/v1/policies/versions/{answer.value.version.number}",
        )

    @post(
        "/v1/policies/check",
        status_code=200,
        **DEFERRED,
        **operation("Check a policy without proposing it", scope="write:policies", problems=(*COMMON, *BODY), tag=TAG),
    )
    async def check(
        request: DeferredBodyRequest, caller: CurrentCaller, data: JSONBody[Proposal]
    ) -> Response[CheckedPolicy]:
        data = await read_proposal(request, caller)
        _message(data.message)
        answer = await administration.check(caller, _text(data))
        report = answer.value
        found = (_complaints(report.complaints), _complaints(report.warnings), _complaints(report.untried))
        return make_response(CheckedPolicy(*found, list(report.changes)), answer.receipt)

    @post(
        "/v1/policies/versions/{number:str}/activate",
        status_code=200,
        **operation("Activate a version", scope="write:policies", problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def activate(caller: CurrentCaller, number: Number, data: JSONBody[Activation]) -> Response[VersionBody]:
        answer = await administration.activate(
            caller, parse_number(number, "path.number"), expected=data.expected_active
        )
        return make_response(VersionBody(**_members(answer.value)), answer.receipt)

    @post(
        "/v1/policies/rollback",
        status_code=200,
        **operation(
            "Roll back to the previous version",
            scope="write:policies",
            problems=(*ROW, *BODY, 409),
            tag=TAG,
            names=True,
        ),
    )
    async def roll_back(caller: CurrentCaller, data: JSONBody[Activation]) -> Response[VersionBody]:
        answer = await administration.roll_back(caller, expected=data.expected_active)
        return make_response(VersionBody(**_members(answer.value)), answer.receipt)

    return [list_versions, read_version, read_active, list_replicas, propose, check, activate, roll_back]


def _message(text: str) -> str:
    """The message as plain text on one line: it is shown on terminals and in lists."""
    fields = Fields()
    fields.text("message", text, MAX_MESSAGE_CHARS)
    if not text.strip():
        fields.wrong("message", "must say why")
    fields.refuse()
    return text


def _text(proposal: Proposal) -> PolicyText:
    """The policy of a proposal. Raises InvalidField."""
    return PolicyText(
        model=parse_text(proposal.model, "model"),
        rules=parse_text(proposal.rules, "rules"),
        vocabulary=parse_text(proposal.vocabulary, "vocabulary"),
        cases={parse_text(name, "cases"): parse_text(text, f"cases.{name}") for name, text in proposal.cases.items()},
    )


def _proposed_version(proposed: Proposed) -> ProposedVersion:
    report = proposed.report
    return ProposedVersion(
        **_members(proposed.version), warnings=_complaints(report.warnings), untried=_complaints(report.untried)
    )


def _complaints(found: Sequence[Complaint]) -> list[PolicyComplaint]:
    return [PolicyComplaint(**asdict(complaint)) for complaint in found]


def _version_texts(found: VersionWithTexts) -> VersionTexts:
    text = found.text
    return VersionTexts(
        **_members(found.version),
        model=text.model,
        rules=text.rules,
        vocabulary=text.vocabulary,
        cases=dict(text.cases),
    )


def _members(version: PolicyVersion) -> dict[str, Any]:
    return {
        "number": version.number,
        "digest": version.digest,
        "parent": version.parent,
        "message": version.message,
        "author": str(version.author_person) if version.author_person else None,
        "author_client": version.author_client,
        "proposed_at": version.proposed_at.isoformat(),
        "state": version.state,
        "active": version.active,
        "activated_at": version.activated_at.isoformat() if version.activated_at else None,
        "activated_by": str(version.activated_by) if version.activated_by else None,
        "activated_by_client": version.activated_by_client,
        "names": names_body(version.names),
    }
