"""The record of any decision has canonical bytes, and its columns are those that a verifier reads from the bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from service.authorization.enforcement.changes import Caller
from service.authorization.enforcement.decision_point import Decision, EvaluationRequest, Resource
from service.authorization.enforcement.decision_record import RecordedQuery, of_decision
from service.authorization.enforcement.fact_lookup import About, FactLookup
from service.errors import LogUnavailable
from service.identity.principal import Principal, PrincipalKind
from service.log.columns import search_columns
from service.policy.access_request import AccessRequest, Reason, Verdict
from service.values import replace

Applied: TypeAlias = "bool | None"
uuids = st.uuids()
words = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=12)
# What a token or a header can hold, and what no store takes.
texts = st.one_of(words, st.text(max_size=8), st.sampled_from(["\x00", "\ud800", "\\u0000", "é", "\u2028", "x" * 301]))
values = st.sampled_from([True, False, None])
sets = st.frozensets(texts, max_size=4)
moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - aware by `timezones`
# Through functions, because Hypothesis would look for types that only the type checker imports.
principals = st.builds(
    lambda **members: Principal(**members),  # noqa: PLW0108 - as above
    kind=st.sampled_from(PrincipalKind),
    issuer=texts,
    subject=texts,
    client=texts,
    scopes=sets,
    roles=st.frozensets(words.map("role:{}".format), max_size=3),
    token_id=st.none() | texts,
    issued_at=st.integers(0, 2**31),
    expires_at=st.integers(0, 2**31),
    authenticated_at=st.none() | st.integers(-(2**70), 2**33),
    methods=st.none() | sets,
    acr=st.none() | texts,
    person=st.none() | uuids,
    issuer_name=texts,
)
lookups = st.builds(
    lambda **members: FactLookup(**members),  # noqa: PLW0108 - as above
    version=st.integers(1, 10**6),
    directory_revision=st.integers(0, 2**40),
    at=moments,
    roles=st.frozensets(words, max_size=3),
    relations=st.frozensets(words, max_size=3),
    facts=st.dictionaries(words, values, max_size=3),
    evaluated=st.frozensets(words, max_size=3),
    about=st.sampled_from(About),
    looked=st.booleans(),
    ids=st.frozensets(uuids, max_size=3),
    former_ids=st.frozensets(uuids, max_size=2),
)
resources = st.builds(
    lambda **members: Resource(**members),  # noqa: PLW0108 - as above
    kind=words,
    id=st.none() | texts,
    owner=st.none() | uuids,
    state=words | st.just(""),
    version=st.none() | st.integers(1, 2**31 - 1),
)
verdicts = st.builds(
    Verdict, allowed=st.booleans(), reason=st.sampled_from(Reason), rules=st.lists(words, max_size=3).map(tuple)
)
noted: st.SearchStrategy[dict[str, str]] = st.just({}) | st.dictionaries(
    words.map("noted_{}".format), texts, max_size=2
)

queries = st.builds(
    RecordedQuery,
    filters=st.dictionaries(words, st.one_of(texts, uuids, st.integers(), st.booleans(), moments, st.lists(words))),
    texts=st.just({}) | st.dictionaries(words, texts, max_size=2),
)


@st.composite
def decisions(draw: st.DrawFn) -> tuple[Caller, Decision]:
    principal, lookup, resource = draw(principals), draw(lookups), draw(resources)
    request = EvaluationRequest(
        principal=principal,
        action=draw(words),
        resource=resource,
        lookup=lookup,
        facts={**lookup.facts, **draw(st.dictionaries(words, values, max_size=3))},
    )
    asked = AccessRequest(
        resource.kind, request.action, resource.state, lookup.relations, principal.scopes, frozenset()
    )
    decision = Decision(
        uid=draw(uuids),
        request=request,
        access_request=asked,
        verdict=draw(verdicts),
        version=lookup.version,
        digest=draw(words),
        noted=draw(noted),
    )
    caller = Caller(principal, draw(texts), "GET", draw(words), draw(st.none() | texts))
    return replace(caller, again=draw(st.none() | uuids), recorded_as=draw(st.none() | words)), decision


@given(
    drawn=decisions(),
    applied=values,
    because=st.none() | words,
    returned=st.lists(uuids.map(str), max_size=3),
    query=st.none() | queries,
)
def test_any_decision_has_canonical_bytes_that_give_its_columns(
    drawn: tuple[Caller, Decision],
    applied: Applied,
    because: str | None,
    returned: list[str],
    query: RecordedQuery | None,
) -> None:
    caller, decision = drawn
    record, cause = None, None
    try:
        record = of_decision(caller, decision, applied=applied, because=because, returned=returned, query=query)
    except LogUnavailable as refused:
        cause = refused.cause
    if record is None:
        assert str(cause).startswith("record: ")
        return
    members: dict[str, Any] = json.loads(record.body)
    assert rfc8785.dumps(members) == record.body
    assert b"\\u0000" not in record.body.replace(b"\\\\", b"")
    columns = dict(record.columns)
    columns["returned"] = [UUID(str(uid)) for uid in columns["returned"]]  # type: ignore[union-attr]
    assert columns == search_columns(members)
    assert members["request"].get("trace") == caller.trace
    assert members["principal"]["scopes"] == sorted(caller.principal.scopes)
    assert {name: members.get(name) for name in decision.noted} == decision.noted
    assert set(members.get("question", ())) == (set() if query is None else set(query.filters))
    assert set(members.get("commitments", ())) == (set() if query is None else set(query.texts))
