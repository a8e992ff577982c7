"""No cell that leaves is run by a spreadsheet, and none that comes in would be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.csv_cells import escape_formula, is_formula


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1"])
def test_a_cell_that_a_spreadsheet_would_execute_is_neutralised(text: str) -> None:
    assert is_formula(text)
    assert escape_formula(text) == f"'{text}"
    assert escape_formula(f"a{text}") == f"a{text}"


@pytest.mark.parametrize(("text", "cell"), [("a;=1", "a;'=1"), ("a; @b;c", "a; '@b;c"), ("a;b", "a;b")])
def test_neither_is_one_behind_what_parts_cells_elsewhere(text: str, cell: str) -> None:
    assert escape_formula(text) == cell


@given(st.text(st.sampled_from("=+-@\t\r\n;' a\uff1d")))
def test_no_cell_begins_as_a_formula_does_and_its_words_stay(text: str) -> None:
    cell = escape_formula(text)
    assert not any(is_formula(part) for part in [cell, *cell.split(";")[1:]] if part.strip())
    assert cell.replace("'", "") == text.replace("'", "")
