"""Every error of redis-py is expected wherever Redis is asked."""

from __future__ import annotations

import inspect

import pytest
import redis.exceptions

from events.stream import REDIS_ERRORS
from service.console.failures import NO_SESSIONS, find_failure

# The pool of redis-py's synchronous client raises the first after a fork. The second is for a resolver of command
# policies that our client does not have.
NEVER_RAISED = {"ChildDeadlockedError", "IncorrectPolicyType"}
RAISED = [
    found
    for name, found in inspect.getmembers(redis.exceptions, inspect.isclass)
    if issubclass(found, Exception) and name not in NEVER_RAISED
]


def test_the_classes_are_found() -> None:
    names = {found.__name__ for found in RAISED}
    assert {"RedisError", "ConnectionError", "RedisClusterException", "SlotNotCoveredError"} <= names


@pytest.mark.parametrize("error", RAISED)
def test_every_error_of_redis_py_is_expected(error: type[Exception]) -> None:
    assert issubclass(error, REDIS_ERRORS)


@pytest.mark.parametrize("error", RAISED)
def test_the_console_says_for_every_error_of_redis_py_that_it_has_no_sessions(error: type[Exception]) -> None:
    # Some of the classes want an answer of Redis to be made from.
    assert find_failure(error.__new__(error)) is NO_SESSIONS
