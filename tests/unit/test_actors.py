"""Actors of delegated tokens (RFC 8693): who they are, what they may and may not do, and what is said of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from service.authorization.enforcement.decision_point import Resource, decide
from service.authorization.enforcement.fact_lookup import FactLookup
from service.authorization.engine.explanation import explain, sentences_for_caller
from service.errors import InvalidToken
from service.identity.issuer import Introspection, Issuer
from service.identity.principal import UNLISTED, Principal, PrincipalKind
from service.values import replace
from tests import policy_forge
from tests.token_forge import ISSUER, bearer, claims, good_token, issuer, verifier
from tests.unit.test_opaque_tokens import Desk

if TYPE_CHECKING:
    from service.identity.introspection import Introspector

AGENTS = issuer(agents=frozenset({"assistant", "https://agents.example/planner"}), acting_clients=frozenset({"svc-16"}))
LOOKUP = FactLookup(1, 0, datetime(2026, 3, 2, tzinfo=UTC), frozenset(), relations=frozenset({"manager"}))


async def principal(act: dict[str, Any] | None, source: Issuer = AGENTS, **changes: Any) -> Principal:
    given = {} if act is None else {"act": act}
    return await verifier(source).verify(bearer(good_token(iss=source.issuer, **given, **changes)))


ACTORS: dict[str, tuple[dict[str, Any] | None, tuple[str, ...], bool | None]] = {
    "none": (None, (), False),
    "a client": ({"sub": "anything", "client_id": "gateway"}, ("gateway",), False),
    "an agent, by its client id": ({"client_id": "assistant"}, ("assistant",), True),
    "an agent, by its subject": (
        {"sub": "https://agents.example/planner"},
        ("https://agents.example/planner",),
        True,
    ),
    "an agent's subject beside another client id": (
        {"sub": "https://agents.example/planner", "client_id": "gateway"},
        ("gateway",),
        True,
    ),
    "a client by its listed subject": ({"sub": "svc-16"}, ("svc-16",), False),
    "the client of the token, by its subject": ({"sub": "web-app"}, ("web-app",), False),
    "the client of the token, as Auth0 writes it": ({"sub": "web-app@clients"}, ("web-app",), False),
    "a person, or a client that is not listed": ({"sub": "auth0|boss"}, (UNLISTED,), None),
    "a name of another issuer": ({"sub": "svc-16", "iss": "https://other.example"}, (UNLISTED,), None),
    "a name of this issuer": ({"sub": "svc-16", "iss": ISSUER}, ("svc-16",), False),
    "an agent behind a gateway": (
        {"client_id": "gateway", "act": {"client_id": "assistant"}},
        ("gateway", "assistant"),
        True,
    ),
    "an agent that acts after an unknown actor": (
        {"client_id": "assistant", "act": {"sub": "auth0|boss"}},
        ("assistant", UNLISTED),
        True,
    ),
    "claims that do not identify": ({"client_id": "gateway", "exp": "never", "aud": 7}, ("gateway",), False),
}


@pytest.mark.parametrize(("act", "names", "agent"), ACTORS.values(), ids=ACTORS)
async def test_actors_are_named_current_first_and_never_by_a_persons_subject(
    act: dict[str, Any] | None, names: tuple[str, ...], *, agent: bool | None
) -> None:
    caller = await principal(act)
    assert (caller.actors, caller.agent) == (names, agent)
    assert (caller.kind, caller.subject, caller.client) == (PrincipalKind.USER, "auth0|ana", "web-app")


async def test_a_client_that_is_an_agent_is_one_without_any_actor() -> None:
    assert (await principal(None, client_id="assistant")).agent is True
    assert (await principal(None, client_id="assistant", sub="assistant")).agent is True


async def test_the_names_of_actors_have_their_issuers_prefix() -> None:
    prefixed = replace(AGENTS, prefix="kc")
    caller = await principal({"client_id": "assistant", "act": {"sub": "auth0|boss"}}, prefixed)
    assert (caller.actors, caller.agent) == (("kc:assistant", UNLISTED), True)
    with pytest.raises(InvalidToken):
        await verifier(
            AGENTS, issuer(name="kc", prefix="kc", issuer="https://kc.example", jwks_url="https://kc.example/k")
        ).verify(bearer(good_token(act={"client_id": "kc:assistant"})))


async def test_an_introspected_token_has_its_actors_too() -> None:
    source = replace(AGENTS, introspection=Introspection(f"{ISSUER}introspect", "us", client_secret="secret"))
    answer = claims(active=True, act={"client_id": "assistant"})

    def introspector(_issuer: Issuer, _keys: object) -> Introspector:
        return Desk(answer)

    caller = await verifier(source, introspector=introspector).verify(bearer("opaque"))
    assert (caller.actors, caller.agent) == (("assistant",), True)


def decision_of(
    row: str, actors: tuple[str, ...], *, kind: PrincipalKind = PrincipalKind.USER
) -> tuple[bool, tuple[str, ...]]:
    """Whether the row and `read-all` together allow a delegated token to read, and the sentences of a refusal."""
    snapshot = policy_forge.snapshot("p, allow, anyone, read, any, log, any, always, read-all", row)
    nothing = frozenset[str]()
    caller = Principal(kind, "i", "s", "web-app", nothing, nothing, None, 0, 1, actors=actors)
    decision = decide(snapshot, caller, "read", Resource("log"), LOOKUP)
    explanation = explain(snapshot.rules_of("log", "read"), decision.access_request)
    return decision.allowed, sentences_for_caller(explanation, decision.access_request, snapshot.vocabulary)


@pytest.mark.parametrize("actors", [("assistant",), ("gateway", "assistant"), ("a", "b", "c", "assistant")])
@pytest.mark.parametrize("word", ["actor:assistant", "client:assistant"])
def test_a_deny_on_an_actor_or_a_client_applies_wherever_in_the_chain_it_acted(
    word: str, actors: tuple[str, ...]
) -> None:
    allowed, sentences = decision_of(f"p, deny, {word}, read, any, log, any, always, not-it", actors)
    assert not allowed
    assert sentences == ("this is forbidden to you while assistant acts for you",)


@pytest.mark.parametrize("word", ["actor:other", "client:other", "via:assistant", "actor:web-app"])
def test_a_deny_on_another_word_does_not_apply_to_an_actor(word: str) -> None:
    assert decision_of(f"p, deny, {word}, read, any, log, any, always, not-it", ("assistant",)) == (True, ())


@pytest.mark.parametrize(
    ("actors", "allowed"),
    [(("assistant",), True), (("gateway", "assistant"), False), ((UNLISTED,), False), ((), False)],
)
def test_only_the_current_actor_gets_what_a_row_allows(actors: tuple[str, ...], *, allowed: bool) -> None:
    row = "p, allow, actor:assistant, hold, any, log, any, always, hold-by-assistant"
    snapshot = policy_forge.snapshot(row)
    nothing = frozenset[str]()
    caller = Principal(PrincipalKind.USER, "i", "s", "web-app", nothing, nothing, None, 0, 1, actors=actors)
    assert decide(snapshot, caller, "hold", Resource("log"), LOOKUP).allowed is allowed


@pytest.mark.parametrize("agent", [True, None])
@pytest.mark.parametrize(("action", "state"), [("approve", "submitted"), ("lock", "approved"), ("unlock", "locked")])
def test_the_shipped_policy_lets_no_agent_approve_lock_or_unlock(
    action: str, state: str, *, agent: bool | None
) -> None:
    snapshot = policy_forge.snapshot(*policy_forge.read_shipped().rules.splitlines())
    scopes, roles = frozenset({"approve:timesheets"}), frozenset({"role:payroll"})
    person = Principal(PrincipalKind.USER, "i", "s", "web-app", scopes, roles, None, 0, 1)
    facts = dict.fromkeys(snapshot.vocabulary.facts["timesheet"], False)
    sheet = Resource("timesheet", state=state)
    lookup = replace(LOOKUP, facts=facts)
    assert decide(snapshot, person, action, sheet, lookup).allowed
    denied = decide(snapshot, replace(person, agent=agent), action, sheet, lookup)
    assert denied.verdict.rules == (f"agents-never-{action}",)
