"""The log as it is served today: checkpoint and hash tiles by the C2SP paths, without a token. Owns no state."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from functools import lru_cache
from typing import TYPE_CHECKING

from .findings import INCOMPLETE, USAGE, Fault, Report, need
from .notes import Checkpoint, Keys, read_checkpoint
from .tree import HASH_SIZE, Fold, subtrees

if TYPE_CHECKING:
    from collections.abc import Iterator

# Hashes in a full tile, and tree levels in one.
WIDTH = 256
HEIGHT = 8
TIMEOUT = 30.0
LARGEST_ANSWER = 64 * 1024
NOT_FOUND = 404


class LiveLog:
    """A log at `url`, which ends before `/checkpoint`. Raises Fault."""

    def __init__(self, url: str, keys: Keys) -> None:
        need(url.startswith(("https://", "http://")), f"this is not an http or https URL: {url}", USAGE)
        self._url = url.rstrip("/")
        note = self._get("checkpoint")
        need(note is not None, f"{self._url}/checkpoint is not there: nothing is signed yet", INCOMPLETE)
        self.checkpoint = read_checkpoint((note or b"").decode(errors="replace"), keys)
        self._tile = lru_cache(maxsize=512)(self._read_tile)

    def extends(self, seen: Checkpoint | None, report: Report) -> None:
        """Judge whether today's log begins with the one that was `seen`, and whether its hashes lead to its root."""
        now, tree = self.checkpoint, Fold()
        if seen and seen.origin != now.origin:
            raise Fault(f"this is another log than the one seen before, {seen.origin}")
        if seen and now.size < seen.size:
            raise Fault(f"rolled back: the log has {now.size} records, {seen.size} were signed and seen before")
        middle = seen.size if seen else 0
        for level, index in subtrees(0, middle):
            tree.push(level, self._subtree(level, index))
        if seen and tree.root() != seen.root:
            report.find(Fault(f"fork: the first {middle} records are not those that were signed and seen before"))
        for level, index in subtrees(middle, now.size):
            tree.push(level, self._subtree(level, index))
        if tree.root() != now.root:
            report.find(Fault(f"the hash tiles do not lead to the root that was signed for size {now.size}"))
        report.count("size", now.size)

    def find(self, leaf: bytes, report: Report) -> int | None:
        """The position of a leaf hash, or None when no sealed record has it. Reads every leaf, and holds them to the
        signed root."""
        tree, position, found = Fold(), 0, None
        for one in self._leaves():
            tree.push(0, one)
            if one == leaf:
                found = position
            position += 1
            report.progress(position, self.checkpoint.size, "leaves")
        if tree.root() != self.checkpoint.root:
            report.find(Fault(f"the hash tiles do not lead to the root signed for size {self.checkpoint.size}"))
        report.count("leaves", position)
        return found

    def _leaves(self) -> Iterator[bytes]:
        for tile in range(-(-self.checkpoint.size // WIDTH)):
            items = self._read_tile(0, tile)
            yield from (items[at : at + HASH_SIZE] for at in range(0, len(items), HASH_SIZE))

    def _subtree(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree; between the levels of the tiles it is folded from one tile's items."""
        within = level % HEIGHT
        first, tree = index << within, Fold()
        tile = self._tile(level // HEIGHT, first // WIDTH)
        for item in range(first % WIDTH, first % WIDTH + (1 << within)):
            tree.push(0, tile[item * HASH_SIZE : (item + 1) * HASH_SIZE])
        return tree.root()

    def _read_tile(self, level: int, index: int) -> bytes:
        """A tile, cut to what the checkpoint covers: a partial one may have been replaced by the full one since."""
        width = min(WIDTH, (self.checkpoint.size >> (HEIGHT * level)) - index * WIDTH)
        path = f"tile/{level}/{_number(index)}"
        data = self._get(f"{path}.p/{width}") if width < WIDTH else None
        data = data if data is not None else self._get(path)
        need(data is not None, f"the hash tile {path} of the signed tree is not served")
        hashes = (data or b"")[: width * HASH_SIZE]
        need(len(hashes) == width * HASH_SIZE, f"the hash tile {path} is shorter than the signed tree")
        return hashes

    def _get(self, path: str) -> bytes | None:
        """What is served there; None when there is no such thing. Raises Fault (incomplete) when nobody answers."""
        try:
            with urllib.request.urlopen(f"{self._url}/{path}", timeout=TIMEOUT) as answer:  # noqa: S310 - http or https
                data: bytes = answer.read(LARGEST_ANSWER + 1)
        except urllib.error.HTTPError as error:
            if error.code == NOT_FOUND:
                return None
            raise Fault(f"{self._url}/{path} answers {error.code}", INCOMPLETE) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Fault(f"{self._url}/{path} does not answer: {error}", INCOMPLETE) from None
        need(len(data) <= LARGEST_ANSWER, f"{self._url}/{path} answers more than {LARGEST_ANSWER} bytes")
        return data


def _number(index: int) -> str:
    """Groups of three digits, all but the last marked: 1234067 is x001/x234/067."""
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return "/".join(groups)
