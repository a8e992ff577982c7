"""docs/timesheets.md says of states and rules what code and policy say; `make golden` makes its tables anew."""

from __future__ import annotations

from service.timesheets.timesheet import TRANSITIONS
from tests.golden.timesheet_page import PAGE, callers_table, denials_table, rewrite_tables, states_table


def test_the_tables_of_the_page_are_what_code_and_policy_say() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert rewrite_tables(text) == text
    for table in (states_table(), callers_table(), denials_table()):
        assert table in text


def test_every_step_and_every_action_has_its_row() -> None:
    assert all(f"| `{action}` |" in states_table() and f"| `{action}` |" in callers_table() for action in TRANSITIONS)


def test_who_may_do_nothing_is_told_as_well() -> None:
    heads, _, *rows = (line.strip("|\n").split("|") for line in callers_table().splitlines())
    columns = {head.strip(): [row[place].strip() for row in rows] for place, head in enumerate(heads)}
    assert set(columns["role:administrator"]) == set(columns["anybody else"]) == {""}
    assert "submitted" in columns["manager"]
