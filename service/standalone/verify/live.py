"""A served or archived log: checkpoint and hash tiles at their C2SP paths, without a token. Owns no state."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from .fetching import NOT_FOUND, OK, open_log, quote
from .findings import INCOMPLETE, Fault, Report, require
from .notes import Checkpoint, Keys, read_checkpoint
from .tree import HASH_SIZE, Fold, leaf_hash, subtrees

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .fetching import Answer

# Hashes in a full tile, and tree levels in one.
WIDTH = 256
HEIGHT = 8
# How many bytes the length before each record of an entry bundle has.
LENGTH = 2


class LiveLog:
    """A log at `place`, a URL or a directory, which ends before `/checkpoint`. Methods raise Fault."""

    def __init__(self, place: str, keys: Keys, report: Report) -> None:
        self._fetcher = open_log(place, report)
        self._report = report
        self._tile = lru_cache(maxsize=512)(self._read_tile)
        try:
            self.checkpoint = self._read_checkpoint(keys)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give up the connection, which is kept until then."""
        self._fetcher.close()

    def check_extends(self, *seen: Checkpoint | None) -> None:
        """Check that the served log extends the checkpoints `seen` before, and that its hashes lead to its root."""
        now, tree, at = self.checkpoint, Fold(), 0
        for old in sorted((old for old in seen if old), key=lambda old: old.size):
            if old.origin != now.origin:
                what = f"this is {now.origin}, and {old.origin} was seen before: a bundle shows whether it goes on"
                raise Fault(what, INCOMPLETE)
            if now.size < old.size:
                raise Fault(f"rolled back: the log has {now.size} records, {old.size} were signed and seen before")
            for level, index in subtrees(at, old.size):
                tree.push(level, self._subtree(level, index))
            at = old.size
            if tree.root() != old.root:
                what = f"fork: the first {at} records are not those that were signed and seen before"
                self._report.add(Fault(what))
        for level, index in subtrees(at, now.size):
            tree.push(level, self._subtree(level, index))
        self._check_root(tree)
        self._report.count("size", now.size)

    def find_leaf(self, leaf: bytes) -> int | None:
        """The position of a leaf hash, or None if no sealed record has it. Reads tiles from the newest on, and checks
        the tiles that it read against the signed root."""
        size = self.checkpoint.size
        pieces: list[list[tuple[int, bytes]]] = []
        for tile in reversed(range(-(-size // WIDTH))):
            tree, hashes = Fold(), _split_hashes(self._read_tile(0, tile))
            self._report.count("leaves", len(hashes))
            self._report.progress(self._report.checked["leaves"], size, "leaves")
            if leaf in hashes:
                self._check_leaves(tile * WIDTH, hashes)
                return tile * WIDTH + hashes.index(leaf)
            for value in hashes:
                tree.push(0, value)
            pieces.append([(0, value) for value in hashes] if len(hashes) < WIDTH else [(HEIGHT, tree.root())])
        whole = Fold()
        for piece in reversed(pieces):
            for level, value in piece:
                whole.push(level, value)
        self._check_root(whole)
        return None

    def read_record(self, position: int, token: str) -> bytes:
        """The bytes of the record at this position; needs an auditor's token."""
        return self._read_entries(position // WIDTH, token)[position % WIDTH]

    def read_newest(self, token: str) -> list[bytes]:
        """The bytes of the newest records that the checkpoint covers, which are those of the last tile; needs an
        auditor's token."""
        require(self.checkpoint.size, "the log has no records", INCOMPLETE)
        return self._read_entries((self.checkpoint.size - 1) // WIDTH, token)

    def read_records(self, token: str = "") -> Iterator[tuple[int, bytes]]:
        """The position and the bytes of every record, each checked against the hash that was sealed, and at the end all
        hashes against the root. Adds a finding for records that are missing."""
        whole, size = Fold(), self.checkpoint.size
        for index in range(-(-size // WIDTH)):
            start, leaves = index * WIDTH, _split_hashes(self._read_tile(0, index))
            for leaf in leaves:
                whole.push(0, leaf)
            path, answer = self._get("entries", index, len(leaves), token)
            if answer.status == NOT_FOUND:
                what = f"the records {start:,} to {start + len(leaves) - 1:,} are not there, only their hashes"
                self._report.add(Fault(what, INCOMPLETE))
                continue
            if answer.status != OK:
                raise self._fetcher.refusal(path, answer)
            yield from self._check_bundle(start, leaves, _split_bundle(answer.data))
            self._report.progress(start + len(leaves), size, "records")
        self._check_root(whole)

    def _read_entries(self, index: int, token: str) -> list[bytes]:
        """The records of a tile, checked against the signed root."""
        start, leaves = index * WIDTH, _split_hashes(self._read_tile(0, index))
        # The server may give other hashes than when the tree was checked.
        self._check_leaves(start, leaves)
        path, answer = self._get("entries", index, len(leaves), token)
        if answer.status != OK:
            raise self._fetcher.refusal(path, answer)
        entries = _split_bundle(answer.data)[: len(leaves)]
        what = f"the records that are served from position {start:,} on do not have the hashes that were sealed"
        require([leaf_hash(entry) for entry in entries] == leaves, what)
        return entries

    def _read_checkpoint(self, keys: Keys) -> Checkpoint:
        answer = self._fetcher.get("checkpoint")
        if answer.status != OK:
            fault = self._fetcher.refusal("checkpoint", answer)
            raise Fault(f"{fault}; is this the URL of a log, which ends before /checkpoint?", INCOMPLETE)
        note = answer.data.decode(errors="replace")
        signed = "\n\n" in note and "\u2014" in note
        require(signed, f"{self._fetcher.url}/checkpoint is not a checkpoint, but {quote(answer.data)}", INCOMPLETE)
        return read_checkpoint(note, keys)

    def _check_bundle(self, start: int, leaves: list[bytes], entries: list[bytes]) -> Iterator[tuple[int, bytes]]:
        require(len(entries) >= len(leaves), f"the records from {start:,} on are cut off")
        for position, (leaf, entry) in enumerate(zip(leaves, entries, strict=False), start):
            if leaf_hash(entry) == leaf:
                self._report.count("records")
                yield position, entry
            else:
                what = "the record here does not have the hash that was sealed"
                self._report.add(Fault(what), position=position)

    def _check_root(self, tree: Fold) -> None:
        if tree.root() != self.checkpoint.root:
            what = f"the hash tiles do not lead to the root that was signed for size {self.checkpoint.size}"
            self._report.add(Fault(what))

    def _check_leaves(self, start: int, hashes: list[bytes]) -> None:
        """Check that these leaves, from position `start` on, and the subtrees beside them lead to the root."""
        tree = Fold()
        for level, index in subtrees(0, start):
            tree.push(level, self._subtree(level, index))
        for value in hashes:
            tree.push(0, value)
        for level, index in subtrees(start + len(hashes), self.checkpoint.size):
            tree.push(level, self._subtree(level, index))
        self._check_root(tree)

    def _subtree(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree, folded from the items of one tile."""
        within = level % HEIGHT
        first, tree = index << within, Fold()
        tile = self._tile(level // HEIGHT, first // WIDTH)
        for item in range(first % WIDTH, first % WIDTH + (1 << within)):
            tree.push(0, tile[item * HASH_SIZE : (item + 1) * HASH_SIZE])
        return tree.root()

    def _read_tile(self, level: int, index: int) -> bytes:
        """The part of a tile that the checkpoint covers."""
        width = min(WIDTH, (self.checkpoint.size >> (HEIGHT * level)) - index * WIDTH)
        path, answer = self._get(str(level), index, width)
        require(answer.status != NOT_FOUND, f"the hash tile {path} of the signed tree is not served")
        if answer.status != OK:
            raise self._fetcher.refusal(path, answer)
        hashes = answer.data[: width * HASH_SIZE]
        require(len(hashes) == width * HASH_SIZE, f"the hash tile {path} is shorter than the signed tree")
        return hashes

    def _get(self, kind: str, index: int, width: int, token: str = "") -> tuple[str, Answer]:
        """The path of a tile of a level or of entries, and the answer for it, or for the full tile, which may have
        replaced a partial one meanwhile."""
        path = f"tile/{kind}/{_name(index, width)}"
        answer = self._fetcher.get(path, token=token)
        if answer.status == NOT_FOUND and width < WIDTH:
            answer = self._fetcher.get(f"tile/{kind}/{_name(index)}", token=token)
        return path, answer


def _split_hashes(tile: bytes) -> list[bytes]:
    return [tile[at : at + HASH_SIZE] for at in range(0, len(tile), HASH_SIZE)]


def _split_bundle(data: bytes) -> list[bytes]:
    """The records of an entry bundle."""
    entries = []
    while data:
        end = LENGTH + int.from_bytes(data[:LENGTH], "big")
        require(len(data) >= end, "an entry bundle is cut off")
        entries.append(data[LENGTH:end])
        data = data[end:]
    return entries


def _name(index: int, width: int = WIDTH) -> str:
    """Groups of three digits, all but the last prefixed by x: 1234067 is x001/x234/067. A partial tile has its
    width."""
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return "/".join(groups) + ("" if width == WIDTH else f".p/{width}")
