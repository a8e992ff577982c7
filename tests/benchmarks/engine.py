"""Times a decision beside pycasbin, cedarpy and npm casbin, at 10 to 10,000 rows: `python -m tests.benchmarks.engine`.

Figures only, no verdicts, in microseconds of one run on the same questions. `spread` gives every tenth row to the asked
action, `same` gives it all rows, the worst case for casbin. `warm` makes the question from words and answers it from
memory, with the names of its rules; `why` explains a denial whole. `own rows` is stock pycasbin over the action's rows.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from service.authorization import policy_check
from service.authorization.engine import Snapshot, Thing
from service.authorization.explanation import explain
from tests import policy_forge
from tests.benchmarks import engine_peers
from tests.benchmarks.engine_peers import clock

if TYPE_CHECKING:
    from service.authorization.question import Question

ACTIONS = ["read", "create", "edit", "delete", "submit", "withdraw", "approve", "reject", "reopen", "upload"]
COUNTS = (10, 50, 100, 1_000, 10_000)


def main() -> None:
    print(f"{'rows':>6} {'shape':>7} {'build ms':>9} {'warm':>8} {'cold':>9} {'why':>9} {'own rows':>9} {'pycasbin':>9}"
          f" {'cedarpy':>9} {'npm':>9}   cold/own warm/cedarpy warm/npm")  # fmt: skip
    warm = {(count, shape): measure(count, shape) for count in COUNTS for shape in ("spread", "same")}
    for shape in ("spread", "same"):
        print(f"warm at 10,000 rows / at 50, {shape}: {warm[10_000, shape] / warm[50, shape]:.2f}")
    started = time.perf_counter()
    policy_check.load(policy_forge.shipped(), 1)
    print(f"the shipped policy, read, built, laws and cases: {(time.perf_counter() - started) * 1e3:.1f} ms")
    if engine_peers.absent():
        print(f"not here, so not measured: {', '.join(engine_peers.absent())}")


def measure(count: int, shape: str) -> float:
    """Print one line; the microseconds of a warm decision."""
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

    question = asked()
    assert snapshot.decide(question).rules
    few = max(3, 3_000 // count)
    warm = clock(20_000, lambda: snapshot.decide(asked()))
    cold = clock(few, lambda: snapshot._decide(question))
    own = snapshot.rules_of("timesheet", "read")
    why = clock(few, lambda: explain(own, replace(question, scopes=frozenset())))
    thing, rules = Thing("timesheet", "draft"), snapshot.policy.rules
    over_own = engine_peers.pycasbin(own, question, thing, few)
    stock = engine_peers.pycasbin(rules, question, thing, few)
    cedar, npm = engine_peers.cedar(rules, question, few), engine_peers.node(rules, question, few)
    print(f"{count:>6} {shape:>7} {built:>9.1f} {warm:>8.2f} {cold:>9.1f} {why:>9.1f} {over_own:>9.1f} {stock:>9.1f}"
          f" {_figure(cedar, '9.1f')} {_figure(npm, '9.1f')}   {cold / over_own:>8.2f}"
          f" {_figure(cedar and warm / cedar, '12.3f')} {_figure(npm and warm / npm, '8.3f')}", flush=True)  # fmt: skip
    return warm


def _figure(value: float | None, layout: str) -> str:
    return f"{'-':>{layout.split('.', maxsplit=1)[0]}}" if value is None else f"{value:>{layout}}"


if __name__ == "__main__":
    main()
