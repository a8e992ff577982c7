"""The tables of docs/timesheets.md: the life of a sheet as the code has it, and who may do what, as the engine answers
under the shipped policy. `rewrite_tables(text)` is the page with its tables made anew."""

from __future__ import annotations

import inspect
import re
from itertools import product
from pathlib import Path

from service.authorization.engine.engine import Snapshot
from service.policy import policy_file
from service.policy.access_request import ANYONE, AccessRequest, Effect
from service.policy.known_words import SEE_NAMES
from service.timesheets import timesheet
from service.timesheets.timesheet import TRANSITIONS, State
from tests.policy_forge import read_shipped

PAGE = Path(__file__).resolve().parents[2] / "docs" / "timesheets.md"
KIND = "timesheet"
STATES = [str(state) for state in State]
# Whom no row lets do anything with a sheet belong to the answer too.
OTHERS = ["role:administrator", "role:auditor", ANYONE]
_TABLE = re.compile(r"(<!-- made by `make golden`: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewrite_tables(text: str) -> str:
    """The page, its tables being what code and policy say now."""
    tables = {"states": states_table(), "who": callers_table(), "never": denials_table()}
    return _TABLE.sub(lambda found: f"{found[1]}\n{tables[found[2]]}\n{found[3]}", text)


def states_table() -> str:
    """A row for each step: from which states, to which, and whether it wants a reason."""
    lines = []
    for action, transition in TRANSITIONS.items():
        move = getattr(timesheet, action, None)
        reason = "yes" if move and "reason" in inspect.signature(move).parameters else ""
        cells = ["" if state not in transition.starts else str(transition.leads_to or "stays") for state in State]
        lines.append([f"`{action}`", *cells, reason])
    return _table(["step", *(f"from {state}" for state in STATES), "reason"], lines)


def callers_table() -> str:
    """A row for each action, a column for each who-word: in which states, and what else it takes."""
    snapshot = Snapshot.build(policy_file.parse(read_shipped()), 1)
    # Names are seen in what one of the others allows to read.
    rules = [rule for rule in snapshot.policy.rules if rule.kind == KIND and rule.action != SEE_NAMES]
    words = list(dict.fromkeys(rule.who for rule in rules if rule.effect is Effect.ALLOW))
    words += [other for other in OTHERS if other not in words]
    lines = [
        [f"`{action}`", _scopes(snapshot, action), *(_cell(snapshot, action, word) for word in words)]
        for action in dict.fromkeys(rule.action for rule in rules)
    ]
    return _table(["action", "scope", *("anybody else" if word == ANYONE else word for word in words)], lines)


def denials_table() -> str:
    """The rows that forbid, in their own words."""
    rules = [
        rule for rule in policy_file.parse(read_shipped()).rules if rule.kind == KIND and rule.effect is Effect.DENY
    ]
    return _table(
        ["rule", "who", "never does", "when"],
        [
            [f"`{rule.name}`", rule.who, f"`{rule.action}`", " and ".join(each.fact for each in rule.when) or "always"]
            for rule in rules
        ],
    )


def _scopes(snapshot: Snapshot, action: str) -> str:
    return ", ".join(sorted(snapshot.scopes_for(KIND, action)))


def _cell(snapshot: Snapshot, action: str, word: str) -> str:
    """The states in which a caller who did not write in the sheet is allowed; `with mfa` where that is needed."""
    ways: dict[str, str] = {}
    facts = sorted(snapshot.vocabulary.facts[KIND])
    for strong, state in product((False, True), STATES):
        known = {(fact, False) for fact in facts} | {("mfa", strong), ("recent_sign_in", True), ("agent", False)}
        access_request = AccessRequest(
            KIND, action, state, frozenset({ANYONE, word}), frozenset(snapshot.vocabulary.scopes), frozenset(known)
        )
        if snapshot.decide(access_request).allowed:
            ways.setdefault(state, "" if not strong else " with mfa")
    if set(ways) == set(STATES) and set(ways.values()) == {""}:
        return "yes"
    return ", ".join(f"{state}{how}" for state, how in ways.items())


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows).replace("|  |", "| |").replace("|  |", "| |")
