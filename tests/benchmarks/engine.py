"""Times decisions, cold and warm, at 10 to 10,000 rows: `python -m tests.benchmarks.engine`. Figures only, no verdicts.

`spread` gives every tenth row to the asked action, `same` gives it all rows, which is the worst case for casbin. `ask`
makes a question from words; `warm` makes one and answers it from memory; `why` explains a denial.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import casbin
from casbin.model import Model

from service.authorization import casbin_functions, policy_check, policy_model
from service.authorization.engine import Snapshot, Thing
from service.authorization.explanation import explain
from service.authorization.policy_fence import row
from tests import policy_forge

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.authorization.question import Question

ACTIONS = ["read", "create", "edit", "delete", "submit", "withdraw", "approve", "reject", "reopen", "upload"]


def main() -> None:
    print("  rows   shape  build ms   stock us   cold us  ask+warm us  ask us   why us")
    for count in (10, 100, 1_000, 10_000):
        for shape in ("spread", "same"):
            measure(count, shape)
    started = time.perf_counter()
    policy_check.load(policy_forge.shipped(), 1)
    print(f"the shipped policy, read, built, laws and cases: {(time.perf_counter() - started) * 1e3:.1f} ms")


def measure(count: int, shape: str) -> None:
    actions = ACTIONS if shape == "spread" else ["read"]
    lines = [
        f"p, allow, role:r{n}, {actions[n % len(actions)]}, any, timesheet, read:timesheets, always, r-{n}"
        for n in range(count)
    ]
    started = time.perf_counter()
    snapshot = Snapshot.build(policy_forge.policy(*lines), 1)
    built = (time.perf_counter() - started) * 1e3
    who = [f"role:r{(count - 1) // 10 * 10}", "via:app", "person:x", "role:employee"]

    def asked() -> Question:
        return snapshot.question("timesheet", "read", "draft", who, ["read:timesheets", "openid"], {"mfa": True})

    question = snapshot.question("timesheet", "read", "draft", who, ["read:timesheets"], {})
    assert snapshot.decide(question).allowed
    plain = stock(snapshot)
    thing = Thing("timesheet", "draft")
    few = max(3, 3_000 // count)
    stock_us = clock(few, lambda: plain.enforce(question.who, "read", thing, question.scopes, question.facts))
    cold_us = clock(few, lambda: snapshot._decide(question))
    ask_us = clock(20_000, asked)
    warm_us = clock(20_000, lambda: snapshot.decide(asked()))
    why_us = clock(few, lambda: explain(snapshot.rules_of("timesheet", "read"), replace(question, scopes=frozenset())))
    print(
        f"{count:>6} {shape:>7} {built:>9.1f} {stock_us:>10.1f} {cold_us:>9.1f}"
        f" {warm_us:>12.2f} {ask_us:>7.2f} {why_us:>8.1f}"
    )


def stock(snapshot: Snapshot) -> casbin.Enforcer:
    """casbin as it comes, over all rows."""
    model = Model()
    model.load_model_from_text(policy_model.MODEL)
    enforcer = casbin.Enforcer(model)
    for name, function in casbin_functions.FUNCTIONS.items():
        enforcer.add_function(name, function)
    for rule in snapshot.policy.rules:
        enforcer.model.add_policy("p", "p", row(rule))
    return enforcer


def clock(times: int, work: Callable[[], object]) -> float:
    """Mean microseconds of a call, the best of three rounds."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, (time.perf_counter() - started) / times)
    return best * 1e6


if __name__ == "__main__":
    main()
