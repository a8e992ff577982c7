"""`python -m tests.benchmarks.fuzz_tokens [seconds]`: throws broken tokens at the verifier and prints what came of it.

Every input must be refused in an orderly way: one accepted, or any other error, ends the run with its input's seed.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from typing import Any

from service.errors import InvalidToken, MalformedCredentials
from tests.token_forge import (
    PrivateKey,
    bearer,
    claims,
    ec_key,
    ed_key,
    encode_part,
    header,
    issuer,
    rsa_key,
    sign,
    verifier,
)

ALGORITHMS = {"RS256": "rsa-1", "PS256": "rsa-1", "ES256": "ec-1", "Ed25519": "ed-1", "EdDSA": "ed-1"}
KEYS: dict[str, PrivateKey] = {"rsa-1": rsa_key(), "ec-1": ec_key(), "ed-1": ed_key()}
BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/~"
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1e308,
    10**400,
    "",
    " ",
    "\x00",
    "\ud800",
    "x" * 300,
    [],
    ["x", 1],
    {},
    {"a": []},
]


def broken(source: random.Random, good: list[bytes]) -> tuple[str, bytes]:
    """One input and how it was made."""
    way = source.choice(["bytes", "splice", "noise", "unsigned claim", "unsigned header", "signed claim"])
    token = bytearray(source.choice(good))
    if way == "bytes":
        for _ in range(source.randint(1, 8)):
            token[source.randrange(len(token))] = source.choice(BYTES)
    elif way == "splice":
        other = source.choice(good)
        cut = source.randrange(1, len(token))
        token = token[:cut] + other[source.randrange(len(other)) :]
    elif way == "noise":
        token = bytearray(source.choices(BYTES, k=source.randint(1, 400)))
    elif way == "signed claim":
        name = source.choice(["iss", "aud", "exp", "iat", "client_id", "sub"])
        token = bytearray(sign(header(), claims(**{name: source.choice(VALUES)})))
    else:
        parts = token.split(b".")
        body = {**(claims() if way == "unsigned claim" else header()), source.choice(["alg", "sub", "x"]): 1}
        body[source.choice(list(body))] = source.choice(VALUES)
        parts[1 if way == "unsigned claim" else 0] = bytearray(encode_part(json.dumps(body).encode()))
        token = bytearray(b".".join(parts))
    return way, bytes(token)


async def main(seconds: float, seed: int) -> None:
    """Run for so long; print how many inputs were refused, for which causes, and how fast."""
    source = random.Random(seed)  # noqa: S311 — to be repeatable
    good = [sign(header(alg=alg, kid=kid), claims(), KEYS[kid]) for alg, kid in ALGORITHMS.items()]
    tokens = verifier(issuer(algorithms=frozenset(ALGORITHMS)))
    for token in good:
        await tokens.verify(bearer(token))
    ways, causes, started = Counter[str](), Counter[str](), time.perf_counter()
    while time.perf_counter() - started < seconds:
        way, token = broken(source, good)
        if token in good:
            continue
        try:
            await tokens.verify(bearer(token))
        except (InvalidToken, MalformedCredentials) as error:
            causes[str(error.cause)] += 1
        else:
            sys.exit(f"accepted an input made by {way!r}, number {ways.total() + 1} of seed {seed}")
        ways[way] += 1
    spent = time.perf_counter() - started
    print(f"{ways.total()} broken tokens in {spent:.1f} s ({ways.total() / spent:.0f}/s), seed {seed}: all refused")
    print("made by: " + ", ".join(f"{way} {count}" for way, count in ways.most_common()))
    print("causes:  " + ", ".join(f"{cause} {count}" for cause, count in causes.most_common()))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0, time.time_ns() % 1_000_000))
