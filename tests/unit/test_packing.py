"""Packing gives back every record, keeps what SQL searches, and never changes what was stored."""

from __future__ import annotations

import hashlib
import zlib
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.log import packing
from service.log.merkle import leaf_hash
from service.log.packing import DICTIONARY, MAX_BODY_BYTES, PACKED, pack, stored_leaf, unpack
from service.log.record import Kind, Record, read_body

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
MEMBERS = st.dictionaries(TEXT.map(lambda name: f"x{name}"), st.recursive(TEXT | st.booleans() | st.none(), st.lists))


def record(**members: object) -> Record:
    return Record.make(Kind.DECISION, {"decided_at": datetime(2026, 3, 2, tzinfo=UTC), "action": "read", **members})


def typical_read() -> Record:
    person, sheet = uuid4(), uuid4()
    return record(
        applied=None,
        asked={"about": "row", "found": True, "looked": True},
        directory_revision=1,
        facts={"acted_for_owner": False, "locked_by_asker": False, "mfa": None, "recent_sign_in": None},
        not_applied_because=None,
        outcome="allow",
        policy={"digest": hashlib.sha256(b"policy").hexdigest(), "version": 7},
        principal={
            "acr": None,
            "auth_age": None,
            "client": "hours-app",
            "issuer": "main",
            "kind": "user",
            "methods": None,
            "person": person,
            "roles": [],
            "scopes": ["create:timesheets", "read:timesheets"],
            "token": str(uuid4()),
        },
        reason="allowed",
        relations={"delegate": False, "fallback": False, "importer": False, "manager": False, "owner": True},
        request={"id": uuid4(), "method": "GET", "route": "/v1/timesheets/{timesheet_id}"},
        resource={"id": str(sheet), "kind": "timesheet", "owner": person, "state": "draft", "version": 6},
        returned=[sheet],
        rules=["read-own"],
    )


@given(MEMBERS)
def test_every_allowed_read_is_packed_and_unpacked_to_the_same_bytes(members: dict[str, object]) -> None:
    made = record(outcome="allow", members=members)
    stored = pack(made)
    assert stored.startswith(PACKED)
    assert unpack(stored) == made.body
    assert read_body(stored) == read_body(made.body)
    assert stored_leaf(stored, leaf_hash(stored)) == made.leaf


def test_a_typical_read_is_packed_to_a_fifth() -> None:
    made = typical_read()
    assert len(pack(made)) < len(made.body) / 4


def test_the_largest_record_is_packed_and_unpacked() -> None:
    made = record(outcome="allow", note="x" * (MAX_BODY_BYTES - 300))
    assert unpack(pack(made)) == made.body


@pytest.mark.parametrize(
    "members",
    [
        {"outcome": "deny", "applied": False},
        {"outcome": "deny"},
        {"outcome": "allow", "applied": True},
        {"outcome": "allow", "applied": False},
        {},
        {"outcome": "allow", "on_behalf_of": uuid4()},
    ],
)
def test_changes_denials_and_what_sql_searches_are_stored_as_they_are(members: dict[str, object]) -> None:
    made = record(**members)
    assert pack(made) == made.body == unpack(made.body)
    assert stored_leaf(made.body, leaf_hash(made.body)) == made.leaf


@given(st.binary(max_size=2_000))
def test_any_bytes_can_be_unpacked(stored: bytes) -> None:
    for each in (stored, PACKED + stored):
        assert isinstance(unpack(each), bytes)


def test_altered_bytes_do_not_have_the_leaf_of_the_record() -> None:
    made = typical_read()
    stored = pack(made)
    for place in range(len(stored)):
        altered = bytearray(stored)
        altered[place] ^= 1
        # Postgres would compute the hash of the altered bytes, or an attacker leaves the old one.
        for stored_hash in (leaf_hash(stored), leaf_hash(bytes(altered))):
            assert stored_leaf(bytes(altered), stored_hash) != made.leaf
    assert stored_leaf(stored, bytes(32)) == bytes(32)


def test_packed_bytes_that_would_fill_the_memory_are_not_unpacked() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, packing.WINDOW_BITS, 9, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
    stored = PACKED + bomb.compress(bytes(100 * 2**20)) + bomb.flush()
    assert unpack(stored) == stored


def test_the_dictionary_is_the_one_that_records_are_stored_with() -> None:
    assert hashlib.sha256(DICTIONARY).hexdigest() == "f96a4bd7155afefbb8b949ab8afda33b3aaec5e862f00e614c94a59c06b0f066"
