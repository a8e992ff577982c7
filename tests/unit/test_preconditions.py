"""If-Match, read as RFC 9110 section 13.1.1 says."""

from __future__ import annotations

import pytest

from service.errors import MalformedRequest, PreconditionFailed, PreconditionRequired
from service.web.http.preconditions import etag, parse_if_match


@pytest.mark.parametrize(
    "headers", [['"7"'], ['"6", "7"'], ['"6"', '"7"'], ["*"], ['  "7"  '], [', "7",'], ['"6", , "7"'], ["", '"7"']]
)
def test_the_version_that_the_caller_has_seen_is_accepted(headers: list[str]) -> None:
    parse_if_match(headers)(7)


@pytest.mark.parametrize("headers", [['"8"'], ['""'], ['"07"'], ['"7 "']])
def test_another_version_fails(headers: list[str]) -> None:
    with pytest.raises((PreconditionFailed, MalformedRequest)):
        parse_if_match(headers)(7)


def test_a_weak_tag_never_matches_because_the_comparison_is_strong() -> None:
    for tag in ('W/"7"', 'W/"7-1-2"'):
        with pytest.raises(PreconditionFailed, match="without W/"):
            parse_if_match([tag])(7)


@pytest.mark.parametrize("headers", [[], [""], ["   "], [","], [" , ", ""]])
def test_without_a_tag_a_precondition_is_required(headers: list[str]) -> None:
    with pytest.raises(PreconditionRequired):
        parse_if_match(headers)(7)


def test_what_does_not_exist_matches_nothing_not_even_a_star() -> None:
    with pytest.raises(PreconditionFailed):
        parse_if_match(["*"])(None)


@pytest.mark.parametrize(
    "headers", [["*"], ["  * "], ['"6", "7"'], ['"7"', '"6"'], ['"7", "8", "9"'], ['W/"7", "7"'], ['"7", ""']]
)
def test_a_step_that_judges_a_sheet_takes_exactly_one_version(headers: list[str]) -> None:
    with pytest.raises(PreconditionRequired, match="one ETag"):
        parse_if_match(headers, exactly_one=True)(7)


@pytest.mark.parametrize("headers", [['"7"'], ['"7", "7"'], [', "7",']])
def test_the_one_version_that_was_seen_is_enough_to_judge_a_sheet(headers: list[str]) -> None:
    parse_if_match(headers, exactly_one=True)(7)
    with pytest.raises(PreconditionFailed):
        parse_if_match(headers, exactly_one=True)(8)


@pytest.mark.parametrize("header", ["7", '"7', '7"', '"7" "8"', '"a\x00"', "*, *", '"' + "7" * 600 + '"'])
def test_a_malformed_list_of_tags_is_refused_before_anything_is_decided(header: str) -> None:
    with pytest.raises(MalformedRequest):
        parse_if_match([header])


def test_the_etag_of_a_version_is_strong_and_quoted() -> None:
    assert etag(7) == '"7"'
