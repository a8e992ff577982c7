"""The habits that made the project hard to read stay rare: at most as many as in procrastinate, or nearly so."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.habits import (
    CLAUSE,
    INVERTED,
    NAME,
    NOBODY,
    PARTICIPLE,
    PLACES,
    PRONOUN,
    ROOT,
    find,
    find_in_python,
    find_in_text,
)

# Findings per 1,000 lines of code and pages. Procrastinate has 0, 2.2, 0.3, 0.1, 0 and 0.1.
CEILINGS = {NAME: 0.0, PRONOUN: 3.5, PARTICIPLE: 0.3, NOBODY: 0.3, INVERTED: 0.0, CLAUSE: 0.3}


def test_no_habit_is_frequent_again() -> None:
    paths = [ROOT / place for place in PLACES if (ROOT / place).exists()]
    pages = [
        page for path in paths for page in ([path] if path.is_file() else [*path.rglob("*.py"), *path.rglob("*.md")])
    ]
    lines = sum(page.read_text(encoding="utf-8").count("\n") for page in pages)
    counts = Counter(finding.habit for finding in find(paths))
    rates = {habit: counts[habit] * 1000 / lines for habit in CEILINGS}
    assert {habit: round(rate, 2) for habit, rate in rates.items() if rate > CEILINGS[habit]} == {}


@pytest.mark.parametrize(
    ("source", "habit"),
    [
        ("for one in rows: print(one)", NAME),
        ("def _told(): ...", PARTICIPLE),
        ("# It replaces the old one.", PRONOUN),
        ("# Whoever asks gets nothing.", NOBODY),
        ('"""Is there no such row, the decision is about a new row."""', INVERTED),
        ('"""What is left out asks nothing."""', CLAUSE),
    ],
)
def test_each_habit_is_found(source: str, habit: str) -> None:
    assert habit in {finding.habit for finding in find_in_python("x.py", source)}


def test_usual_prose_has_none_of_them() -> None:
    text = "Load a version. Raises NotFound if there is no such version. What is a version? A policy with a number."
    assert list(find_in_text("x.md", text)) == []
    assert list(find_in_python("x.py", "def load(rows): return [row for row in rows]")) == []
