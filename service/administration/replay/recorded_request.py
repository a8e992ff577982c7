"""Parses the stored bytes of a decision into its request, facts and verdict. Pure: owns no state.

Records of every release are read. Values that an older record lacks follow from the rest of it, or are marked as not
recorded. Of the texts beside a record, only personal attributes are needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec

from service.authorization.enforcement.attribute_values import GROUPS, ID, PROJECTS_LED, TEAMS, read_recorded
from service.authorization.enforcement.decision_point import EvaluationRequest, Resource
from service.authorization.enforcement.decision_record import PERSONAL
from service.authorization.enforcement.fact_lookup import About, FactLookup
from service.errors import BadInput
from service.identity.principal import Principal, PrincipalKind
from service.policy.access_request import NO_STATE, Reason, Verdict
from service.policy.attributes import AttributeType
from service.policy.known_words import AGENT
from service.policy.matching import former_word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.policy.attributes import Value

# For records without `asked`: the kinds that had lists, and the relations and facts of their rows.
EARLY_LISTS: Final = frozenset({"timesheet", "token", "directory"})
EARLY_RELATIONS: Final = {"timesheet": ("owner", "manager", "importer")}
EARLY_FACTS: Final = {"timesheet": ("acted_for_owner",)}
ERASED, TOO_LARGE = "was erased", "was too large to be recorded"
NO_TEXTS: Final[Mapping[str, str]] = MappingProxyType({})


class NotARequest(BadInput):
    slug = "not-a-request"
    summary = "The record is not a decision that can be evaluated again"


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A recorded request with its facts, and its verdict under `version`.

    `action` is the record's; the request has the action whose rules decided, which differs for lists of approvals.
    `found`: the row existed. `state_recorded`: the record holds the state of the resource. `returned`: it holds the
    rows that a list returned; otherwise there may have been some. `former_hidden`: the person had ids before an
    erasure, of which the record holds only those that rules asked for. `applied`: the change took place.

    `attributes` are the recorded values, as JSON; `lost` are those that are not in the record any more, or were too
    large, with the reason in words. `open_words`: facts and relations that the record does not tell, with the cause;
    see `interpretation`.
    """

    uid: str
    action: str
    request: EvaluationRequest
    verdict: Verdict
    version: int
    digest: str
    found: bool
    state_recorded: bool
    returned: bool = False
    former_hidden: bool = False
    applied: bool = False
    attributes: Mapping[str, object] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    open_words: Mapping[str, str] = field(default_factory=dict)
    attributes_recorded: bool = False

    @property
    def listed(self) -> bool:
        """Whether it was an allowed list: its rows were not decided one by one."""
        return self.verdict.allowed and self.request.lookup.about is About.LIST

    @property
    def subject(self) -> str:
        """The person's id, or `client:` and the client that acted for itself."""
        principal = self.request.principal
        return str(principal.person) if principal.person else f"client:{principal.client}"


def parse_request(body: bytes, texts: Mapping[str, str] = NO_TEXTS) -> RecordedRequest:
    """The request in a record's bytes. `texts`: those beside the record that are not erased. Raises NotARequest."""
    try:
        return _to_request(_DECODER.decode(body), texts)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise NotARequest(cause=type(error).__name__) from None


class _RecordBody(msgspec.Struct):
    """The members of a record that a verdict can depend on."""

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
    decided_at: datetime
    asked: _Asked | None = None
    returned: list[str] = []
    applied: bool | None = None
    attributes: dict[str, Any] = {}
    attributes_left_out: list[str] = []
    commitments: dict[str, str] = {}


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
    acr: str | None = None
    also: list[str] = []
    actors: list[str] = []
    former: _Former | None = None


class _Former(msgspec.Struct):
    named: list[str]
    others: int


class _Version(msgspec.Struct):
    version: int
    digest: str


class _Asked(msgspec.Struct):
    about: About
    looked: bool
    found: bool
    action: str | None = None


_DECODER: Final = msgspec.json.Decoder(_RecordBody)


