"""Packing gives back every record, keeps what SQL searches, and never changes what was stored."""

from __future__ import annotations

import base64
import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.log.merkle import leaf_hash
from service.log.packing import DICTIONARIES, MAX_BODY_BYTES, NEWEST, Zstandard, pack, stored_leaf, unpack
from service.log.record import Kind, Record, read_body
from tests.train_dictionary import train

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
EACH = pytest.mark.parametrize("packing", DICTIONARIES)
MEMBERS = st.dictionaries(TEXT.map(lambda name: f"x{name}"), st.recursive(TEXT | st.booleans() | st.none(), st.lists))

# A read as the release that first packed it stored it, and as each dictionary packs it; and its leaf.
STORED = {
    1: (
        "Ac2WQUqEMQyFTxRJ0qZJZ6cXUJEZZ5um/QXFlfcHy0CXjoiD4wXea/LyPfqn1MmOZZfSDVImqV9Rl65EXd2sdDQyy6G9SHXehjuGiHckmSv7"
        "LYWsY+PKTU2Tofg0Qifu2fuWG9ZBmtHCai+dwnP3FI6pRaDIiFNqK/SrUezMlgwERwNVZPCEA2gM2kprUvLpW3MBzveH1/b8tH+Hw+398UPu"
        "3o4PL/H4T+hfW7BSQaV1qJgcWuUs5smL27yXC/bD8tOOoOQJnEsGjMYpYqN5UtPvbIMshbO5/aBjlt6ZF33XQkvCioOWqtDmQNCJMPswpoKr"
        "pz4B"
    ),
    2: (
        "AsWW3UoDQQxGnyiSZCaTTO/0BVSktbeZzKxg8cr3B5fC4o2lK2z1CfLz5RxyC1NdxFN2LLuU7pAySb2EZ1qB5y2ArJOVjkZmObQXqc7TcMcQ"
        "8Y4kGwDKOiau3NQ0GYrPhdCJe/Y+5YZ1kGa0sNpLp/DcPYVjahEoMuKc2r8D7syWDARHA1Vk8IQDaAyaSmtS8vkj2UAB+8N7e33Zf8Dh/vH4"
        "KQ+n49NbPP+9GH6kf9mClQoqrUPF5NAqZzFPXty29cNSTzuCkidwLhkwGqeIieaTumaQVbn9wjErOrpmoe8lOmipCm0eCDoRZh/GVHDx1Bc="
    ),
    3: (
        "A2CoA7UHAJNPJnzoqKjdnUqMJdXPXYWdO7lkTGJirJSxVJbrstNeuGTxVfykStrXSbbr2YNgogAEJExBBnsHEn4QAyOUHEUYwhESKRihCMqb"
        "JJwOoStkWQqtuxJkW56OWM7OoF0zJkkrJsvRYu7weTdu2ofeEk2n6MEr1kbLmmd7J/iYUOOenbJrrBSUsPzyaaPu53bY0+fv6VlIZmQxskaE"
        "xyL8XdLdFvdc3CEktHulZ0VIs2gQwQP6Ln8XSVfla8Q0A4l78wk5dC0uZ7PtvIQ9hRQWeAFnomQhF8IAzv9y3Vg4AHgiwCYoe4lEwwvxe7TA"
        "Wv/1otRBJ4DNEQ=="
    ),
}
STORED_LEAF = "6cd28dd14bb2568a44df7be8cf2fcbdee6421f1f53601f80f33387c7e489762b"


def record(**members: object) -> Record:
    return Record.make(Kind.DECISION, {"decided_at": datetime(2026, 3, 2, tzinfo=UTC), "action": "read", **members})


