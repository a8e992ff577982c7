"""The pages for policy authors: versions, the editor, the difference, replay over history, and trying a request.

A draft is in the browser until it is proposed. Checking it is decided by the API and recorded as a dry run.
"""

import asyncio
from collections import Counter
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, Parameter

from service.console.failures import Failure, describe_problem
from service.console.form_values import MAX_NUMBER, number_of, start_of
from service.console.rooms import NavigationLink, Room
from service.console.visits import ListPage, TheVisit, Visit, is_part
from service.standalone.client import (
    ApiResult,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    PolicyTexts,
    PolicyVersion,
    Replay,
)

VERSIONS = "/v1/policies/versions"
RULES, VOCABULARY, MODEL = "policy.csv", "vocabulary.toml", "model.conf"
CASES = "cases/"
PAGE = 100
CHANGES = {
    "allow_to_deny": "allowed then, denied now",
    "deny_to_allow": "denied then, allowed now",
    "other_reason": "the same, for another reason",
    "other_rules": "the same, by other rules",
    "other_approvals": "approval complete only then, or only now",
    "undecidable": "undecidable: a fact was not recorded",
}
RUNNING = ("queued", "running")
# The kinds of words by which a replay groups records, each with the title of its table.
GROUPS = {"rule": "By rule", "action": "By action", "subject": "By person", "cause": "By cause"}
Number = Annotated[int, Parameter(ge=1, le=MAX_NUMBER)]


class DraftComplaint(msgspec.Struct):
    """Something found in a policy, and where."""

    file: str
    line: int
    column: int
    message: str
    suggestion: str | None = None


class DraftFindings(ApiResult):
    """The findings about a draft."""

    complaints: list[DraftComplaint]
    warnings: list[DraftComplaint]
    untried: list[DraftComplaint]
    changes: list[str]


class VersionDifference(ApiResult):
    """The differences between two versions."""

    against: int
    same: bool
    rows: list[dict[str, Any]]
    words: list[str]
    files: list[str]
    verdicts: list[dict[str, Any]]
    cut_short: list[str]
    cases: list[dict[str, Any]]


class Authored(PolicyVersion, kw_only=True):
    """A version, with who proposed and activated it."""

    author: str | None = None
    author_client: str = ""
    activated_at: datetime | None = None
    activated_by: str | None = None
    activated_by_client: str | None = None
    names: dict[str, str] | None = None


class AuthoredTexts(Authored, kw_only=True):
    """The same with its files."""

    model: str
    rules: str
    vocabulary: str
    cases: dict[str, str]


class Flip(msgspec.Struct):
    """How many records with this word changed in this way."""

    change: str
    by: str
    word: str
    count: int


class FlippedGroup(msgspec.Struct):
    """The flips by one kind of word."""

    by: str
    title: str
    flips: list[Flip]


class RunningReplica(msgspec.Struct):
    """An API process, and the version that it decides by."""

    id: str
    policy_version: int | None
    started_at: datetime
    seen_at: datetime
    alive: bool


class RunningReplicas(ApiResult):
    """The API processes that ran within the last hour."""

    items: list[RunningReplica]


class TriedRequest(ApiResult):
    """A simulated decision."""

    verdict: str
    reason: str
    rules: list[str]
    near_misses: list[dict[str, Any]]
    denied_because: list[dict[str, Any]]
    told: list[str]
    version: int
    state: str | None
    relations: list[str]
    facts: dict[str, bool | None]
    assumed: list[str]


@get("/policies")
async def list_versions(visit: TheVisit) -> Response[str]:
    """Every version, newest first, and which processes decide by which."""
    replicas = await visit.api.call(RunningReplicas, "GET", "/v1/policies/replicas")
    query = {"names": True, "limit": PAGE, "cursor": visit.request.query_params.get("cursor") or None}
    page = await visit.api.call(ListPage[Authored], "GET", VERSIONS, query=query)
    alive = [replica for replica in replicas.items if replica.alive]
    deciding = Counter(replica.policy_version for replica in alive)
    return visit.render("policies.html", page=page, versions=page.items, deciding=deciding, replicas=alive)


@get("/policies/{number:int}")
async def show_version(visit: TheVisit, number: Number) -> Response[str]:
    """A version: its texts by line, what it changes against the active one, and what can be done with it."""
    return await _show_version(visit, number)


