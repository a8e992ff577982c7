"""From the stored bytes of a decision back to what was asked, what was seen and what was answered. Pure: owns no state.

Records of every age are read: what an older one does not tell is told from the rest of it, or marked as not told.
An erased text is never asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from service.authorization.enforcement.decision_point import EvaluationRequest, Resource
from service.authorization.enforcement.relationships import About, FactLookup
from service.errors import BadInput
from service.identity.principal import Principal, PrincipalKind
from service.policy.access_request import NO_STATE, Reason, Verdict
from service.policy.matching import former_word

# What a record that does not tell what was asked about can have been about: other kinds had no lists and no relations.
EARLY_LISTS: Final = frozenset({"timesheet", "token", "directory"})
EARLY_RELATIONS: Final = {"timesheet": ("owner", "manager", "importer")}
EARLY_FACTS: Final = {"timesheet": ("acted_for_owner",)}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class NotARequest(BadInput):
    slug = "not-a-request"
    summary = "The record is not a decision that can be asked again"


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """What was asked and seen, and the verdict that it got under `version`. `action` is what the record calls it; the
    request has the action whose rules decided, which is another one for a list of approvals. `found`: there was such
    a row. `told_state`: the record says in which state the thing was, if it has any. `returned`: it says which
    rows a list returned; when it does not, there may have been some. `former_untold`: the person had ids before an
    erasure, of which the record tells only what rules asked for."""

    uid: str
    action: str
    request: EvaluationRequest
    verdict: Verdict
    version: int
    age: int | None
    found: bool
    told_state: bool
    returned: bool = False
    former_untold: bool = False

    @property
    def listed(self) -> bool:
        """Whether it was a list that somebody got: its rows were not decided one by one."""
        return self.verdict.allowed and self.request.lookup.about is About.LIST

    @property
    def subject(self) -> str:
        """The person's id, or the client that acted for itself."""
        principal = self.request.principal
        return str(principal.person) if principal.person else f"client:{principal.client}"


def read(body: bytes) -> RecordedRequest:
    """The request in a record's bytes. Raises NotARequest."""
    try:
        return _request(_DECODER.decode(body))
    except (msgspec.MsgspecError, ValueError) as error:
        raise NotARequest(cause=type(error).__name__) from None


class _Recorded(msgspec.Struct):
    """The members of a record that a verdict can rest on."""

    uid: str
    outcome: Literal["allow", "deny"]
    reason: str
    rules: list[str]
    action: str
    resource: _Thing
    principal: _Who
    relations: dict[str, bool | None]
    facts: dict[str, bool | None]
    policy: _Version
    asked: _Asked | None = None
    returned: list[str] = []


class _Thing(msgspec.Struct):
    kind: str
    id: str | None
    owner: str | None
    state: str | None
    version: int | None


class _Who(msgspec.Struct):
    kind: str
    person: str | None
    client: str
    scopes: list[str]
    roles: list[str]
    auth_age: int | None
    methods: list[str] | None
    also: list[str] = []
    former: _Former | None = None


class _Former(msgspec.Struct):
    named: list[str]
    others: int


class _Version(msgspec.Struct):
    version: int


class _Asked(msgspec.Struct):
    about: About
    looked: bool
    found: bool
    action: str | None = None


_DECODER: Final = msgspec.json.Decoder(_Recorded)


def _request(one: _Recorded) -> RecordedRequest:
    thing, who = one.resource, one.principal
    former = who.former or _Former([], 0)
    verdict = Verdict(one.outcome == "allow", Reason(one.reason), tuple(one.rules))
    asked = one.asked or _early(one, verdict.reason)
    relations, facts = one.relations, one.facts
    if one.asked is None and asked.looked and not relations:
        relations = dict.fromkeys(EARLY_RELATIONS.get(thing.kind, ()), False)
        facts = {**dict.fromkeys(EARLY_FACTS.get(thing.kind, ())), **facts}
    principal = Principal(
        PrincipalKind(who.kind),
        "",
        "",
        who.client,
        frozenset(who.scopes),
        frozenset(who.roles),
        None,
        0,
        0,
        # Ages are recorded, not times: the sign-in is put at 0, and the moment of deciding at its age.
        authenticated_at=None if who.auth_age is None else 0,
        methods=None if who.methods is None else frozenset(who.methods),
        person=None if who.person is None else UUID(who.person),
    )
    lookup = FactLookup(
        one.policy.version,
        0,
        _EPOCH,
        frozenset(),
        relations=frozenset(
            name if holds else former_word(name) for name, holds in relations.items() if holds is not False
        ),
        evaluated=frozenset(relations),
        about=asked.about,
        looked=asked.looked,
        ids=frozenset(UUID(one) for one in who.also),
        former_ids=frozenset(UUID(one) for one in former.named),
    )
    owner = None if thing.owner is None else UUID(thing.owner)
    resource = Resource(thing.kind, thing.id, owner, thing.state or NO_STATE, thing.version)
    decided = asked.action or one.action
    request = EvaluationRequest(principal=principal, action=decided, resource=resource, lookup=lookup, facts=facts)
    told = one.asked is not None or thing.state is not None or thing.id is None
    version, age, returned = one.policy.version, who.auth_age, bool(one.returned)
    return RecordedRequest(
        one.uid, one.action, request, verdict, version, age, asked.found, told, returned, who.former is not None
    )


def _early(one: _Recorded, reason: Reason) -> _Asked:
    """What a record that does not say it was asked about."""
    thing = one.resource
    if reason is Reason.UNKNOWN_RESOURCE:
        return _Asked(About.ROW, looked=True, found=False)
    if thing.kind in EARLY_LISTS and thing.id is None and thing.owner is None and one.action == "read":
        return _Asked(About.LIST, looked=True, found=False)
    looked = reason is not Reason.INSUFFICIENT_SCOPE
    if thing.kind != "timesheet" or (thing.id is None and thing.owner is None):
        return _Asked(About.KIND, looked=True, found=False)
    if one.action in {"create", "upload"}:
        return _Asked(About.NEW, looked, found=thing.id is not None)
    return _Asked(About.ROW, looked, found=looked)