def _to_request(record: _RecordBody, texts: Mapping[str, str]) -> RecordedRequest:
    thing, who, at = record.resource, record.principal, record.decided_at.astimezone(UTC)
    former = who.former or _Former([], 0)
    verdict = Verdict(record.outcome == "allow", Reason(record.reason), tuple(record.rules))
    asked = record.asked or _infer_asked(record, verdict.reason)
    relations, facts = record.relations, record.facts
    if record.asked is None and asked.looked and not relations:
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
        # The record holds the age of the sign-in, not its time.
        authenticated_at=None if who.auth_age is None else int(at.timestamp()) - who.auth_age,
        methods=None if who.methods is None else frozenset(who.methods),
        acr=who.acr,
        person=None if who.person is None else UUID(who.person),
        actors=tuple(who.actors),
        agent=facts.get(AGENT),
    )
    attributes, lost = _read_attributes(record, texts)
    lookup = FactLookup(
        record.policy.version,
        0,
        at,
        frozenset(),
        relations=frozenset(
            name if holds else former_word(name) for name, holds in relations.items() if holds is not False
        ),
        evaluated=frozenset(relations),
        about=asked.about,
        looked=asked.looked,
        ids=frozenset(UUID(person) for person in who.also),
        former_ids=frozenset(UUID(person) for person in former.named),
        caller=_read_caller(attributes, who),
    )
    owner = None if thing.owner is None else UUID(thing.owner)
    resource = Resource(thing.kind, thing.id, owner, thing.state or NO_STATE, thing.version)
    decided = asked.action or record.action
    request = EvaluationRequest(principal=principal, action=decided, resource=resource, lookup=lookup, facts=facts)
    state_recorded = record.asked is not None or thing.state is not None or thing.id is None
    return RecordedRequest(
        record.uid,
        record.action,
        request,
        verdict,
        record.policy.version,
        record.policy.digest,
        asked.found,
        state_recorded,
        bool(record.returned),
        who.former is not None,
        record.applied is True,
        attributes,
        lost,
        attributes_recorded=AGENT in facts,
    )


def _read_attributes(record: _RecordBody, texts: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The recorded attributes with those that are personal data, and those that are lost."""
    committed = [name for name in record.commitments if name.startswith(PERSONAL)]
    lost = dict.fromkeys(record.attributes_left_out, TOO_LARGE)
    if not committed:
        return record.attributes, lost
    held = {name.removeprefix(PERSONAL): msgspec.json.decode(texts[name]) for name in committed if name in texts}
    lost |= {name.removeprefix(PERSONAL): ERASED for name in committed if name not in texts}
    return {**record.attributes, **held}, lost


def _read_caller(attributes: Mapping[str, Any], who: _Who) -> dict[str, Value]:
    """What code knows of the caller in the directory. Empty lists are not recorded."""
    caller: dict[str, Value] = {
        name: read_recorded(attributes.get(name, []), AttributeType.STRINGS) or ()
        for name in (GROUPS, TEAMS, PROJECTS_LED)
    }
    person = read_recorded(attributes.get(ID, who.person), AttributeType.STRING)
    return caller if person is None else {**caller, ID: person}


def _infer_asked(record: _RecordBody, reason: Reason) -> _Asked:
    """The subject of the request, for a record that does not name it."""
    thing = record.resource
    if reason is Reason.UNKNOWN_RESOURCE:
        return _Asked(About.ROW, looked=True, found=False)
    if thing.kind in EARLY_LISTS and thing.id is None and thing.owner is None and record.action == "read":
        return _Asked(About.LIST, looked=True, found=False)
    looked = reason is not Reason.INSUFFICIENT_SCOPE
    if thing.kind != "timesheet" or (thing.id is None and thing.owner is None):
        return _Asked(About.KIND, looked=True, found=False)
    if record.action in {"create", "upload"}:
        return _Asked(About.NEW, looked, found=thing.id is not None)
    return _Asked(About.ROW, looked, found=looked)