def typical_decision(**members: object) -> Record:
    """A read under the shipped policy, of one's own hours."""
    person, sheet, teams = uuid4(), uuid4(), [uuid4(), uuid4()]
    made = {
        "applied": None,
        "asked": {"about": "row", "found": True, "looked": True},
        "attributes": {
            "principal.teams": teams[:1],
            "resource.days": 4,
            "resource.entry_count": 6,
            "resource.minutes": 1_830,
            "resource.owner.teams": teams,
            "resource.period_start": datetime(2028, 5, 15, tzinfo=UTC),
            "resource.projects": ["HARBOUR"],
            "resource.state_since": datetime(2028, 5, 19, 11, 31, 12, 52, tzinfo=UTC),
        },
        "directory_revision": 94,
        "facts": {
            "acted_for_owner": False,
            "agent": False,
            "locked_by_asker": False,
            "mfa": None,
            "recent_sign_in": None,
        },
        "not_applied_because": None,
        "outcome": "allow",
        "policy": {"digest": hashlib.sha256(b"policy").hexdigest(), "version": 7},
        "principal": {
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
        "reason": "allowed",
        "relations": {
            "delegate": False,
            "fallback": False,
            "importer": False,
            "manager": False,
            "owner": True,
            "temporary_approver": False,
        },
        "request": {"id": uuid4(), "method": "GET", "route": "/v1/timesheets/{timesheet_id}"},
        "resource": {"id": str(sheet), "kind": "timesheet", "owner": person, "state": "draft", "version": 9},
        "returned": [sheet],
        "rules": ["read-own"],
    }
    return record(**made | members)


def refused_approval() -> Record:
    request = {"id": uuid4(), "method": "POST", "route": "/v1/timesheets/{timesheet_id}/approve"}
    return typical_decision(
        action="approve", applied=False, outcome="deny", reason="deny-rule", request=request, returned=[],
        rules=["never-own-hours"],
    )  # fmt: skip


@EACH
@given(st.sampled_from(["allow", "deny"]), MEMBERS)
def test_every_decision_is_packed_and_unpacked_to_the_same_bytes(
    packing: int, outcome: str, members: dict[str, object]
) -> None:
    made = record(outcome=outcome, members=members)
    stored = pack(made, packing)
    assert stored[0] == packing
    assert unpack(stored) == made.body
    assert read_body(stored) == read_body(made.body)
    assert stored_leaf(stored, leaf_hash(stored)) == made.leaf


@pytest.mark.parametrize("made", [typical_decision(), refused_approval()])
def test_a_decision_under_the_shipped_policy_is_packed_to_less_than_a_quarter(made: Record) -> None:
    assert len(pack(made, NEWEST)) < 365 < len(made.body) / 4


@EACH
@pytest.mark.parametrize("digits", ["00", secrets.token_hex(MAX_BODY_BYTES)])
def test_the_largest_record_is_packed_and_unpacked(packing: int, digits: str) -> None:
    size = MAX_BODY_BYTES - len(record(outcome="allow", note="").body)
    made = record(outcome="allow", note=(digits * size)[:size])
    assert len(made.body) == MAX_BODY_BYTES
    assert unpack(pack(made, packing)) == made.body


@pytest.mark.parametrize("packing", STORED)
def test_a_record_that_was_stored_long_ago_keeps_its_leaf(packing: int) -> None:
    stored = base64.b64decode(STORED[packing])
    assert stored[0] == packing
    assert stored_leaf(stored, leaf_hash(stored)).hex() == STORED_LEAF


def test_each_dictionary_has_a_record_that_was_stored_with_it() -> None:
    assert STORED.keys() == DICTIONARIES.keys()


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"outcome": "allow", "on_behalf_of": uuid4()},
        {"outcome": "deny", "on_behalf_of": uuid4()},
    ],
)
def test_what_decides_nothing_and_what_sql_searches_are_stored_as_they_are(members: dict[str, object]) -> None:
    made = record(**members)
    assert pack(made, NEWEST) == made.body == unpack(made.body)
    assert stored_leaf(made.body, leaf_hash(made.body)) == made.leaf


@given(st.binary(max_size=2_000))
def test_any_bytes_can_be_unpacked(stored: bytes) -> None:
    for each in (stored, *(bytes([packing]) + stored for packing in DICTIONARIES)):
        assert isinstance(unpack(each), bytes)


@EACH
def test_altered_bytes_do_not_have_the_leaf_of_the_record(packing: int) -> None:
    made = typical_decision()
    stored = pack(made, packing)
    for place in range(len(stored)):
        altered = bytearray(stored)
        altered[place] ^= 1
        # Postgres would compute the hash of the altered bytes, or an attacker leaves the old one.
        for stored_hash in (leaf_hash(stored), leaf_hash(bytes(altered))):
            # A frame of zstd may say the same in other bits; then nothing was altered.
            says_the_same = packing == 3 and stored_hash != leaf_hash(stored) and unpack(bytes(altered)) == made.body
            assert says_the_same or stored_leaf(bytes(altered), stored_hash) != made.leaf
    assert stored_leaf(stored, bytes(32)) == bytes(32)


@EACH
def test_packed_bytes_that_would_fill_the_memory_are_not_unpacked(packing: int) -> None:
    stored = bytes([packing]) + DICTIONARIES[packing].compress(bytes(100 * 2**20))
    assert unpack(stored) == stored


@pytest.mark.parametrize("said", [0, 2**32, 2**63, 2**64 - 1])
def test_packed_bytes_that_say_a_wrong_size_are_not_unpacked(said: int) -> None:
    made = typical_decision()
    stored = pack(made, 3)
    # RFC 8878 section 3.1.1.1: a single segment whose size has two bytes here, and eight in the altered frame.
    assert stored[1] == 0b0110_0000
    assert int.from_bytes(stored[2:4], "little") + 256 == len(made.body)
    altered = bytes([3, 0b1110_0000]) + said.to_bytes(8, "little") + stored[4:]
    assert unpack(altered) == altered


@EACH
def test_packed_bytes_that_are_cut_or_continued_are_not_unpacked(packing: int) -> None:
    stored = pack(typical_decision(), packing)
    for altered in (stored[:-1], stored[:1], stored + b"\x00", stored + stored[1:]):
        assert unpack(altered) == altered


@EACH
def test_threads_pack_and_unpack_at_the_same_time(packing: int) -> None:
    records = [typical_decision() for _ in range(200)]

    def give_back(made: Record) -> bool:
        return unpack(pack(made, packing)) == made.body

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(give_back, records * 10))


def test_the_dictionaries_are_those_that_records_are_stored_with() -> None:
    assert {number: hashlib.sha256(dictionary.words).hexdigest() for number, dictionary in DICTIONARIES.items()} == {
        1: "f96a4bd7155afefbb8b949ab8afda33b3aaec5e862f00e614c94a59c06b0f066",
        2: "87b2184da92d9018c1aa8328a1b70a158ccf1fb0d34daa4041fbd75b780f1b14",
        3: "4e86ec73923e84ce89266db1bce2cc36ae7eed7633cbe93c06bed3276a3b430e",
    }


def test_a_dictionary_is_trained_on_what_records_have_in_common() -> None:
    reads = [typical_decision() for _ in range(20)]
    trained = train({("read",): [made.body for made in reads]})
    assert trained == train({("read",): [made.body for made in reads]})
    assert not any(str(made.uid).encode() in trained for made in reads)
    assert len(Zstandard(trained).compress(typical_decision().body)) < len(pack(typical_decision(), NEWEST))
