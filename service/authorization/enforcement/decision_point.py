"""Decisions (PDP): a principal, an action, a resource and the facts seen become a Decision. Pure: owns no state.

The snapshot's rules decide; the laws in code are a second lock behind them. Whatever cannot be told stays unknown, and
unknown never helps the asker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.identity.principal import Principal, PrincipalKind
from service.policy import laws
from service.policy.access_request import NO_STATE, AccessRequest, Reason, Verdict
from service.policy.matching import PERSON, former_word

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from service.authorization.enforcement.relationships import Seen
    from service.authorization.engine.engine import Snapshot


BY_LAW = Verdict(allowed=False, reason=Reason.LAW)


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked about. `id` is a UUID as text, or another opaque name for kinds that have no rows."""

    kind: str
    id: str | None = None
    owner: UUID | None = None
    state: str = NO_STATE
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """Who wants to do what to which resource, with everything that was seen at that moment."""

    principal: Principal
    action: str
    resource: Resource
    seen: Seen
    facts: Mapping[str, bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict on an AccessRequest under one policy version. `uid` names it in the log and in the answer; `noted` is
    what its record holds beside."""

    uid: UUID
    request: EvaluationRequest
    access_request: AccessRequest
    verdict: Verdict
    version: int
    digest: str
    noted: Mapping[str, object] = field(default_factory=dict)
    asked_facts: frozenset[str] = frozenset()

    @property
    def allowed(self) -> bool:
        return self.verdict.allowed


def evaluation_request(
    snapshot: Snapshot, principal: Principal, action: str, resource: Resource, seen: Seen
) -> EvaluationRequest:
    """Put together what is asked and what is known: facts of the row beside facts of the sign-in."""
    facts: dict[str, bool | None] = dict(seen.facts)
    facts.update(sign_in_facts(snapshot, principal, int(seen.at.timestamp())))
    return EvaluationRequest(principal=principal, action=action, resource=resource, seen=seen, facts=facts)


def decide(snapshot: Snapshot, uid: UUID, request: EvaluationRequest) -> Decision:
    """Decide under `snapshot`. Never raises: whatever goes wrong inside is a denial."""
    access_request = access_request_of(snapshot, request)
    verdict = verdict_on(snapshot, access_request)
    return Decision(
        uid=uid,
        request=request,
        access_request=access_request,
        verdict=verdict,
        version=snapshot.number,
        digest=snapshot.digest,
        asked_facts=snapshot.words_of(request.resource.kind, request.action).facts,
    )


def verdict_on(snapshot: Snapshot, access_request: AccessRequest) -> Verdict:
    """What the rules say, and behind them the laws."""
    verdict = snapshot.decide(access_request)
    return BY_LAW if verdict.allowed and laws.law_forbids(access_request) else verdict


def access_request_of(snapshot: Snapshot, request: EvaluationRequest, action: str | None = None) -> AccessRequest:
    """The verdict key of a request, or of the same request with another action."""
    principal = request.principal
    return snapshot.access_request(
        request.resource.kind,
        action or request.action,
        request.resource.state,
        who_words(principal, request.seen),
        principal.scopes,
        request.facts,
    )


def who_words(principal: Principal, seen: Seen) -> frozenset[str]:
    """Every word that the asker answers to."""
    words = {"anyone", *seen.relations, *principal.roles, *(f"role:{role}" for role in seen.roles)}
    if principal.kind is PrincipalKind.USER:
        words.add(f"via:{principal.client}")
        if principal.person is not None:
            words |= {f"{PERSON}{one}" for one in {principal.person, *seen.ids}}
            words |= {former_word(f"{PERSON}{one}") for one in seen.former_ids}
    else:
        words.add(f"client:{principal.client}")
    return frozenset(words)


def sign_in_facts(snapshot: Snapshot, principal: Principal, now: int) -> dict[str, bool | None]:
    """Facts about how and when the person signed in; None when the token does not say."""
    facts: dict[str, bool | None] = {"mfa": None if principal.methods is None else "mfa" in principal.methods}
    age = sign_in_age(principal, now)
    for name, limit in snapshot.vocabulary.thresholds.items():
        facts[name] = None if age is None else age <= limit
    return facts


def sign_in_age(principal: Principal, now: int) -> int | None:
    """Seconds since the person signed in, or None when the token does not say."""
    return None if principal.authenticated_at is None else max(0, now - principal.authenticated_at)
