"""Records: accepted bodies, canonical bytes and search columns."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from service.errors import LogUnavailable
from service.log.columns import search_columns
from service.log.insert import COLUMNS
from service.log.record import MAX_DEPTH, Kind, Record, canonical_json, commitment, read_body

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
ANA = UUID("018f0000-0000-7000-8000-00000000000a")

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=10,
)


def make(**members: object) -> Record:
    return Record.make(Kind.DECISION, {"decided_at": NOW, **members})


@given(JSON)
def test_any_json_value_has_canonical_bytes_that_give_its_columns(value: Any) -> None:
    record = make(facts=value)
    held = read_body(record.body)
    assert rfc8785.dumps(cast("Any", held)) == record.body
    assert search_columns(held) == record.columns
    assert record.leaf == hashlib.sha256(b"\x00" + record.body).digest()


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=4)


@given(st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=4), max_size=6))
def test_the_fast_encoder_agrees_with_rfc_8785(value: dict[str, Any]) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("character", [chr(code) for code in (*range(1, 0x100), 0x2028, 0xE000, 0xFFFF, 0x10000)])
def test_escaped_characters_follow_rfc_8785(character: str) -> None:
    assert canonical_json({"a": character}) == rfc8785.dumps({"a": character})


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**30])
def test_an_integer_that_json_readers_would_round_is_refused(number: int) -> None:
    with pytest.raises(LogUnavailable):
        make(facts={"n": number})


@given(st.text())
def test_any_text_is_either_refused_or_valid_in_postgres(text: str) -> None:
    try:
        record = make(reason=text)
    except LogUnavailable:
        return
    assert "\x00" not in text
    assert read_body(record.body)["reason"] == text.encode().decode() == record.columns["reason"]


@given(st.text(), st.integers(0, 14))
def test_a_nested_text_is_accepted_exactly_if_it_is_valid_and_not_too_deep(text: str, depth: int) -> None:
    value: object = text
    for level in range(depth):
        value = [value] if level % 2 else {"a": value, "b": None}
    try:
        record = make(facts={text: value} if depth % 3 == 0 else value)
    except LogUnavailable:
        assert "\x00" in text or _has_surrogate(text) or depth >= MAX_DEPTH - 1
        return
    assert "\x00" not in text
    assert not _has_surrogate(text)
    assert depth < MAX_DEPTH
    assert rfc8785.dumps(cast("Any", read_body(record.body))) == record.body


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def test_search_columns_match_the_insert_statement() -> None:
    assert set(make().columns) == set(COLUMNS)


def test_a_full_decision_gives_every_column() -> None:
    record = make(
        decision=ANA,
        outcome="deny",
        applied=False,
        reason="no-rule",
        rules=["a", "b"],
        action="approve",
        resource={"kind": "timesheet", "id": "7", "owner": ANA},
        principal={"person": ANA, "client": "web", "scopes": frozenset({"b", "a"}), "actors": ["b", "a"]},
        policy={"version": 3},
        request={"id": "r"},
        returned=[ANA],
    )
    assert record.columns == {
        "decision_uid": ANA,
        "decided_at": NOW,
        "person_id": ANA,
        "client_id": "web",
        "action": "approve",
        "resource_kind": "timesheet",
        "resource_id": "7",
        "owner_id": ANA,
        "outcome": "deny",
        "applied": False,
        "reason": "no-rule",
        "rules": ["a", "b"],
        "policy_version": 3,
        "request_id": "r",
        "returned": [ANA],
        "actors": ["b", "a"],
    }
    held = json.loads(record.body)
    assert held["principal"]["scopes"] == ["a", "b"]
    assert held["decided_at"] == "2026-03-02T09:30:00.000000Z"
    assert (held["v"], held["kind"], held["uid"]) == (1, "decision", str(record.uid))


def test_times_are_written_in_utc_with_microseconds() -> None:
    later = datetime(2026, 3, 2, 11, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert read_body(make(decided_at=later).body)["decided_at"] == "2026-03-02T09:30:00.000005Z"


def test_records_with_the_same_body_have_different_leaves() -> None:
    uid = make().uid
    first, second = (Record.make(Kind.DECISION, {"decided_at": NOW}, uid=uid) for _ in range(2))
    assert first.leaf != second.leaf
    assert len(bytes.fromhex(str(read_body(first.body)["nonce"]))) == 16


def test_a_text_is_committed_to_and_not_contained() -> None:
    record = Record.make(Kind.DECISION, {"decided_at": NOW}, {"reason": "too many hours"})
    (text,) = record.texts
    assert read_body(record.body)["commitments"] == {"reason": commitment(text.salt, "too many hours").hex()}
    assert b"hours" not in record.body
    assert len(text.salt) == 16


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ({"action": "re\x00ad"}, "body.action contains a NUL"),
        ({"facts": {"a\x00": True}}, "a name in body.facts contains a NUL"),
        ({"action": "\ud800"}, "body.action contains a lone surrogate"),
        ({"facts": {"\udfff": 1}}, "a name in body.facts contains a lone surrogate"),
        ({"facts": {1: 1}}, "a name in body.facts is not a string"),
        ({"n": 2**53}, "is an integer beyond"),
        ({"n": 1.5}, "body.n is a float"),
        ({"n": b"x"}, "body.n is a bytes"),
        ({"n": object()}, "body.n is a object"),
        ({"decided_at": datetime(2026, 3, 2)}, "body.decided_at has no time zone"),  # noqa: DTZ001 - that is the point
        ({"decided_at": "2026-03-02T09:30:00Z"}, "decided_at is not a UTC time"),
        ({"decided_at": "2026-02-30T09:30:00.000000Z"}, "ValueError"),
        ({"decided_at": None}, "decided_at is missing"),
        ({"outcome": "maybe"}, "outcome is neither"),
        ({"applied": 1}, "applied is not true or false"),
        ({"principal": {"person": "ana"}}, "principal.person is not a UUID"),
        ({"principal": {"person": str(ANA).upper()}}, "principal.person is not a UUID"),
        ({"principal": "ana"}, "the parent of person is not an object"),
        ({"resource": {"id": "x" * 301}}, "resource.id is not a string of at most"),
        ({"policy": {"version": 2**31}}, "policy.version is not a 32-bit integer"),
        ({"policy": {"version": True}}, "policy.version is not a 32-bit integer"),
        ({"rules": "a"}, "rules is not a list"),
        ({"returned": [str(ANA), "x"]}, "returned is not a UUID"),
        ({"nonce": "0"}, "nonce is reserved for the log"),
        ({"facts": ["x" * 70_000]}, "bytes are more than 65535"),
    ],
)
def test_a_body_that_the_log_cannot_store_is_refused(members: dict[str, object], cause: str) -> None:
    with pytest.raises(LogUnavailable) as refused:
        make(**members)
    assert cause in str(refused.value.cause)


def test_a_body_nested_too_deep_is_refused() -> None:
    deep: object = 1
    for _ in range(2_000):
        deep = [deep]
    with pytest.raises(LogUnavailable):
        make(facts=deep)


@pytest.mark.parametrize(
    "body",
    [{}, {"change": {"type": "timesheet.eaten"}}, {"change": {"type": "timesheet.approved"}, "resource": {"id": ""}}],
)
def test_a_change_that_could_not_be_published_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(LogUnavailable):
        Record.make(Kind.CHANGE, {"decided_at": NOW, **body})


def test_a_refusal_never_repeats_the_value() -> None:
    with pytest.raises(LogUnavailable) as refused:
        make(action="secret\x00")
    assert "secret" not in f"{refused.value.cause}{refused.value.public}"
