"""Measures a read under 20 facts that the policy defines against one under the shipped policy.

Each has its own Postgres; they take turns in short rounds. Rows ask for all facts, and people, teams and projects have
attributes. Wanted: at most 1.3 times the processor time and the round trip.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from service.commands.policy_bootstrap import bootstrap_policy
from service.policy.policy_file import PolicyText
from tests.benchmarks.ground import ground
from tests.benchmarks.http import signed_in
from tests.benchmarks.servers import ROOT, Measured, Server, measure_load, median_of, run_load, servers, wait_ready
from tests.integration.declared_world import FACTS, declare

if TYPE_CHECKING:
    from tests.benchmarks.ground import Ground
    from tests.benchmarks.http import Demo

COUNTS = (1, 32)
NUMBER = 20
SHIPPED, DECLARED = "shipped policy", f"{NUMBER} facts"


@dataclass(frozen=True, slots=True)
class Subject:
    """A running service with its stores."""

    stores: Ground
    demo: Demo
    server: Server


async def main(rounds: int = 5) -> None:
    async with contextlib.AsyncExitStack() as stack:
        subjects = {name: await start(stack, name) for name in (SHIPPED, DECLARED)}
        for subject in subjects.values():
            await run_load(subject.server.port, 8, 1.0, *subject.demo.request_to("ours"))
        print(f"{'':>3} {'':<15} {'reads/s':>8} {'p50 ms':>7} {'server us':>10} {'Postgres us':>12}")
        for count in COUNTS:
            found: dict[str, list[Measured]] = {name: [] for name in subjects}
            for turn in range(rounds):
                for name in subjects if turn % 2 == 0 else reversed([*subjects]):
                    subject = subjects[name]
                    request = subject.demo.request_to("ours")
                    found[name].append(await measure_load(subject.stores, subject.server, count, *request))
            medians = {name: median_of(values) for name, values in found.items()}
            for name, value in medians.items():
                print(
                    f"{count:>3} {name:<15} {value.rate:>8.0f} {value.p50:>7.2f}"
                    f" {value.server:>10.0f} {value.postgres:>12.0f}"
                )
            spent = {name: value.server + value.postgres for name, value in medians.items()}
            trips = {name: value.p50 for name, value in medians.items()}
            print(
                f"{count:>3} ratio: {spent[DECLARED] / spent[SHIPPED]:.2f} of the processor time,"
                f" {trips[DECLARED] / trips[SHIPPED]:.2f} of the round trip (wanted: 1.30)"
            )


async def start(stack: contextlib.AsyncExitStack, name: str) -> Subject:
    """A service under the shipped policy, with declared facts or without."""
    stores = await stack.enter_async_context(ground())
    folder = ROOT / "policies"
    if name == DECLARED:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for file, text in with_facts(PolicyText.read(ROOT / "policies")).files():
            (folder / file).write_text(text, encoding="utf-8")
    await bootstrap_policy(stores.owner_url, folder)
    demo = await stack.enter_async_context(signed_in(stores))
    await give_attributes(stores)
    server = stack.enter_context(servers(stores, demo.issuer, 1, ["ours"]))["ours"]
    await wait_ready(server.port)
    return Subject(stores, demo, server)


def with_facts(text: PolicyText) -> PolicyText:
    """The policy with facts, each asked for by a row of its own."""
    facts = dict(list(FACTS.items())[:NUMBER])
    rows = [f"p, allow, role:nobody, read, any, timesheet, any, {fact}, by-{fact.replace('_', '-')}" for fact in facts]
    rules = "\n".join([text.rules.rstrip(), *rows, ""])
    # Personal values would be texts beside each record.
    vocabulary = declare(facts, {}).replace("personal = true", "personal = false")
    return replace(text, rules=rules, vocabulary=vocabulary, cases={})


async def give_attributes(stores: Ground) -> None:
    owner = await asyncpg.connect(stores.owner_url)
    for table, values in (
        ("person", {"country": "DE", "level": 3, "remote": True, "joined": "2020-01-01T00:00:00Z", "tags": ["a", "b"]}),
        ("team", {"region": "DE", "floor": 2}),
        ("project", {"customer": "ACME", "secret": False}),
    ):
        await owner.execute(f"UPDATE {table} SET attributes = $1", json.dumps(values))
    await owner.close()
