"""The documents of the service are the reviewed ones; `make golden` writes the files anew."""

from __future__ import annotations

import pytest

from tests.golden import event_files, openapi_files
from tests.golden.problems import problems
from tests.golden.stored import HERE, read_stored

OPENAPI = openapi_files.files()


@pytest.mark.parametrize("name", OPENAPI)
def test_the_openapi_document_is_the_one_that_was_reviewed(name: str) -> None:
    assert OPENAPI[name] == read_stored(f"openapi/{name}")


def test_no_golden_part_of_the_openapi_document_is_left_over() -> None:
    assert {path.name for path in (HERE / "openapi").iterdir()} == set(OPENAPI)


def test_the_problems_are_those_that_were_reviewed() -> None:
    assert problems() == read_stored("problems.json")


def test_there_is_no_golden_event_without_a_type() -> None:
    assert {path.name for path in (HERE / "events").iterdir()} == set(event_files.files())
