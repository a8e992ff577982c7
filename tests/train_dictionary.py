"""Trains a dictionary for `service/log/packing.py`: `python -m tests.train_dictionary FILE URL...`.

It learns from the decisions of the logs at URLs, read as their owners. A rare kind of decision counts as much as a
frequent one. Other ids, digests, times and tokens are put into them, since what records have in common is learned from
samples that share nothing else. Names of clients, projects and rules stay, so train it on logs of demo data alone.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import zstandard

from service.log.packing import unpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SIZE = 8_192
SAMPLES_OF_KIND = 400
# Of `zstd --train`'s ids, those from 32,768 on are for private use. Stored records do not repeat it.
DICTIONARY_ID = 2**15 + 3
# The decisions of a log, each after what makes it like others.
FIND = """
    SELECT kind, resource_kind, action, reason, rules::text, body
    FROM audit_record WHERE outcome IS NOT NULL ORDER BY id
"""
# Each with the characters that replace its own.
CHANGING = (
    (rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", b"0123456789abcdef"),
    (rb"(?<=\")(?:[0-9a-f]{32}|[0-9a-f]{64})(?=\")", b"0123456789abcdef"),
    (rb"(?<=\"token\":\")[^\"]+", b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"),
    (rb"(?<=T)\d\d:\d\d:\d\d\.\d{6}(?=Z)", b"0123456789"),
)


def train(bodies_by_kind: Mapping[tuple[object, ...], Sequence[bytes]]) -> bytes:
    """The dictionary, which is the same for the same decisions."""
    chance = random.Random(0)  # noqa: S311 - no secret
    samples: list[bytes | bytearray | memoryview] = [
        change(chance.choice(bodies), chance) for bodies in bodies_by_kind.values() for _ in range(SAMPLES_OF_KIND)
    ]
    return zstandard.train_dictionary(SIZE, samples, dict_id=DICTIONARY_ID).as_bytes()


def change(body: bytes, chance: random.Random) -> bytes:
    """The record with other ids, digests, times and tokens. Equal ones stay equal."""
    for pattern, characters in CHANGING:
        others: dict[bytes, bytes] = {}
        for found in sorted(set(re.findall(pattern, body))):
            others[found] = bytes(chance.choice(characters) if byte in characters else byte for byte in found)
        body = re.sub(pattern, lambda match: others[match[0]], body)  # noqa: B023 - called at once
    return body


async def read_decisions(urls: Sequence[str]) -> dict[tuple[object, ...], list[bytes]]:
    """The canonical bytes of the decisions, by their kind."""
    found = defaultdict[tuple[object, ...], list[bytes]](list)
    for url in urls:
        connection = await asyncpg.connect(url)
        for *kind, body in await connection.fetch(FIND):
            found[url, *kind].append(unpack(body))
        await connection.close()
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(train(asyncio.run(read_decisions(sys.argv[2:]))))
