"""Archives the sealed log outside the database: in an object store or a directory, as a static C2SP tlog-tiles log.

Durable: the objects, none of which changes but `checkpoint`. That is written last and says how far the archive is
complete, so a crash repeats only what no checkpoint names. Any number of keepers may archive, as they write the same
bytes. Records are archived as they were sealed, without the texts that they commit to, which can still be erased.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from datetime import timedelta
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from service import metrics
from service.errors import LogDamaged, Misconfigured, TryLater
from service.ids import make_id
from service.log import tiles
from service.log.anchor import flush_directory
from service.log.checkpoint import BadNote, Checkpoint, Note
from service.log.keeper_status import REPORT_INTERVAL_SECONDS, KeeperStatus
from service.log.packing import unpack_with_leaf
from service.log.tree import load_hashes, root_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import asyncpg

    from service.database import Connection, Database
    from service.log.tiles import Tile

CHECKPOINT: Final = "checkpoint"
SCHEMES: Final = ("s3", "gs", "az")
# A step archives up to so many records, so that a long catch-up keeps what it has done.
MAX_RECORDS_PER_STEP: Final = 65_536
TILES_AT_ONCE: Final = 8
# How long an object store may take for one object, with its own retries.
OBJECT_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 30.0

# The newest checkpoint that was signed for more than $1 and at most $2 records; and the one after them.
UP_TO = r"""
    SELECT size, root, note FROM checkpoint
    WHERE note IS NOT NULL AND starts_with(note, $3 || E'\n') AND size > $1 AND size <= $2
      AND size <= (SELECT size FROM log_head)
    ORDER BY size DESC LIMIT 1
"""
AFTER = r"""
    SELECT size, root, note FROM checkpoint
    WHERE note IS NOT NULL AND starts_with(note, $2 || E'\n') AND size > $1 AND size <= (SELECT size FROM log_head)
    ORDER BY size LIMIT 1
"""

# The records of a range of positions, in order; a position without a record says whether it was pruned.
RECORDS = """
    SELECT wanted.position, r.stored_hash, r.body,
           EXISTS (SELECT FROM audit_pruned d WHERE d.position = wanted.position) AS pruned
    FROM generate_series($1::bigint, $2::bigint - 1) AS wanted (position)
    LEFT JOIN audit_position p ON p.position = wanted.position LEFT JOIN audit_record r ON r.id = p.record_id
    ORDER BY wanted.position
"""


class ArchiveStore(Protocol):
    """Holds objects by their path. Both methods raise OSError when that fails."""

    async def get(self, path: str) -> bytes | None:
        """The object; None if there is none."""

    async def put(self, path: str, data: bytes) -> None:
        """Write an object. One that was read by `get` is replaced only if nobody else replaced it since, where the
        store can tell: FileExistsError."""


def open_store(url: str, folder: str) -> ArchiveStore:
    """The store of an archive, below `folder`. Raises Misconfigured for a URL that no archive can have."""
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return ArchiveFolder(Path(parts.path) / folder)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise Misconfigured(
            "TIMEWARDEN_ARCHIVE_URL must be s3://bucket/folder, gs://..., az://... or file:///directory"
        )
    if parts.username or parts.password or parts.query:
        raise Misconfigured("TIMEWARDEN_ARCHIVE_URL names a bucket and nothing else: credentials are AWS's variables")
    if find_spec("obstore") is None:
        raise Misconfigured("TIMEWARDEN_ARCHIVE_URL needs the extra `archive`: docs/production.md, section Extras")
    return ArchiveBucket(f"{url.rstrip('/')}/{folder}")


class ArchiveFolder:
    """Objects as files. A file is complete, and on disk, once it has its name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def get(self, path: str) -> bytes | None:
        """The content of the file."""
        return await asyncio.to_thread(self.read, path)

    async def put(self, path: str, data: bytes) -> None:
        """Replace the file."""
        await asyncio.to_thread(self.write, path, data)

    def read(self, path: str) -> bytes | None:
        """As `get`, in this thread."""
        try:
            return (self.path / path).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """As `put`, in this thread."""
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Keepers in containers that share a directory may have the same process id.
        new = target.with_name(f"{target.name}.{make_id()}.new")
        try:
            with new.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(target)
        except OSError:
            # A part of it would fill a full disk further at each attempt.
            new.unlink(missing_ok=True)
            raise
        # The directories above may be new too.
        for parent in target.parents:
            flush_directory(parent)
            if parent == self.path:
                return


