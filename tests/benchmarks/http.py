"""Measures an authorized, recorded read against its rivals: `make bench ARGS="http [--records N] [--rounds N]"`.

The database is as `make run` leaves it: migrated, with policies/ and the demo people, and with no statistics but those
that the service makes. `ours, sealed` counts the work of a keeper, too. All servers stand beside one Postgres that
really flushes, and take turns in short rounds. A ratio is the median of those of the rounds, in which both sides are
measured within seconds, because the speed of a machine with neighbours drifts. With `--records`, everything is measured
again with so many records in the log. Figures only; floors are printed beside the ratios. See rivals.py and cerbos.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm

from service.commands.policy_bootstrap import bootstrap_policy
from service.development.authorization_server import sign_in
from service.development.authorization_server.application import running as authorization_server
from service.development.demo_directory import fill
from service.development.local_servers import free_port, held_port
from service.development.people import PEOPLE
from tests.benchmarks import cerbos, figures
from tests.benchmarks.cost import count_statements
from tests.benchmarks.ground import ground
from tests.benchmarks.servers import (
    ROOT,
    Measured,
    Server,
    keeper,
    measure_load,
    median_of,
    run_load,
    servers,
    sheet,
    stop,
    wait_ready,
    wait_sealed,
)
from tests.generated_log import generate
from tests.integration.api import AUDIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.benchmarks.ground import Ground

# Workers, and the numbers of connections that are measured with so many.
LOADS = {1: (1, 32), 2: (64,)}
COUNTS = tuple(count for counts in LOADS.values() for count in counts)
# In the order in which they take turns: the rivals with a floor stand beside the service.
RIVALS = ("naive", "stock", "kept")
# Only with one worker, because Postgres takes a hundred connections.
RIVALS_OF_ONE = ("bare", "kept on asyncio", "stock on asyncio")
LIMITED = "ours, limited"
CERBOS = "Cerbos"
# Pairs and the least ratio that is wanted of them, by the number of connections.
RATIOS: tuple[tuple[str, str, Mapping[int, float]], ...] = (
    ("ours", "kept", {1: 0.45, 32: 0.65, 64: 0.85}),
    ("ours", "stock", {1: 0.55, 32: 0.85, 64: 1.0}),
    ("ours", CERBOS, {32: 1.0}),
    ("ours", "naive", {}),
    (LIMITED, "ours", {}),
    ("ours, sealed", "ours", {}),
    ("kept", "bare", {}),
)
LOG_NOW, LOG_FULL = "as make run leaves it", "with {:,} records in the log"


@dataclass(frozen=True, slots=True)
class Demo:
    """The issuer that the service trusts and its keys, Ana's token, and the path of a sheet of hers."""

    issuer: str
    key_set: Mapping[str, Any]
    token: str
    path: str

    def pem(self) -> str:
        """The RSA key as rivals take it."""
        (key,) = (found for found in self.key_set["keys"] if found["kty"] == "RSA")
        public = RSAAlgorithm.from_jwk(key)
        assert isinstance(public, RSAPublicKey)
        form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return public.public_bytes(*form).decode()

    def request_to(self, name: str) -> tuple[str, ...]:
        """The path, token and more of a request to this server, as the load generator takes them."""
        if name == CERBOS:
            return f"POST {cerbos.PATH}", "", json.dumps(cerbos.question(self.token, self.path))
        return self.path, self.token


async def main(rounds: int = 5, records: int = 0) -> None:
    async with ground() as stores, contextlib.AsyncExitStack() as stack:
        await bootstrap_policy(stores.owner_url, ROOT / "policies")
        demo = await stack.enter_async_context(signed_in(stores))
        kept = {LOG_NOW: await compare(stores, demo, LOG_NOW, rounds)}
        figures.keep("http", kept)
        if records:
            owner = await asyncpg.connect(stores.owner_url)
            await generate(owner, records)
            await owner.close()
            log = LOG_FULL.format(records)
            figures.keep("http", {**kept, log: await compare(stores, demo, log, rounds)})
    if cerbos.find_program() is None:
        print("\nnot here, so not measured: Cerbos (Linux on x86-64, Node.js, and make bench)")


@contextlib.asynccontextmanager
async def signed_in(stores: Ground) -> AsyncIterator[Demo]:
    """The authorization server of `make run`, with its people in the directory, and Ana's token."""
    held = held_port(0)
    issuer = f"http://127.0.0.1:{held.getsockname()[1]}"
    folder = stores.folder / "authorization-server"
    async with authorization_server(issuer, AUDIENCE, folder, listener=held):
        async with httpx2.AsyncClient(trust_env=False) as http:
            key_set = (await http.get(f"{issuer}/jwks")).json()
        with servers(stores, issuer, 1, ["ours"]) as started:
            port = started["ours"].port
            await wait_ready(port)
            await fill(f"http://127.0.0.1:{port}", issuer, stores.folder, print)
            ana = PEOPLE["ana"]
            answer = await sign_in.authorization_code_token(issuer, ana.login, ana.password, "timesheets-cli")
            path = await sheet(port, answer.access_token)
        yield Demo(issuer, key_set, answer.access_token, path)


