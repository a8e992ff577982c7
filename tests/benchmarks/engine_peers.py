"""The same question put to peers: stock pycasbin, cedarpy (optional extra `benchmarks`) and npm casbin.

Each gets the rows in its own language and gives mean microseconds of a call, the best of three rounds, or None when it
is not here. All must give the same verdict as our engine. npm casbin comes with `make bench`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import casbin
from casbin.model import Model

from service.authorization.engine import casbin_functions
from service.policy import casbin_model
from service.policy.access_request import ANY, ANYONE
from service.policy.casbin_fence import row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.authorization.engine.engine import CasbinResource
    from service.policy.access_request import AccessRequest, Rule

NODE = Path(__file__).resolve().parents[2] / ".local" / "bench"


def clock(times: int, work: Callable[[], object], rounds: int = 3) -> float:
    """Mean microseconds of a call, the best of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, (time.perf_counter() - started) / times)
    return best * 1e6


def absent() -> list[str]:
    """Peers that are not here, and how to get them."""
    found = []
    if importlib.util.find_spec("cedarpy") is None:
        found.append("cedarpy (pip install '.[benchmarks]')")
    if not _has_node():
        found.append("npm casbin (Node.js, and make bench)")
    return found


def stock(rules: Iterable[Rule]) -> casbin.Enforcer:
    """casbin as it comes, over these rows."""
    model = Model()
    model.load_model_from_text(casbin_model.MODEL)
    enforcer = casbin.Enforcer(model)
    for name, function in casbin_functions.FUNCTIONS.items():
        enforcer.add_function(name, function)
    for rule in rules:
        enforcer.model.add_policy("p", "p", row(rule))
    return enforcer


def pycasbin(rules: Iterable[Rule], access_request: AccessRequest, thing: CasbinResource, times: int) -> float:
    """Microseconds of a decision by casbin as it comes."""
    enforcer = stock(rules)

    def ask() -> bool:
        answer: bool = enforcer.enforce(
            access_request.who, access_request.action, thing, access_request.scopes, access_request.facts
        )
        return answer

    assert ask()
    return clock(times, ask)


def cedar(rules: Iterable[Rule], access_request: AccessRequest, times: int) -> float | None:
    """cedarpy, over policies that were parsed once; None where it is not installed."""
    try:
        cedarpy: Any = importlib.import_module("cedarpy")
    except ImportError:
        return None
    policies = cedarpy.PolicySet.from_str("\n".join(_cedar_policy(rule) for rule in rules))
    parents = [{"__entity": {"type": "Word", "id": word}} for word in sorted(access_request.who)]
    asker = {"uid": {"__entity": {"type": "Principal", "id": "asker"}}, "attrs": {}, "parents": parents}
    entities = cedarpy.Entities.from_json_str(json.dumps([asker]))
    request = {
        "principal": 'Principal::"asker"',
        "action": f'Action::"{access_request.action}"',
        "resource": f'Kind::"{access_request.kind}"',
        "context": {"state": access_request.state, "scopes": sorted(access_request.scopes)},
    }
    assert cedarpy.is_authorized(request, policies, entities).allowed
    return clock(times, lambda: cedarpy.is_authorized(request, policies, entities))


def node(rules: Iterable[Rule], access_request: AccessRequest, times: int) -> float | None:
    """npm casbin; None where Node or the package is not here."""
    if not _has_node():
        return None
    asked = {
        "model": casbin_model.MODEL,
        "rows": [row(rule) for rule in rules],
        "request": {
            "sub": sorted(access_request.who),
            "act": access_request.action,
            "obj": {"kind": access_request.kind, "state": access_request.state},
            "scopes": sorted(access_request.scopes),
            "facts": dict(access_request.facts),
        },
        "times": times,
    }
    ran = subprocess.run(
        ["node", str(NODE / "casbin.mjs")], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    answer = json.loads(ran.stdout)
    assert answer["allowed"]
    return float(answer["microseconds"])


def _has_node() -> bool:
    return shutil.which("node") is not None and (NODE / "node_modules" / "casbin").is_dir()


def _cedar_policy(rule: Rule) -> str:
    """A row without facts in Cedar's language."""
    assert not rule.when
    effect = "permit" if rule.effect == "allow" else "forbid"
    who = "principal" if rule.who == ANYONE else f'principal in Word::"{rule.who}"'
    states = ", ".join(f'"{state}"' for state in sorted(rule.states))
    conditions = [f"[{states}].contains(context.state)"] if rule.states else []
    conditions += [] if rule.scope == ANY else [f'context.scopes.contains("{rule.scope}")']
    when = f" when {{ {' && '.join(conditions)} }}" if conditions else ""
    asked = f'{who}, action == Action::"{rule.action}", resource == Kind::"{rule.kind}"'
    return f'@id("{rule.name}") {effect}({asked}){when};'
