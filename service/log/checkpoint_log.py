"""A small log whose entries are the signed checkpoints of other logs, such as those of several tenants.

Durable: a static C2SP tlog-tiles log in a directory, which `timewarden-verify archive` checks. `checkpoint` is written
last: what no checkpoint covers is written again. One process writes at a time.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.errors import LogDamaged, Misconfigured, TryLater
from service.log import checkpoint as notes
from service.log import tiles
from service.log.archive import CHECKPOINT, ArchiveFolder
from service.log.checkpoint import BadNote, Checkpoint, Note
from service.log.merkle import Edge, leaf_hash, subtrees

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from service.log.checkpoint import Signer


class CheckpointLog:
    """The log in the directory `path`; its name is that of the `signer`. Methods raise LogDamaged when the files are
    not those that were signed."""

    def __init__(self, path: Path, signer: Signer) -> None:
        self._files = ArchiveFolder(path)
        self._signer = signer

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers out. Raises TryLater while there is one, Misconfigured if the directory cannot be used."""
        try:
            self._files.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._files.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(f"{self._files.path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise TryLater("Another process is recording checkpoints", cause="locked") from error
        finally:
            os.close(lock)

    def find_newest(self, origins: Collection[str]) -> dict[str, str]:
        """The newest recorded checkpoint of each of these logs, as the note that was recorded. Reads from the end."""
        size, _ = self._load()
        found: dict[str, str] = {}
        for index in reversed(range(-(-size // tiles.WIDTH))):
            for note in reversed(self._read_bundle(index, tiles.width_at(0, index, size))):
                origin = note.partition("\n")[0]
                if origin in origins:
                    found.setdefault(origin, note)
            if len(found) == len(origins):
                break
        return found

    def append(self, checkpoints: Sequence[str]) -> Checkpoint:
        """Append signed checkpoints, and sign the log with them."""
        size, edges = self._load()
        entries = [note.encode() for note in checkpoints]
        new_size = size + len(entries)
        for tile in tiles.append_leaves(size, edges, map(leaf_hash, entries)):
            self._files.write(f"tile/{tile.path}", b"".join(edges[tile.level]))
        for tile in tiles.unfinished_tiles(new_size):
            self._files.write(f"tile/{tile.path}", b"".join(edges[tile.level]))
        self._write_bundles(size, entries)
        found = Checkpoint(self._signer.name, new_size, _root(new_size, edges))
        self._files.write(CHECKPOINT, str(Note(found.text, (self._signer.sign(found.text),))).encode())
        return found

    def _load(self) -> tuple[int, dict[int, list[bytes]]]:
        """The size, and the items of the unfinished tile of each level."""
        note = self._files.read(CHECKPOINT)
        if note is None:
            return 0, {}
        try:
            signed = Checkpoint.parse(notes.verify(note.decode(), [self._signer.verifier]).text)
        except (BadNote, UnicodeDecodeError) as error:
            raise LogDamaged(
                f"{self._files.path}/{CHECKPOINT} was not signed by {self._signer.name}: {error}"
            ) from error
        edges = {tile.level: tiles.split_hashes(self._read(tile)) for tile in tiles.unfinished_tiles(signed.size)}
        try:
            root = _root(signed.size, edges)
        except (ValueError, IndexError) as error:
            raise LogDamaged(f"The tiles in {self._files.path} are cut off") from error
        if root != signed.root:
            raise LogDamaged(f"The tiles in {self._files.path} do not lead to the root that was signed")
        return signed.size, edges

    def _read(self, tile: tiles.Tile) -> bytes:
        data = self._files.read(f"tile/{tile.path}")
        if data is None:
            raise LogDamaged(f"There is no {self._files.path}/tile/{tile.path}")
        return data

    def _read_bundle(self, index: int, width: int) -> list[str]:
        return [
            entry.decode(errors="replace") for entry in tiles.split_bundle(self._read(tiles.Tile(-1, index, width)))
        ]

    def _write_bundles(self, size: int, entries: Sequence[bytes]) -> None:
        index, width = divmod(size, tiles.WIDTH)
        held = [*tiles.split_bundle(self._read(tiles.Tile(-1, index, width)))] if width else []
        held += entries
        for start in range(0, len(held), tiles.WIDTH):
            bundle = held[start : start + tiles.WIDTH]
            tile = tiles.Tile(-1, index + start // tiles.WIDTH, len(bundle))
            self._files.write(f"tile/{tile.path}", tiles.encode_bundle(bundle))


def _root(size: int, edges: dict[int, list[bytes]]) -> bytes:
    """The root of a tree whose unfinished tiles have these items."""
    hashes = []
    for level, index in subtrees(size):
        tile_level, _, first, count = tiles.locate(level, index)
        hashes.append(tiles.subtree_root(edges[tile_level][first : first + count]))
    return Edge(size, hashes).root()
