"""From a principal, an action, a resource and the looked-up facts to a Decision. Pure: owns no state.

The rules of the policy version decide; laws in code can still deny what the rules allow. A fact without a value is
unknown, and an unknown fact never helps the caller.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from service.authorization.enforcement.attribute_values import GROUPS, OWNER_ID
from service.authorization.enforcement.caller_values import caller_values, evaluate_facts
from service.authorization.enforcement.fact_lookup import About
from service.identity.principal import Principal, PrincipalKind
from service.ids import make_id
from service.policy import laws
from service.policy.access_request import NO_STATE, AccessRequest, Reason, Verdict
from service.policy.known_words import AGENT, DELEGATE
from service.policy.matching import ACTOR, GROUP, PERSON, former_word
from service.values import Struct, replace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.engine.engine import Snapshot
    from service.policy.attributes import Value
    from service.policy.expressions.expression import Expression

# Callers whose words are remembered.
MAX_CALLERS: Final = 4_096
BY_LAW = Verdict(allowed=False, reason=Reason.LAW)
NO_SCOPE = Verdict(allowed=False, reason=Reason.INSUFFICIENT_SCOPE)
NO_ROW = Verdict(allowed=False, reason=Reason.UNKNOWN_RESOURCE)


class Resource(Struct, frozen=True):
    """The resource of a decision. `id` is a UUID as text, or another opaque name for kinds without rows."""

    kind: str
    id: str | None = None
    owner: UUID | None = None
    state: str = NO_STATE
    version: int | None = None


class EvaluationRequest(Struct, frozen=True, kw_only=True):
    """A principal, an action and a resource. `facts` are those of the row and those of the sign-in, by name."""

    principal: Principal
    action: str
    resource: Resource
    lookup: FactLookup
    facts: Mapping[str, bool | None] = msgspec.field(default_factory=dict)


class Decision(Struct, frozen=True, kw_only=True):
    """The verdict on a request under one policy version. `uid` names the decision in the log and in the answer; `noted`
    are further members of its record. `asked_facts` are the facts that any rule for the action asks for; `who` are the
    words that describe the caller, if they are known."""

    uid: UUID
    request: EvaluationRequest
    access_request: AccessRequest
    verdict: Verdict
    version: int
    digest: str
    noted: Mapping[str, object] = msgspec.field(default_factory=dict)
    asked_facts: frozenset[str] = frozenset()
    who: frozenset[str] | None = None

    @property
    def allowed(self) -> bool:
        return self.verdict.allowed


def decide(snapshot: Snapshot, principal: Principal, action: str, resource: Resource, lookup: FactLookup) -> Decision:
    """The decision on a request of a caller. Never raises: an internal error is a denial.

    If only another scope could help, the reason is INSUFFICIENT_SCOPE, even if more is missing. If the row that the
    request names is missing, the reason is UNKNOWN_RESOURCE.
    """
    decision, kind = evaluate(snapshot, principal, action, resource, lookup), resource.kind
    scope_fits = decision.allowed or snapshot.could_allow(kind, action, principal.scopes)
    # Where no scope helps, a challenge for one would send the caller round in circles.
    if not scope_fits and snapshot.scopes_for(kind, action):
        return replace(decision, verdict=NO_SCOPE)
    if lookup.about is About.ROW and lookup.row is None:
        return replace(decision, verdict=NO_ROW)
    if delegator := _delegator(snapshot, decision):
        return replace(decision, noted={"on_behalf_of": str(delegator)})
    return decision


def evaluate(snapshot: Snapshot, principal: Principal, action: str, resource: Resource, lookup: FactLookup) -> Decision:
    """The verdict of rules and laws with its own reason. Never raises."""
    request = evaluation_request(snapshot, principal, action, resource, lookup)
    who = who_words(principal, lookup)
    access_request = access_request_of(snapshot, request, who=who)
    return Decision(
        uid=make_id(),
        request=request,
        access_request=access_request,
        verdict=apply_rules_and_laws(snapshot, access_request),
        version=snapshot.number,
        digest=snapshot.digest,
        asked_facts=snapshot.words_of(resource.kind, action).facts,
        who=who,
    )


def apply_rules_and_laws(snapshot: Snapshot, access_request: AccessRequest) -> Verdict:
    """The verdict of the rules, unless a law forbids what they allow."""
    verdict = snapshot.decide(access_request)
    return BY_LAW if verdict.allowed and laws.law_forbids(access_request) else verdict


def evaluation_request(
    snapshot: Snapshot, principal: Principal, action: str, resource: Resource, lookup: FactLookup
) -> EvaluationRequest:
    """Put the facts of the row and those of the sign-in together."""
    facts: dict[str, bool | None] = dict(lookup.facts)
    facts.update(request_facts(snapshot, principal, lookup))
    return EvaluationRequest(principal=principal, action=action, resource=resource, lookup=lookup, facts=facts)


def resource_of(kind: str, lookup: FactLookup, name: str | None) -> Resource:
    """The resource as its row describes it; without a row, as the caller named it."""
    row = lookup.row
    if row is None:
        return Resource(kind, name)
    return Resource(kind, str(row["id"]), row["owner_id"], row["state"], row["version"])


def access_request_of(
    snapshot: Snapshot, request: EvaluationRequest, action: str | None = None, who: frozenset[str] | None = None
) -> AccessRequest:
    """The part of a request that rules can see; optionally with another action. `who`: the who-words of the request, if
    they are known."""
    principal = request.principal
    return snapshot.access_request(
        request.resource.kind,
        action or request.action,
        request.resource.state,
        who_words(principal, request.lookup) if who is None else who,
        principal.scopes,
        request.facts,
    )


def who_words(principal: Principal, lookup: FactLookup) -> frozenset[str]:
    """Every who-word that describes the caller."""
    own = _own_words(
        principal.kind is PrincipalKind.USER,
        principal.client,
        principal.person,
        principal.actors,
        principal.roles,
        lookup.roles,
        lookup.ids,
        lookup.former_ids,
        tuple(lookup.list_of_caller(GROUPS)),
    )
    return lookup.relations | own


@lru_cache(maxsize=MAX_CALLERS)
def _own_words(
    is_user: bool,  # noqa: FBT001 - a key of the cache
    client: str,
    person: UUID | None,
    actors: tuple[str, ...],
    token_roles: frozenset[str],
    roles: frozenset[str],
    ids: frozenset[UUID],
    former_ids: frozenset[UUID],
    groups: tuple[str, ...],
) -> frozenset[str]:
    """The words that do not depend on the row; remembered, because the same callers come again. A whole principal
    is no key: the attributes that it claims cannot be hashed."""
    words = {"anyone", *token_roles, *(f"role:{role}" for role in roles)}
    if is_user:
        words.add(f"via:{client}")
        if person is not None:
            words |= {f"{PERSON}{known}" for known in {person, *ids}}
            words |= {former_word(f"{PERSON}{known}") for known in former_ids}
            words |= {f"{GROUP}{name}" for name in groups}
    else:
        words.add(f"client:{client}")
    for place, actor in enumerate(actors):
        # Only the current actor may do more; an earlier one only less (RFC 8693 section 4.1).
        words.add(f"{ACTOR}{actor}" if place == 0 else former_word(f"{ACTOR}{actor}"))
    return frozenset(words)


def request_facts(snapshot: Snapshot, principal: Principal, lookup: FactLookup) -> dict[str, bool | None]:
    """The facts about the caller and the sign-in: those that code computes, and those that the version defines."""
    facts = sign_in_facts(snapshot, principal, int(lookup.at.timestamp()))
    definitions = snapshot.memoize("request facts", None, lambda: _request_definitions(snapshot))
    if definitions:
        facts |= evaluate_facts(definitions, caller_values(principal, lookup.roles, lookup.caller, lookup.at))
    return facts


def values_of(request: EvaluationRequest) -> dict[str, Value]:
    """The values of all attributes that a decision knew, of the caller, the sign-in and the resource."""
    lookup, owner = request.lookup, request.resource.owner
    values = caller_values(request.principal, lookup.roles, lookup.caller, lookup.at)
    if owner is not None:
        values[OWNER_ID] = str(owner)
    return {**values, **lookup.attributes}


def _request_definitions(snapshot: Snapshot) -> dict[str, Expression]:
    found = snapshot.vocabulary.definitions.items()
    return {name: expression for (kind, name), expression in found if not kind}


def sign_in_facts(snapshot: Snapshot, principal: Principal, now: int) -> dict[str, bool | None]:
    """Facts about the token: how and when the person signed in, and whether an agent acts; None if it does not say."""
    facts: dict[str, bool | None] = {
        "mfa": None if principal.methods is None else "mfa" in principal.methods,
        AGENT: principal.agent,
    }
    age = sign_in_age(principal, now)
    for name, limit in snapshot.vocabulary.thresholds.items():
        facts[name] = None if age is None else age <= limit
    return facts


def sign_in_age(principal: Principal, now: int) -> int | None:
    """Seconds since the person signed in, or None when the token does not say."""
    return None if principal.authenticated_at is None else max(0, now - principal.authenticated_at)


def _delegator(snapshot: Snapshot, decision: Decision) -> UUID | None:
    """The delegator for whom the caller acts: None unless every rule that allowed it is one for delegates."""
    request = decision.request
    if not (decision.allowed and request.lookup.on_behalf_of):
        return None
    rules = snapshot.index_of(request.resource.kind, request.action).rules_named(decision.verdict.rules)
    return request.lookup.on_behalf_of if {rule.who for rule in rules} == {DELEGATE} else None