async def compare(stores: Ground, demo: Demo, log: str, rounds: int) -> dict[str, Any]:
    """Measure and print everything over the log as it is; the figures."""
    found: dict[tuple[str, int], list[Measured]] = {}
    statements: dict[str, list[float]] = {}
    for workers, counts in LOADS.items():
        async with started_servers(stores, demo, workers) as running:
            for name, server in running.items():
                await run_load(server.port, 4, 0.5, *demo.request_to(name))
            found |= await measure(stores, running, demo, counts, rounds)
            if workers == 1:
                for name in ("kept", "stock", "naive", "ours"):
                    statements[name] = await count(stores, running[name], demo)
                if log == LOG_NOW:
                    found |= await measure_with_keeper(stores, running["ours"], demo, rounds)
    medians = {key: median_of(values) for key, values in found.items()}
    ratios = {f"{name} / {rival}": compare_rounds(found, name, rival) for name, rival, _ in RATIOS}
    _print(medians, ratios, statements, log, rounds)
    measured = {f"{name} at {connections}": asdict(value) for (name, connections), value in medians.items()}
    return {"measured": measured, "ratios": ratios, "statements": statements}


def compare_rounds(found: Mapping[tuple[str, int], list[Measured]], name: str, rival: str) -> dict[int, float]:
    """The median ratio of two rates of the same round, by the number of connections."""
    return {
        count: statistics.median(
            mine.rate / other.rate for mine, other in zip(found[name, count], found[rival, count], strict=True)
        )
        for count in COUNTS
        if {(name, count), (rival, count)} <= found.keys()
    }


@contextlib.asynccontextmanager
async def started_servers(stores: Ground, demo: Demo, workers: int) -> AsyncIterator[dict[str, Server]]:
    """All servers, ready, in the order in which they take turns."""
    program = cerbos.find_program()
    with contextlib.ExitStack() as stack:
        names = [*(RIVALS_OF_ONE if workers == 1 else ()), *RIVALS, "ours", LIMITED]
        running = stack.enter_context(servers(stores, demo.issuer, workers, names, demo.pem()))
        for server in running.values():
            await wait_ready(server.port, demo.path, token=demo.token)
        if program is not None:
            port = free_port(0)
            server = cerbos.start_cerbos(program, stores.folder / f"cerbos-{port}", port, free_port(0), demo.key_set)
            stack.callback(stop, server.pid)
            await wait_ready(port, cerbos.PATH, body=cerbos.question(demo.token, demo.path))
            # Beside the service, too.
            running = {**running, CERBOS: server, LIMITED: running.pop(LIMITED)}
        yield running


async def measure(
    stores: Ground, running: Mapping[str, Server], demo: Demo, counts: tuple[int, ...], rounds: int
) -> dict[tuple[str, int], list[Measured]]:
    """The rounds of each server at each number of connections; all take turns."""
    found: dict[tuple[str, int], list[Measured]] = {}
    for turn in range(rounds):
        for count in counts:
            for name in running if turn % 2 == 0 else reversed([*running]):
                told = await measure_load(stores, running[name], count, *demo.request_to(name))
                found.setdefault((name, count), []).append(told)
    return found


async def measure_with_keeper(
    stores: Ground, ours: Server, demo: Demo, rounds: int
) -> dict[tuple[str, int], list[Measured]]:
    """The service beside a keeper that seals what it records; the processor time of both."""
    with keeper(stores) as pid:
        await wait_sealed(stores.owner_url)
        both = replace(ours, others=(pid,))
        return {
            ("ours, sealed", 32): [
                await measure_load(stores, both, 32, *demo.request_to("ours")) for _ in range(rounds)
            ]
        }


async def count(stores: Ground, server: Server, demo: Demo) -> list[float]:
    """Statements of a read at one connection and at 32."""

    async def send(connections: int) -> int:
        told = await run_load(server.port, connections, 0.5, demo.path, demo.token)
        return int(told["statuses"]["200"])

    return [await count_statements(stores, partial(send, connections)) for connections in (1, 32)]


def _print(
    found: Mapping[tuple[str, int], Measured],
    ratios: Mapping[str, Mapping[int, float]],
    statements: Mapping[str, list[float]],
    log: str,
    rounds: int,
) -> None:
    names = list(dict.fromkeys(name for name, _ in found))
    print(f"\n{log}: medians of {rounds} round(s); 64 connections have 2 workers, fewer have 1")
    heads = "".join(f"{count:>9}" for count in COUNTS)
    print(f"{'requests a second':<20}{heads}   CPU us of a request at 32: server, Postgres; statements at 1, 32")
    for name in names:
        rates = "".join(
            f"{found[name, count].rate:>9.0f}" if (name, count) in found else f"{'-':>9}" for count in COUNTS
        )
        told = ", ".join(f"{number:.2f}" for number in statements.get(name, ()))
        print(f"{name:<20}{rates}{found[name, 32].server:>32.0f}{found[name, 32].postgres:>10.0f}   {told}")
    print(f"{'ratios':<20}{heads}   CPU   floors")
    for name, rival, floors in RATIOS:
        if {name, rival} <= set(names):
            compared = ratios[f"{name} / {rival}"]
            told = "".join(f"{compared[count]:>9.2f}" if count in compared else f"{'-':>9}" for count in COUNTS)
            wanted = ", ".join(f"{floor:.2f} at {count}" for count, floor in floors.items())
            # Of processor time, which drifts less, the other way round.
            cost = found[rival, 32].total / found[name, 32].total
            print(f"{f'{name} / {rival}':<20}{told}{cost:>6.2f}   {wanted}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
