"""Times a decision beside pycasbin, cedarpy and npm casbin, at 10 to 10,000 rows: `python -m tests.benchmarks.engine`.

Figures in microseconds, of the same access requests for each engine. `spread` gives every tenth row to the tested
action; `same` gives it all rows, the worst case for casbin. `warm` makes the request from words and takes the verdict
from memory, with the names of its rules. `why` explains a denial. `own rows` is stock pycasbin with the rows of the
action alone.

The second table is about repeated requests as enforcement decides them: an allowed read, a denied one with its reasons,
the condition of a list, and the capabilities of `GET /v1/me`. `first` is the first time, with casbin's part.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from service.administration.checks import examination
from service.authorization.enforcement.capabilities import list_capabilities
from service.authorization.enforcement.changes import Caller
from service.authorization.enforcement.decision_point import Resource, decide
from service.authorization.enforcement.fact_lookup import About, FactLookup
from service.authorization.enforcement.refusal import refusal_of
from service.authorization.enforcement.visibility import visible
from service.authorization.engine.engine import CasbinResource, Snapshot
from service.authorization.engine.explanation import explain
from service.identity.principal import Principal, PrincipalKind
from service.timesheets.relations import TIMESHEET_FACTS
from service.values import replace
from tests import policy_forge
from tests.benchmarks import engine_peers
from tests.benchmarks.engine_peers import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from service.policy.access_request import AccessRequest

ACTIONS = ["read", "create", "edit", "delete", "submit", "withdraw", "approve", "reject", "reopen", "upload"]
COUNTS = (10, 50, 100, 1_000, 10_000)


def main() -> None:
    print(f"{'rows':>6} {'shape':>7} {'build ms':>9} {'warm':>8} {'cold':>9} {'why':>9} {'own rows':>9} {'pycasbin':>9}"
          f" {'cedarpy':>9} {'npm':>9}   cold/own warm/cedarpy warm/npm")  # fmt: skip
    warm = {(count, shape): measure(count, shape) for count in COUNTS for shape in ("spread", "same")}
    for shape in ("spread", "same"):
        print(f"warm at 10,000 rows / at 50, {shape}: {warm[10_000, shape] / warm[50, shape]:.2f}")
    print(f"\n{'rows':>6} {'shape':>7} {'allowed':>9} {'denied':>9} {'list':>9} {'me':>9}"
          f"   first: {'denied':>9} {'list':>9} {'me':>11}")  # fmt: skip
    whole = {(count, shape): requests(count, shape) for count in COUNTS for shape in ("spread", "same")}
    for shape in ("spread", "same"):
        pairs = zip(("allowed", "denied", "list", "me"), whole[10_000, shape], whole[50, shape], strict=True)
        ratios = ", ".join(f"{name} {most / few:.2f}" for name, most, few in pairs)
        print(f"asked again at 10,000 rows / at 50, {shape}: {ratios}")
    started = time.perf_counter()
    examination.load(policy_forge.read_shipped(), 1)
    print(f"the shipped policy, read, built, laws and cases: {(time.perf_counter() - started) * 1e3:.1f} ms")
    if engine_peers.absent():
        print(f"not here, so not measured: {', '.join(engine_peers.absent())}")


def measure(count: int, shape: str) -> float:
    """Print one line; the microseconds of a warm decision."""
    started = time.perf_counter()
    snapshot = Snapshot.build(policy_forge.policy(*rows(count, shape)), 1)
    built = (time.perf_counter() - started) * 1e3
    who = [f"role:r{(count - 1) // 10 * 10}", "via:app", "person:x", "role:employee"]

    def make_request() -> AccessRequest:
        return snapshot.access_request("timesheet", "read", "draft", who, ["read:timesheets", "openid"], {"mfa": True})

    access_request = make_request()
    assert snapshot.decide(access_request).rules
    few = max(3, 3_000 // count)
    warm = clock(20_000, lambda: snapshot.decide(make_request()))
    cold = clock(few, lambda: snapshot._decide(access_request))
    own = snapshot.rules_of("timesheet", "read")
    why = clock(few, lambda: explain(own, replace(access_request, scopes=frozenset())))
    thing, rules = CasbinResource("timesheet", "draft"), snapshot.policy.rules
    over_own = engine_peers.pycasbin(own, access_request, thing, few)
    stock = engine_peers.pycasbin(rules, access_request, thing, few)
    cedar, npm = engine_peers.cedar(rules, access_request, few), engine_peers.node(rules, access_request, few)
    print(f"{count:>6} {shape:>7} {built:>9.1f} {warm:>8.2f} {cold:>9.1f} {why:>9.1f} {over_own:>9.1f} {stock:>9.1f}"
          f" {_figure(cedar, '9.1f')} {_figure(npm, '9.1f')}   {cold / over_own:>8.2f}"
          f" {_figure(cedar and warm / cedar, '12.3f')} {_figure(npm and warm / npm, '8.3f')}", flush=True)  # fmt: skip
    return warm


def rows(count: int, shape: str) -> list[str]:
    actions = ACTIONS if shape == "spread" else ["read"]
    return [
        f"p, allow, role:r{n}, {actions[n % len(actions)]}, any, timesheet, read:timesheets, always, r-{n}"
        for n in range(count)
    ]


def requests(count: int, shape: str) -> tuple[float, float, float, float]:
    """Print one line of whole requests; their microseconds when they are asked again."""
    snapshot = Snapshot.build(policy_forge.policy(*rows(count, shape)), 1)
    mine, stranger = asking(f"role:r{(count - 1) // 10 * 10}"), asking("role:none")
    row = cast("asyncpg.Record", {"id": uuid4()})
    lookup = FactLookup(
        1, 1, datetime.now(UTC), frozenset(), row=row, about=About.ROW, evaluated=frozenset(TIMESHEET_FACTS.relations),
        facts={"acted_for_owner": False, "locked_by_asker": False},
    )  # fmt: skip
    listed = replace(lookup, row=None, facts={}, evaluated=frozenset(), about=About.LIST)
    sheet = Resource("timesheet", "1", None, "draft", 1)

    def decide_allowed() -> None:
        assert decide(snapshot, mine.principal, "read", sheet, lookup).allowed

    def decide_denied() -> None:
        refusal_of(snapshot, decide(snapshot, stranger.principal, "read", sheet, lookup), None)

    def condition() -> None:
        access_request = decide(snapshot, mine.principal, "read", Resource("timesheet"), listed).access_request
        assert visible(snapshot, access_request, mine.principal, listed, TIMESHEET_FACTS).rules

    def me() -> None:
        list_capabilities(snapshot, mine.principal, listed)

    first = [once(work) for work in (decide_denied, condition, me)]
    again = tuple(clock(1_000, work, rounds=10) for work in (decide_allowed, decide_denied, condition, me))
    print(f"{count:>6} {shape:>7} {again[0]:>9.2f} {again[1]:>9.2f} {again[2]:>9.2f} {again[3]:>9.2f}          "
          f"{first[0]:>9.1f} {first[1]:>9.1f} {first[2]:>11.1f}", flush=True)  # fmt: skip
    return again[0], again[1], again[2], again[3]


def asking(role: str) -> Caller:
    principal = Principal(
        PrincipalKind.USER, "", "", "app", frozenset({"read:timesheets", "openid"}), frozenset({role}), None, 0, 1,
        authenticated_at=0, methods=frozenset({"pwd"}), person=uuid4(),
    )  # fmt: skip
    return Caller(principal, "r", "GET", "/v1/timesheets/{timesheet_id}")


def once(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e6


def _figure(value: float | None, layout: str) -> str:
    return f"{'-':>{layout.split('.', maxsplit=1)[0]}}" if value is None else f"{value:>{layout}}"


if __name__ == "__main__":
    main()
