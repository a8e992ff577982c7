"""The four tests of the matcher in model.conf, on the text of a row's fields as casbin holds them. Pure.

Written apart from matching.py on purpose: the engine compares both readings of every cold question.
"""

from __future__ import annotations

from types import MappingProxyType


def answers(who: frozenset[str], wanted: str, effect: str) -> bool:
    """The asker answers to the word; a deny on `client:X` holds also for X acting for a user, and a deny on anything
    also for whoever was that before an erasure."""
    if wanted in who:
        return True
    if effect != "deny":
        return False
    return f"former:{wanted}" in who or (wanted.startswith("client:") and f"via:{wanted[7:]}" in who)


def stands(state: str, wanted: str) -> bool:
    """The thing is in one of the states."""
    return wanted == "any" or state in wanted.split(" or ")


def granted(scopes: frozenset[str], wanted: str) -> bool:
    """The token has the scope."""
    return wanted == "any" or wanted in scopes


def holds(facts: frozenset[tuple[str, bool]], when: str, effect: str) -> bool:
    """Every condition holds; for an allow it must be known to hold, for a deny it is enough that it may."""
    if when == "always":
        return True
    for part in when.split(" and "):
        fact = part.removeprefix("not ")
        wanted = fact == part
        if (fact, wanted) in facts:
            continue
        if effect != "deny" or (fact, not wanted) in facts:
            return False
    return True


FUNCTIONS = MappingProxyType({"answers": answers, "stands": stands, "granted": granted, "holds": holds})
