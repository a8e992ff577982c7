"""The four functions of the matcher in model.conf. They read the fields of a row as text, as casbin holds them. Pure.

They share no code with matching.py on purpose: the engine compares both readings whenever casbin decides.
"""

from __future__ import annotations

from types import MappingProxyType


def words_of(wanted: str, effect: str) -> tuple[str, ...]:
    """The words of which a caller needs one to answer to the word of a row.

    A deny on `client:X` also applies to X acting for others. A deny on a relation or person also applies to a caller
    who had that word before an erasure, and a deny on `actor:X` to an actor before the current one.
    """
    if effect != "deny":
        return (wanted,)
    if not wanted.startswith("client:"):
        return (wanted, f"former:{wanted}")
    return (wanted, *(form + wanted[7:] for form in ("via:", "actor:", "former:actor:")))


def answers(who: frozenset[str], wanted: str, effect: str) -> bool:
    """Whether the caller answers to the word."""
    return wanted in who or not who.isdisjoint(words_of(wanted, effect))


def stands(state: str, wanted: str) -> bool:
    """Whether the resource is in one of the states."""
    return wanted == "any" or state in wanted.split(" or ")


def has_scope(scopes: frozenset[str], wanted: str) -> bool:
    """Whether the token has the scope."""
    return wanted == "any" or wanted in scopes


def holds(facts: frozenset[tuple[str, bool]], when: str, effect: str) -> bool:
    """Whether every condition holds. For an allow each must be known to hold; for a deny an unknown fact is enough."""
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


FUNCTIONS = MappingProxyType({"answers": answers, "stands": stands, "granted": has_scope, "holds": holds})
