"""All errors of a JSON body are reported, in words that name what is expected."""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidField, MalformedRequest
from service.web.http.bodies import read_body
from service.web.http.wrong_fields import MAX_WRONG_FIELDS


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: Annotated[int, msgspec.Meta(ge=1)]


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)]
    day: date
    part: Literal["member", "lead"]
    note: Annotated[str, msgspec.Meta(max_length=5)] | None = None
    inner: Inner | None = None
    several: Annotated[list[Inner], msgspec.Meta(min_length=1, max_length=2)] | msgspec.UnsetType = msgspec.UNSET
    texts: dict[str, str] | None = None
    yes: bool = False
    when: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    who: UUID | None = None
    colour: Colour | None = None
    either: Annotated[str, msgspec.Meta(max_length=5)] | Inner | None = None
    as_: Annotated[str, msgspec.Meta(min_length=1, max_length=9)] = msgspec.field(default="x", name="as")


GOOD: dict[str, Any] = {"minutes": 60, "day": "2026-11-23", "part": "lead"}


def read_errors(raw: bytes, shape: Any = Outer) -> list[tuple[str, str]]:
    with pytest.raises(InvalidField) as error:
        read_body(raw, shape)
    return [(field.field, field.message) for field in error.value.fields]


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"minutes": 0}, "minutes", "must be a whole number from 1 to 1440"),
        ({"minutes": "60"}, "minutes", "must be a whole number from 1 to 1440"),
        ({"minutes": 10**30}, "minutes", "must be a whole number from 1 to 1440"),
        ({"day": "2026-02-30"}, "day", "must be a date such as 2026-11-23"),
        ({"part": "guest"}, "part", "must be one of lead, member"),
        ({"note": "too long"}, "note", "must be a text of at most 5 characters, or null"),
        ({"inner": []}, "inner", "must be an object, or null"),
        ({"inner": {"size": 0}}, "inner.size", "must be a whole number, 1 or more"),
        ({"inner": {}}, "inner.size", "is missing"),
        ({"inner": {"size": 1, "age": 1}}, "inner.age", "is not a field of this body; known: size"),
        ({"either": {"sise": 1, "size": 1}}, "either.sise", "is not a field of this body; did you mean 'size'?"),
        ({"either": {"size": 0}}, "either.size", "must be a whole number, 1 or more"),
        ({"either": "too long"}, "either", "must be a text of at most 5 characters or an object, or null"),
        ({"minuts": 1}, "minuts", "is not a field of this body; did you mean 'minutes'?"),
        ({"several": []}, "several", "must be a list of 1 to 2 items"),
        ({"several": ["x", "y", 7]}, "several", "must be a list of 1 to 2 items"),
        ({"several": [{"size": 1}, {"size": "x"}]}, "several[1].size", "must be a whole number, 1 or more"),
        ({"texts": {"a": 1}}, "texts.a", "must be a text"),
        ({"yes": 1}, "yes", "must be true or false"),
        (
            {"when": "2026-11-23T09:00:00"},
            "when",
            "must be an RFC 3339 time with an offset, such as 2026-11-23T09:00:00Z, or null",
        ),
        ({"who": "me"}, "who", "must be a UUID such as 0198c0de-0000-7000-8000-000000000000, or null"),
        ({"colour": "green"}, "colour", "must be one of red, blue, or null"),
        ({"as": ""}, "as", "must be a text of 1 to 9 characters"),
        ({"x" * 101: 1}, "x" * 101, "is not a field of this body"),
    ],
)
def test_a_wrong_field_says_what_is_expected(change: dict[str, Any], field: str, message: str) -> None:
    assert read_errors(msgspec.json.encode(GOOD | change)) == [(field, message)]


def test_all_wrong_fields_are_reported_at_once() -> None:
    raw = msgspec.json.encode({"minutes": 0, "part": 7, "inner": {"size": "x"}, "yes": None, "other": 1})
    assert [field for field, _ in read_errors(raw)] == ["minutes", "day", "part", "inner.size", "yes", "other"]


@pytest.mark.parametrize("raw", [b"[]", b"7", b'"text"', b"null"])
def test_what_is_no_object_is_the_body_itself(raw: bytes) -> None:
    assert read_errors(raw) == [("body", "must be an object")]


def test_more_complaints_than_anybody_reads_are_not_made() -> None:
    raw = msgspec.json.encode(GOOD | {f"x{number}": 1 for number in range(1000)})
    assert len(read_errors(raw)) == MAX_WRONG_FIELDS


@pytest.mark.parametrize("raw", [b'{"minutes": "x", "day":', b'{"minutes":"x","note":"\xff"}', b'{"x":' + b"[" * 9999])
def test_what_is_no_json_is_malformed_though_a_field_before_it_is_wrong(raw: bytes) -> None:
    with pytest.raises((MalformedRequest, InvalidField)):
        read_body(raw, Outer)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda values: st.lists(values, max_size=3)
    )
)
def test_every_error_is_reported_at_its_field(value: object) -> None:
    for name in ("minutes", "several", "texts", "when"):
        raw = msgspec.json.encode(GOOD | {name: value})
        wrong: tuple[str, ...] = (name,)
        try:
            read_body(raw, Outer)
        except InvalidField as error:
            wrong = tuple(field.field for field in error.fields)
        assert wrong
        assert all(field.startswith(name) for field in wrong)


def test_a_byte_order_mark_before_json_is_called_one() -> None:
    with pytest.raises(MalformedRequest, match="byte order mark"):
        read_body(b"\xef\xbb\xbf" + msgspec.json.encode(GOOD), Outer)