@post("/policies/{number:int}/activate", status_code=303)
async def activate_version(visit: TheVisit, number: Number) -> Response[Any]:
    """Activate a version instead of the one that the person has seen as active."""
    seen = number_of((await visit.read_form()).get("instead_of"))
    try:
        await visit.api.activate_policy(number, instead_of=seen or 0)
    except (Conflict, Denied, Invalid) as found:
        return await _show_version(visit, number, describe_problem(found))
    return visit.redirect(f"/policies/{number}", done="activated")


@get("/draft")
async def open_editor(visit: TheVisit) -> Response[str]:
    """The editor, with the texts of a version: the active one, or that which the address names."""
    given = visit.request.query_params.get("from")
    number = number_of(given)
    if given and not number:
        raise NotFoundException
    texts = await visit.api.policy_version(number)
    return visit.render(
        "policy_edit.html", base=texts.number, files=_files(texts), message="", problem=None, found=None
    )


@post("/draft/check", status_code=200)
async def check_draft(visit: TheVisit) -> Response[str]:
    """What the API finds in the draft, with lines: a fragment."""
    form = await visit.request.form()
    checked = await visit.api.call(
        DraftFindings, "POST", "/v1/policies/check", body={**_draft(form), "message": "check"}
    )
    return visit.render("policy_findings.html", found=checked, version=None)


@post("/draft", status_code=303)
async def propose_draft(visit: TheVisit) -> Response[Any]:
    """Propose the draft as a version."""
    form = await visit.request.form()
    draft, message = _draft(form), str(form.get("message", "")).strip()
    try:
        version = await visit.api.call(PolicyVersion, "POST", VERSIONS, body={**draft, "message": message})
    except (Invalid, Conflict) as found:
        complaints, warnings = (
            [msgspec.convert(item, DraftComplaint) for item in found.members.get(member) or () if "line" in item]
            for member in ("complaints", "warnings")
        )
        files = {RULES: draft["rules"], VOCABULARY: draft["vocabulary"], MODEL: draft["model"]}
        files |= {CASES + name: text for name, text in draft["cases"].items()}
        return visit.render(
            "policy_edit.html",
            found.receipt.status,
            base=str(form.get("base", "")),
            files=files,
            message=message,
            problem=describe_problem(found),
            found=DraftFindings(complaints, warnings, [], []),
        )
    return visit.redirect(f"/policies/{version.number}", done="proposed")


@post("/policies/{number:int}/replay", status_code=303)
async def start_replay(visit: TheVisit, number: Number) -> Response[Any]:
    """Have recorded requests decided again by a version."""
    form = await visit.read_form()
    try:
        times = {field: start_of(form[field], visit.zone) for field in ("since", "until") if form.get(field)}
        replay = await visit.api.start_replay(number, **times)
    except ValueError:
        wrong = Failure(422, "Nothing was started", "Write days as year, month and day, for example 2026-03-02.")
        return await _show_version(visit, number, wrong, form)
    except (Conflict, Denied, Invalid) as found:
        return await _show_version(visit, number, describe_problem(found), form)
    return visit.redirect(f"/replays/{replay.id}")


@get("/replays")
async def list_replays(visit: TheVisit) -> Response[str]:
    """Replays, newest first."""
    query = {"names": True, "limit": PAGE, "cursor": visit.request.query_params.get("cursor") or None}
    page = await visit.api.call(ListPage[Replay], "GET", "/v1/replays", query=query)
    return visit.render("replays.html", page=page, replays=page.items)


@get("/replays/{replay_id:uuid}")
async def show_replay(visit: TheVisit, replay_id: FromPath[UUID]) -> Response[str]:
    """A replay: its progress while it runs, and what flips. htmx asks for the part that changes."""
    replay = await visit.api.replay(str(replay_id), names=True)
    template = "replay_result.html" if is_part(visit.request) else "replay.html"
    return visit.render(
        template, replay=replay, running=replay.state in RUNNING, changes=CHANGES, groups=_flips(replay)
    )


@post("/replays/{replay_id:uuid}/cancel", status_code=303)
async def cancel_replay(visit: TheVisit, replay_id: FromPath[UUID]) -> Response[Any]:
    """Stop a replay."""
    await visit.api.send("POST", f"/v1/replays/{replay_id}/cancel")
    return visit.redirect(f"/replays/{replay_id}")


@get("/try")
async def open_try(visit: TheVisit) -> Response[str]:
    """The form for a request that is only tried."""
    return visit.render("try.html", given={}, tried=None, problem=None)


@post("/try", status_code=200)
async def try_request(visit: TheVisit) -> Response[str]:
    """Decide on a request without effect, under any version."""
    form = await visit.read_form()
    try:
        tried = await visit.api.call(TriedRequest, "POST", "/v1/policies/simulate", body=_question(form))
    except (Invalid, NotFound) as found:
        return visit.render("try.html", found.receipt.status, given=form, tried=None, problem=found)
    return visit.render("try.html", given=form, tried=tried, problem=None)