class ArchiveBucket:
    """Objects in an object store. Where and with which credentials is said by its own variables, such as AWS_REGION."""

    def __init__(self, url: str) -> None:
        import obstore  # noqa: PLC0415 — of the extra `archive`
        from obstore.exceptions import (  # noqa: PLC0415
            AlreadyExistsError,
            BaseError,
            NotSupportedError,
            PreconditionError,
        )

        self._obstore = obstore
        self._errors: tuple[type[Exception], ...] = (BaseError,)
        self._unsupported: type[Exception] = NotSupportedError
        self._replaced: tuple[type[Exception], ...] = (AlreadyExistsError, PreconditionError)
        try:
            self._store = obstore.store.from_url(
                url,
                # As the variable says, which these options replace.
                client_options={
                    "timeout": f"{OBJECT_SECONDS:g}s",
                    "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",
                },
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=OBJECT_SECONDS)},
            )
        except BaseError as error:
            raise Misconfigured(f"TIMEWARDEN_ARCHIVE_URL cannot be used: {_first_line(error)}") from error
        self._tags: dict[str, str | None] = {}

    async def get(self, path: str) -> bytes | None:
        """The object."""
        try:
            found = await self._obstore.get_async(self._store, path)
            data = bytes(await found.bytes_async())
        except FileNotFoundError:
            self._tags[path] = None
            return None
        except self._errors as error:
            raise OSError(_first_line(error)) from error
        if tag := found.meta["e_tag"]:
            self._tags[path] = tag
        return data

    async def put(self, path: str, data: bytes) -> None:
        """Write the object."""
        try:
            if path in self._tags:
                tag = self._tags.pop(path)
                mode: Any = "create" if tag is None else {"e_tag": tag}
                # Raised before anything is sent, where the operator said that the store cannot tell
                # (AWS_CONDITIONAL_PUT=disabled). At worst `checkpoint` then goes back to one that another keeper wrote
                # before, which is complete too. A write that the store refuses is another error.
                with suppress(self._unsupported, NotImplementedError):
                    await self._obstore.put_async(self._store, path, data, mode=mode)
                    return
            await self._obstore.put_async(self._store, path, data)
        except self._replaced as error:
            raise FileExistsError(_first_line(error)) from error
        except self._errors as error:
            raise OSError(_first_line(error)) from error


