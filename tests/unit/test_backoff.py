"""Pauses between attempts grow, have an end to their growth, and differ between processes."""

from __future__ import annotations

from itertools import islice

from service.backoff import FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, backoff_seconds


def test_pauses_double_from_half_a_second_to_half_a_minute() -> None:
    wanted = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    for _ in range(50):
        found = list(islice(backoff_seconds(), len(wanted)))
        assert all(0.75 * most <= pause <= most for pause, most in zip(found, wanted, strict=True)), found


def test_pauses_do_not_end_and_stay_within_their_bound() -> None:
    for pause in islice(backoff_seconds(), 3_000):
        assert 0.75 * FIRST_PAUSE_SECONDS <= pause <= MAX_PAUSE_SECONDS


def test_two_that_failed_together_do_not_come_back_together() -> None:
    assert list(islice(backoff_seconds(), 5)) != list(islice(backoff_seconds(), 5))
