"""Every law takes its number of examples from `example_count`, so that the long tier multiplies all of them."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from tests import example_count

if TYPE_CHECKING:
    import pytest

TESTS = Path(__file__).resolve().parents[1]


def test_no_law_names_its_number_of_examples_itself() -> None:
    literal = re.compile(r"max_examples=\d")
    assert [path.name for path in TESTS.glob("*/test_*.py") if literal.search(path.read_text(encoding="utf-8"))] == []


def test_the_long_tier_multiplies_the_number_before_it_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for profile, counts in (("usual", (20, 20)), (example_count.LONG, (200, 600))):
        settings = SimpleNamespace(get_current_profile_name=lambda profile=profile: profile)
        monkeypatch.setattr(example_count, "hypothesis", SimpleNamespace(settings=settings))
        assert (example_count.example_count(20), example_count.example_count(20, uncut=60)) == counts