async def _show_version(
    visit: Visit, number: int, failure: Failure | None = None, form: dict[str, str] | None = None
) -> Response[str]:
    version, active = await asyncio.gather(
        visit.api.call(AuthoredTexts, "GET", f"{VERSIONS}/{number}", query={"names": True}),
        visit.api.policy_version(),
    )
    against = active.number if active.number != number else version.parent
    difference = None
    if against is not None:
        difference = await visit.api.call(
            VersionDifference, "GET", f"{VERSIONS}/{number}/diff", query={"against": against}
        )
    return visit.render(
        "policy.html",
        failure.status if failure else 200,
        version=version,
        files=_files(version),
        rule_at=_rule_at(version.rules),
        active=active.number,
        difference=difference,
        failure=failure,
        form=form or {},
    )


def _files(texts: PolicyTexts | AuthoredTexts) -> dict[str, str]:
    return {RULES: texts.rules, VOCABULARY: texts.vocabulary, MODEL: texts.model} | {
        CASES + name: text for name, text in sorted(texts.cases.items())
    }


def _rule_at(rules: str) -> dict[int, str]:
    """The names of the rules of policy.csv, by their lines."""
    lines = enumerate(rules.splitlines(), 1)
    return {number: line.rpartition(",")[2].strip() for number, line in lines if line.lstrip().startswith("p,")}


def _flips(replay: Replay) -> list[FlippedGroup]:
    """The records that are decided otherwise, in the order of GROUPS."""
    found = [Flip(**group) for group in (replay.result or {}).get("groups", ())]
    groups = [(by, title, [flip for flip in found if flip.by == by]) for by, title in GROUPS.items()]
    return [FlippedGroup(by, title, flips) for by, title, flips in groups if flips]


def _draft(form: Any) -> dict[str, Any]:
    """The texts of a form. Browsers send line ends as CR LF."""
    texts = {
        name.removeprefix("file:"): str(text).replace("\r\n", "\n")
        for name, text in form.items()
        if name.startswith("file:")
    }
    if not {RULES, VOCABULARY, MODEL} <= texts.keys():
        raise NotFoundException
    return {
        "rules": texts.pop(RULES),
        "vocabulary": texts.pop(VOCABULARY),
        "model": texts.pop(MODEL),
        "cases": {name.removeprefix(CASES): text for name, text in texts.items()},
    }


def _question(form: dict[str, str]) -> dict[str, Any]:
    """A simulated request. A real timesheet has its own state and relations."""
    subject: dict[str, Any] = {
        "client": form.get("client") or "timewarden-console",
        "scopes": form.get("scopes", "").split(),
        "roles": form.get("roles", "").replace(",", " ").split(),
        "auth_age": 60,
    }
    if form.get("person"):
        subject["person"] = form["person"]
    if form.get("mfa"):
        subject["methods"] = ["pwd", "mfa"]
    resource: dict[str, Any] = {"kind": form.get("kind") or "timesheet"}
    if form.get("id"):
        resource["id"] = form["id"]
    else:
        resource["relations"] = form.get("relations", "").replace(",", " ").split()
        resource["facts"] = dict(_fact(word) for word in form.get("facts", "").split(",") if word.strip())
        if form.get("state"):
            resource["state"] = form["state"]
    question = {"subject": subject, "action": form.get("action", ""), "resource": resource}
    # The API refuses 0, and says that it is no version.
    return {**question, "version": number_of(form["version"]) or 0} if form.get("version") else question


def _fact(words: str) -> tuple[str, bool]:
    """A fact as `mfa` or `not mfa`."""
    name = words.strip()
    return name.removeprefix("not ").strip(), not name.startswith("not ")


ROOM = Room(
    "Policy",
    (
        NavigationLink("Versions", "/policies", "policy", ("read",)),
        NavigationLink("Editor", "/draft", "policy", ("propose",)),
        NavigationLink("Replays", "/replays", "policy", ("read",)),
        NavigationLink("Try", "/try", "policy", ("simulate",)),
    ),
    (
        list_versions,
        show_version,
        activate_version,
        open_editor,
        check_draft,
        propose_draft,
        start_replay,
        list_replays,
        show_replay,
        cancel_replay,
        open_try,
        try_request,
    ),
    done={
        "proposed": "The version is proposed. It decides nothing until it is activated.",
        "activated": "The version is active: every request from now on is decided by it.",
    },
)
