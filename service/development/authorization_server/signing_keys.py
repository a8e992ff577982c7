"""The server's signing keys: one RSA key for RS256 and one P-256 key for ES256. Made once and durable in a private
file of the key directory, so that tokens survive a restart. This module owns that file.
"""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING, Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey

from service.errors import Misconfigured

if TYPE_CHECKING:
    from pathlib import Path

ALGORITHMS = ("RS256", "ES256")
_FILE = "signing-keys.json"


def load_or_make(directory: Path) -> KeySet:
    """The private key set kept in `directory`, made there on first use.

    Each key has `alg`, `use: sig` and as `kid` its RFC 7638 thumbprint.
    Raises Misconfigured when the file cannot be read as such a set.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / _FILE
    if not path.exists():
        _keep(path, _make())
    return _read(path)


def public_document(keys: KeySet) -> dict[str, Any]:
    """The JWK Set to publish (RFC 7517 section 5): public members only."""
    return dict(keys.as_dict(private=False))


def _make() -> KeySet:
    return KeySet(
        [
            RSAKey.generate_key(2048, parameters={"use": "sig", "alg": "RS256"}),
            ECKey.generate_key("P-256", parameters={"use": "sig", "alg": "ES256"}),
        ]
    )


def _keep(path: Path, keys: KeySet) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(keys.as_dict(private=True), file)
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, not a rename: when two servers start at once, the first one's keys stay and both read them.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _read(path: Path) -> KeySet:
    path.chmod(0o600)
    try:
        keys = KeySet.import_key_set(json.loads(path.read_text(encoding="utf-8")))
        complete = {key.alg for key in keys if key.is_private and key.kid == key.thumbprint()} == set(ALGORITHMS)
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise Misconfigured(f"{path} holds no readable signing keys; delete it to have new ones made") from error
    if not complete:
        raise Misconfigured(f"{path} does not hold one private key for each of {', '.join(ALGORITHMS)}; delete it")
    return keys
