"""Key files of the log: one Ed25519 private key each, in the text form of Go's note package. Durable: the files, which
only the keeper can read."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from service.errors import Misconfigured
from service.log.checkpoint import SEED_BYTES, BadNote, Signer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_KEY_FILE_BYTES = 4096
# Mode bits that a key file must not have. A group may read it, for secrets that an orchestrator mounts.
FORBIDDEN_MODE = 0o027


def make_key(path: Path, origin: str) -> Signer:
    """Make a key named `origin` in a new file that only its owner may read. Raises Misconfigured, also if the file
    exists."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        signer = Signer(origin, secrets.token_bytes(SEED_BYTES))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(signer.private + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces a file, and the name appears only once the key is complete.
        os.link(fresh, path)
    except BadNote as error:
        raise Misconfigured(f"The log's origin cannot be {origin!r}: {error}") from error
    except FileExistsError as error:
        raise Misconfigured(f"{path} exists; a key is never overwritten") from error
    except OSError as error:
        raise Misconfigured(f"The key file {path} cannot be written: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)
    return signer


def read_key(path: Path) -> Signer:
    """Read the key in a file. Raises Misconfigured, which never quotes the file."""
    try:
        with path.open(encoding="utf-8") as opened:
            if os.fstat(opened.fileno()).st_mode & FORBIDDEN_MODE:
                raise Misconfigured(f"The key file {path} can be read or written by others; `chmod 600` it")
            return Signer.parse(opened.read(MAX_KEY_FILE_BYTES))
    except FileNotFoundError as error:
        raise Misconfigured(
            f"There is no key file {path}: restore the log's key; for a new log, `timewarden audit key new {path}`"
        ) from error
    except OSError as error:
        raise Misconfigured(f"The key file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        detail = str(error) if isinstance(error, BadNote) else "it is not text"
        raise Misconfigured(f"The key file {path} holds no key: {detail}") from error


def read_keys(paths: Sequence[Path], origin: str) -> list[Signer]:
    """Read the keys of the log `origin`, in order. Raises Misconfigured, also for a key of another log."""
    signers = [read_key(path) for path in paths]
    for path, signer in zip(paths, signers, strict=True):
        if signer.name != origin:
            raise Misconfigured(
                f"The key in {path} is named {signer.name}, but the log's origin is {origin}: correct"
                " TIMEWARDEN_LOG_ORIGIN, or name the log's own key in TIMEWARDEN_LOG_KEY_FILE"
            )
    if not signers:
        raise Misconfigured("The log has no key file")
    return signers
