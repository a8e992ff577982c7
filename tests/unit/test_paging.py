"""Cursors: bound to their listing and filters, and forged by nobody."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidField
from service.web.http.paging import Cursors

CURSORS = Cursors("k" * 32)
PLACES = st.lists(st.one_of(st.integers(0, 2**53), st.text(max_size=10)), max_size=3)


@given(PLACES, st.dictionaries(st.text(max_size=8), st.none() | st.text(max_size=8), max_size=4))
def test_a_cursor_leads_back_to_its_place(place: list[int | str], filters: dict[str, str | None]) -> None:
    assert CURSORS.read("sheets", filters, CURSORS.make("sheets", filters, place)) == place


def test_without_a_cursor_a_listing_starts_at_the_beginning() -> None:
    assert CURSORS.read("sheets", {}, None) is None


@pytest.mark.parametrize(
    ("listing", "filters", "cursors"),
    [
        ("people", {"state": "draft"}, CURSORS),
        ("sheets", {"state": "approved"}, CURSORS),
        ("sheets", {}, CURSORS),
        ("sheets", {"state": "draft", "owner": "x"}, CURSORS),
        ("sheets", {"state": "draft"}, Cursors("j" * 32)),
    ],
)
def test_a_cursor_of_another_listing_filter_or_key_is_refused(
    listing: str, filters: dict[str, str], cursors: Cursors
) -> None:
    cursor = CURSORS.make("sheets", {"state": "draft"}, [7])
    with pytest.raises(InvalidField, match=r"query\.cursor"):
        cursors.read(listing, filters, cursor)


@given(st.data())
def test_a_cursor_changed_in_any_place_is_refused(data: st.DataObject) -> None:
    cursor = CURSORS.make("sheets", {}, ["2026-11-23", "0198c0de-0000-7000-8000-000000000000"])
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidField):
        CURSORS.read("sheets", {}, base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode())


@pytest.mark.parametrize("cursor", ["", "!", "a", "AAAA", "ä", "A" * 601, "\x00"])
def test_what_is_no_cursor_at_all_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidField):
        CURSORS.read("sheets", {}, cursor)
