"""What leaves the service is what was reviewed; `make golden` writes the files anew."""

from __future__ import annotations

from tests.golden import event_files
from tests.golden.__main__ import openapi
from tests.golden.problems import problems
from tests.golden.stored import HERE, stored


def test_the_openapi_document_is_the_one_that_was_reviewed() -> None:
    assert openapi() == stored("openapi.json")


def test_the_problems_are_those_that_were_reviewed() -> None:
    assert problems() == stored("problems.json")


def test_there_is_no_golden_event_without_a_type() -> None:
    assert {path.name for path in (HERE / "events").iterdir()} == set(event_files.files())
