"""The verifier of the browser (service/console/static/log_proof.js) against ours in Python: trees of many sizes, and
proofs of which one hash was changed."""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING

from service.console.static_files import path_of
from service.log.merkle import consistency_path, inclusion_path, leaf_hash, root_at
from service.log.tiles import HEIGHT, WIDTH, append_leaves, path_of_index, subtree_root

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.browser.conftest import Desk

SIZES = (*range(1, 40), 255, 256, 257, 300, 511, 512, 513, 600, 1024, 65_536, 65_537, 66_000)
JAVASCRIPT = """async ([path, questions]) => {
  const { Tree, decode64, encode64, isConsistent, isIncluded } = await import(path);
  const answers = [];
  for (const { size, old, position, leaf, root, oldRoot, tiles } of questions) {
    const tree = new Tree(size, async (name) => decode64(tiles[name]));
    const [included, extends_] = [await tree.inclusionProof(position), await tree.consistencyProof(old)];
    const flip = (hash) => hash.map((byte) => byte ^ 1);
    const spoil = (proof) => proof.map((hash, place) => (place === proof.length - 1 ? flip(hash) : hash));
    const [a, b, c] = [leaf, root, oldRoot].map(decode64);
    answers.push({
      inclusion: included.map(encode64),
      consistency: extends_.map(encode64),
      good: [await isIncluded(a, position, size, included, b), await isConsistent(old, c, size, b, extends_)],
      spoiled: [
        included.length > 0 && await isIncluded(a, position, size, spoil(included), b),
        extends_.length > 0 && await isConsistent(old, c, size, b, spoil(extends_)),
        size > 1 && await isIncluded(a, position, size, included.slice(1), b),
        await isIncluded(b, position, size, [...included, b], b),
        old < size && await isConsistent(old, b, size, b, extends_),
      ],
    });
  }
  return answers;
}"""


async def test_the_browser_makes_and_judges_the_same_proofs_as_we_do(desk: Desk) -> None:
    chance = random.Random(9162)  # noqa: S311 - the same trees each time
    questions, wanted = [], []
    for size in SIZES:
        position, old = chance.randrange(size), chance.randrange(1, size + 1)
        leaves = [leaf_hash(str(number).encode()) for number in range(size)]
        hash_at = _hash_at(leaves)
        questions.append(
            {
                "size": size,
                "old": old,
                "position": position,
                "leaf": _text(leaves[position]),
                "root": _text(root_at(size, hash_at)),
                "oldRoot": _text(root_at(old, hash_at)),
                "tiles": {path: _text(b"".join(hashes)) for path, hashes in make_tiles(leaves).items()},
            }
        )
        wanted.append(
            (
                list(map(_text, inclusion_path(position, size, hash_at))),
                list(map(_text, consistency_path(old, size, hash_at))),
            )
        )
    async with desk.window() as page:
        await page.goto(f"{desk.console}/signed-out")
        answers = await page.evaluate(JAVASCRIPT, [path_of("log_proof.js"), questions])
    assert [(answer["inclusion"], answer["consistency"]) for answer in answers] == wanted
    assert all(answer["good"] == [True, True] for answer in answers)
    assert not any(any(answer["spoiled"]) for answer in answers)


def make_tiles(leaves: Sequence[bytes]) -> dict[str, list[bytes]]:
    """The hashes of every tile of a tree, by the path after `tile/`."""
    edges: dict[int, list[bytes]] = {}
    tiles = {tile.path: list(edges[tile.level]) for tile in append_leaves(0, edges, leaves)}
    for level, hashes in edges.items():
        if hashes:
            index = (len(leaves) >> (HEIGHT * level)) // WIDTH
            tiles[f"{level}/{path_of_index(index)}.p/{len(hashes)}"] = list(hashes)
    return tiles


def _hash_at(leaves: Sequence[bytes]) -> Callable[[int, int], bytes]:
    return lambda level, index: subtree_root(leaves[index << level : (index + 1) << level])


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