class Archiver:
    """Archives what the checkpoints of `origin` cover. `database` is the keeper's."""

    def __init__(self, database: Database, store: ArchiveStore, origin: str) -> None:
        self._database = database
        self._store = store
        self._origin = origin
        self._status = KeeperStatus(database, "archiver")

    async def archive(self) -> Checkpoint | None:
        """Archive up to the next checkpoint and return it; None if the archive has the newest one.

        Raises LogDamaged for a record that is not the one that was sealed, and when the archive has another log;
        OSError when the store fails; DatabaseUnavailable.
        """
        archived = await read_archived(self._store)
        size = archived.size if archived else 0
        async with self._database.connection() as connection:
            row = await connection.fetchrow(UP_TO, size, size + MAX_RECORDS_PER_STEP, self._origin)
            row = row or await connection.fetchrow(AFTER, size, self._origin)
            if archived is not None:
                await self._check_same_log(connection, archived)
        metrics.ARCHIVED_SIZE.set(size)
        if row is None:
            return None
        missing = tiles_between(size, row["size"])
        while batch := list(islice(missing, TILES_AT_ONCE)):
            async with self._database.connection() as connection:
                objects = [found for tile in batch for found in await _load_objects(connection, tile)]
            await asyncio.gather(*(self._store.put(path, data) for path, data in objects))
        # All that it covers is stored.
        await self._store.put(CHECKPOINT, row["note"].encode())
        metrics.ARCHIVED_SIZE.set(row["size"])
        return Checkpoint(self._origin, row["size"], row["root"])

    async def run(self, stop: asyncio.Event, interval: float) -> None:
        """Archive every `interval` seconds until `stop`, and say every few seconds whether that works."""
        ready, detail, due = True, "", 0.0
        while not stop.is_set():
            if time.monotonic() >= due:
                ready, detail, due = await self._try_to_archive(interval)
            await self._status.report(ready, detail)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(REPORT_INTERVAL_SECONDS, due - time.monotonic()))):
                    await stop.wait()

    async def _try_to_archive(self, interval: float) -> tuple[bool, str, float]:
        """Whether it worked, in words, and when to archive again."""
        try:
            archived = await self.archive()
        except (TryLater, LogDamaged) as error:
            return False, f"cannot archive: {error.cause or error.public}", time.monotonic() + RETRY_SECONDS
        except FileExistsError:
            return True, "another keeper archives", time.monotonic() + interval
        except OSError as error:
            return False, f"cannot archive: {error}", time.monotonic() + RETRY_SECONDS
        now = time.monotonic()
        if archived is None:
            return True, "the archive has the newest checkpoint", now + interval
        return True, f"archived {archived.size} records", now

    async def _check_same_log(self, connection: Connection, archived: Checkpoint) -> None:
        if archived.origin != self._origin or await _root_of(connection, archived.size) != archived.root:
            raise LogDamaged(
                f"The first {archived.size} records of the log are not those of the archive: see"
                " docs/runbook-restored-log.md, or archive to another TIMEWARDEN_ARCHIVE_URL"
            )


async def read_archived(store: ArchiveStore) -> Checkpoint | None:
    """The checkpoint up to which an archive is complete; None for an empty one. Raises OSError, LogDamaged."""
    note = await store.get(CHECKPOINT)
    try:
        return Checkpoint.parse(Note.parse(note.decode()).text) if note is not None else None
    except (BadNote, UnicodeDecodeError) as error:
        raise LogDamaged(f"The archive's checkpoint cannot be read: {error}") from error


def tiles_between(old: int, size: int) -> Iterator[Tile]:
    """The hash tiles that a log of `size` records has and one of `old` has not, from the records upwards."""
    level = 0
    while items := size >> (tiles.HEIGHT * level):
        before = old >> (tiles.HEIGHT * level)
        if items > before:
            for index in range(before // tiles.WIDTH, -(-items // tiles.WIDTH)):
                yield tiles.Tile(level, index, tiles.width_at(level, index, size))
        level += 1


async def _load_objects(connection: Connection, tile: Tile) -> Sequence[tuple[str, bytes]]:
    """A hash tile and, at level 0, its records, by their paths. Pruned records are left out with their bundle."""
    hashes = await load_hashes(connection, tile)
    if hashes is None:
        raise LogDamaged(f"The stored tree is damaged: tile {tile.level}/{tile.index} lacks hashes")
    found = [(f"tile/{tile.path}", hashes)]
    if tile.level == 0:
        start = tile.index * tiles.WIDTH
        rows = await connection.fetch(RECORDS, start, start + tile.width)
        bodies = [_check_body(row, leaf) for row, leaf in zip(rows, tiles.split_hashes(hashes), strict=True)]
        whole = [body for body in bodies if body is not None]
        if len(whole) == len(bodies):
            found.append((f"tile/{tiles.Tile(-1, tile.index, tile.width).path}", tiles.encode_bundle(whole)))
    return found


def _check_body(row: asyncpg.Record, sealed: bytes) -> bytes | None:
    """The bytes of a record; None if it was pruned."""
    if row["body"] is None and row["pruned"]:
        return None
    body, leaf = unpack_with_leaf(row["body"] or b"", row["stored_hash"] or b"")
    if leaf != sealed:
        raise LogDamaged(f"The record at position {row['position']} is not the one that was sealed there")
    return body


async def _root_of(connection: Connection, size: int) -> bytes:
    try:
        return await root_at(connection, size)
    except LogDamaged:
        # The log is shorter.
        return b""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
