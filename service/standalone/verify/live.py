"""The log as it is served today: checkpoint and hash tiles by the C2SP paths, without a token. Owns no state."""

from __future__ import annotations

from functools import lru_cache

from .fetching import NOT_FOUND, OK, Fetcher, quoted
from .findings import INCOMPLETE, Fault, Report, need
from .notes import Checkpoint, Keys, read_checkpoint
from .tree import HASH_SIZE, Fold, leaf_hash, subtrees

# Hashes in a full tile, and tree levels in one.
WIDTH = 256
HEIGHT = 8
# Each record of an entry bundle stands behind its length in so many bytes.
LENGTH = 2


class LiveLog:
    """A log at `url`, which ends before `/checkpoint`. Raises Fault."""

    def __init__(self, url: str, keys: Keys, report: Report) -> None:
        self._fetcher = Fetcher(url, report)
        answer = self._fetcher.get("checkpoint")
        if answer.status != OK:
            fault = self._fetcher.refusal("checkpoint", answer)
            raise Fault(f"{fault}; is this the URL of a log, which ends before /checkpoint?", INCOMPLETE)
        note = answer.data.decode(errors="replace")
        signed = "\n\n" in note and "\u2014" in note
        need(signed, f"{self._fetcher.url}/checkpoint is no checkpoint, but {quoted(answer.data)}", INCOMPLETE)
        self.checkpoint = read_checkpoint(note, keys)
        self._report = report
        self._tile = lru_cache(maxsize=512)(self._read_tile)

    def extends(self, *seen: Checkpoint | None) -> None:
        """Judge whether today's log begins with those that were `seen`, and whether its hashes lead to its root."""
        now, tree, at = self.checkpoint, Fold(), 0
        for one in sorted((one for one in seen if one), key=lambda one: one.size):
            if one.origin != now.origin:
                what = f"this is {now.origin}, and {one.origin} was seen before: a bundle shows whether it goes on"
                raise Fault(what, INCOMPLETE)
            if now.size < one.size:
                raise Fault(f"rolled back: the log has {now.size} records, {one.size} were signed and seen before")
            for level, index in subtrees(at, one.size):
                tree.push(level, self._subtree(level, index))
            at = one.size
            if tree.root() != one.root:
                what = f"fork: the first {at} records are not those that were signed and seen before"
                self._report.find(Fault(what))
        for level, index in subtrees(at, now.size):
            tree.push(level, self._subtree(level, index))
        self._judge_root(tree)
        self._report.count("size", now.size)

    def find(self, leaf: bytes) -> int | None:
        """The position of a leaf hash, or None when no sealed record has it. Reads from the newest on until it
        is there, and holds what was read to the signed root."""
        size = self.checkpoint.size
        pieces: list[list[tuple[int, bytes]]] = []
        for tile in reversed(range(-(-size // WIDTH))):
            tree, items = Fold(), self._read_tile(0, tile)
            hashes = [items[at : at + HASH_SIZE] for at in range(0, len(items), HASH_SIZE)]
            self._report.count("leaves", len(hashes))
            self._report.progress(self._report.checked["leaves"], size, "leaves")
            if leaf in hashes:
                self._judge_leaves(tile * WIDTH, hashes)
                return tile * WIDTH + hashes.index(leaf)
            for one in hashes:
                tree.push(0, one)
            pieces.append([(0, one) for one in hashes] if len(hashes) < WIDTH else [(HEIGHT, tree.root())])
        whole = Fold()
        for piece in reversed(pieces):
            for level, value in piece:
                whole.push(level, value)
        self._judge_root(whole)
        return None

    def newest(self, token: str) -> bytes:
        """The bytes of the newest record that the checkpoint covers; reading it needs a token of an auditor."""
        last = self.checkpoint.size - 1
        path = f"tile/entries/{_name(last // WIDTH, last % WIDTH + 1)}"
        answer = self._fetcher.get(path, token=token)
        if answer.status != OK:
            raise self._fetcher.refusal(path, answer)
        rest, entry = answer.data, b""
        while rest:
            end = LENGTH + int.from_bytes(rest[:LENGTH], "big")
            entry, rest = rest[LENGTH:end], rest[end:]
        leaf = self._read_tile(0, last // WIDTH)[-HASH_SIZE:]
        need(leaf_hash(entry) == leaf, "the newest record that is served does not have the hash that was sealed")
        return entry

    def _judge_root(self, tree: Fold) -> None:
        if tree.root() != self.checkpoint.root:
            what = f"the hash tiles do not lead to the root that was signed for size {self.checkpoint.size}"
            self._report.find(Fault(what))

    def _judge_leaves(self, start: int, hashes: list[bytes]) -> None:
        """Whether these leaves, from `start` on, lead to the root together with the subtrees beside them."""
        tree = Fold()
        for level, index in subtrees(0, start):
            tree.push(level, self._subtree(level, index))
        for one in hashes:
            tree.push(0, one)
        for level, index in subtrees(start + len(hashes), self.checkpoint.size):
            tree.push(level, self._subtree(level, index))
        self._judge_root(tree)

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
        path = f"tile/{level}/{_name(index, width)}"
        answer = self._fetcher.get(path)
        if answer.status == NOT_FOUND and width < WIDTH:
            answer = self._fetcher.get(f"tile/{level}/{_name(index)}")
        need(answer.status != NOT_FOUND, f"the hash tile {path} of the signed tree is not served")
        if answer.status != OK:
            raise self._fetcher.refusal(path, answer)
        hashes = answer.data[: width * HASH_SIZE]
        need(len(hashes) == width * HASH_SIZE, f"the hash tile {path} is shorter than the signed tree")
        return hashes


def _name(index: int, width: int = WIDTH) -> str:
    """Groups of three digits, all but the last marked: 1234067 is x001/x234/067. A partial tile says its width."""
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return "/".join(groups) + ("" if width == WIDTH else f".p/{width}")
