"""Refusals: the first is sent at once; callers who ignore Retry-After wait while too many are sent."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.web.http.refusals import (
    MAX_REFUSALS_PER_CHECK,
    RETRY_AFTER_SECONDS,
    SECONDS_WITHOUT_WAITING,
    Refusals,
)

LONGEST = max(RETRY_AFTER_SECONDS)


class Flood:
    """Callers who are refused, under a fake clock. Each refusal that is sent names its connection."""

    def __init__(self, max_waiting: int = 1_000) -> None:
        self.now = 0.0
        self.sent: list[object] = []
        self.refusals = Refusals((), max_waiting=max_waiting, clock=lambda: self.now)

    def refuse(self, connection: object, times: int = 1) -> None:
        scope: Any = {"client": connection, "headers": []}

        def send() -> None:
            self.refusals.make(scope)
            self.sent.append(connection)

        for _ in range(times):
            if not self.refusals.postpone(scope, send):
                send()


def test_few_refusals_are_sent_at_once_even_to_callers_who_ignore_retry_after() -> None:
    flood = Flood()
    flood.refuse("greedy", MAX_REFUSALS_PER_CHECK)
    assert len(flood.sent) == MAX_REFUSALS_PER_CHECK


def test_in_a_flood_a_caller_who_ignores_retry_after_waits_and_others_do_not() -> None:
    flood = Flood()
    flood.refuse("greedy", MAX_REFUSALS_PER_CHECK + 1)
    assert flood.refusals.waiting == 1
    flood.refuse("polite")
    flood.refusals.release()
    assert flood.sent[-2:] == ["polite", "greedy"]
    assert flood.refusals.waiting == 0


def test_a_caller_who_obeyed_retry_after_does_not_wait() -> None:
    flood = Flood()
    flood.refuse("polite", MAX_REFUSALS_PER_CHECK)
    flood.now += LONGEST
    flood.refuse("polite")
    assert flood.refusals.waiting == 0


def test_waiting_refusals_are_sent_at_a_bounded_rate_in_their_order() -> None:
    flood = Flood()
    for connection in range(2 * MAX_REFUSALS_PER_CHECK):
        flood.refuse(connection)
    for connection in range(2 * MAX_REFUSALS_PER_CHECK):
        flood.refuse(connection)
    flood.sent.clear()
    flood.refusals.release()
    assert flood.sent == list(range(MAX_REFUSALS_PER_CHECK))


def test_once_so_many_wait_that_waiting_slows_no_caller_no_more_wait_for_some_seconds() -> None:
    flood = Flood(max_waiting=10)
    flood.refuse("greedy", MAX_REFUSALS_PER_CHECK + 11)
    assert (len(flood.sent), flood.refusals.waiting) == (MAX_REFUSALS_PER_CHECK + 1, 10)
    flood.refusals.release()
    flood.refuse("greedy", MAX_REFUSALS_PER_CHECK)
    assert flood.refusals.waiting == 0
    flood.now += SECONDS_WITHOUT_WAITING
    # By then its Retry-After has passed, so its first refusal is sent at once.
    flood.refuse("greedy", 2)
    assert flood.refusals.waiting == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300), st.booleans())))
@settings(deadline=None)
def test_every_refusal_is_sent_once_whoever_asks_and_whenever(steps: list[tuple[int, int, bool]]) -> None:
    flood = Flood(max_waiting=50)
    refused = 0
    for connection, times, checked in steps:
        flood.now += 0.05
        flood.refuse(connection, times)
        refused += times
        if checked:
            flood.refusals.release()
        assert flood.refusals.waiting <= 50
    while flood.refusals.waiting:
        flood.refusals.release()
    assert len(flood.sent) == refused
