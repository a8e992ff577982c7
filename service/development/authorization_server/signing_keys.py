"""The server's signing keys, RSA for RS256 and P-256 for ES256, and their rotation.

Durable in a private file of the key directory, which this module owns, so that tokens survive a restart. A new key is
published before it signs, so that verifiers know it in time, and the one before it stays until its tokens have expired.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey

from service.development.authorization_server import key_files
from service.development.authorization_server.access_tokens import LIFETIME_SECONDS
from service.errors import Conflict, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from joserfc.jwk import Key

ALGORITHMS = ("RS256", "ES256")
PUBLISHED_BEFORE_USE = 300
_FILE = "signing-keys.json"
_LEEWAY = 120
_MAX_KEYS = 20


class SigningKeys:
    """The keys of one server. `clock` gives seconds since 1970. Made by `load_or_make`."""

    def __init__(self, path: Path, keys: KeySet, signs_from: dict[str, float], clock: Callable[[], float]) -> None:
        self._path = path
        self._keys: list[Key] = list(keys)
        self._signs_from = signs_from
        self._clock = clock

    def signing_key(self, algorithm: str) -> Key:
        """The private key that signs now: the newest of this algorithm whose time has come."""
        ready = [key for key in self._of(algorithm) if self._starts(key) <= self._clock()]
        return max(ready, key=self._starts)

    def published(self) -> dict[str, Any]:
        """The JWK Set to publish (RFC 7517 section 5): public members only, keys to come and keys gone included."""
        return dict(KeySet([key for key in self._keys if not self._is_over(key)]).as_dict(private=False))

    def public_key(self, kid: str) -> Key | None:
        """The key of this id, as long as it is published."""
        return next((key for key in self._keys if key.kid == kid and not self._is_over(key)), None)

    def plan(self) -> list[tuple[str, str, str]]:
        """Each published key: id, algorithm, and whether it signs now, will, or did."""
        now = [self.signing_key(algorithm) for algorithm in ALGORITHMS]
        said = []
        for key in (key for key in self._keys if not self._is_over(key)):
            wait = self._starts(key) - self._clock()
            state = "signs now" if key in now else "verifies only" if wait <= 0 else f"signs in {wait:.0f} s"
            said.append((str(key.kid), str(key.alg), state))
        return said

    def rotate(self, published_before_use: float = PUBLISHED_BEFORE_USE) -> None:
        """Publish new keys now, which sign from that many seconds on. Keys whose tokens have expired are dropped.

        Raises Conflict when too many are kept already.
        """
        kept = [key for key in self._keys if not self._is_over(key)]
        if len(kept) >= _MAX_KEYS:
            raise Conflict("There are too many keys whose tokens have not expired; wait until they have")
        fresh = _make()
        signs_from = {str(key.kid): self._clock() + published_before_use for key in fresh}
        times = {str(key.kid): self._starts(key) for key in kept} | signs_from
        key_files.replace(self._path, _document(KeySet([*kept, *fresh]), times))
        self._keys, self._signs_from = [*kept, *fresh], times

    def _of(self, algorithm: str) -> list[Key]:
        return [key for key in self._keys if key.alg == algorithm]

    def _starts(self, key: Key) -> float:
        return self._signs_from.get(str(key.kid), 0)

    def _is_over(self, key: Key) -> bool:
        """Whether a newer key has signed for so long that no token of this one can be valid."""
        later = [self._starts(one) for one in self._of(str(key.alg)) if self._starts(one) > self._starts(key)]
        return bool(later) and min(later) + LIFETIME_SECONDS + _LEEWAY < self._clock()


def load_or_make(directory: Path, clock: Callable[[], float] = time.time) -> SigningKeys:
    """The private keys kept in `directory`, made there on first use.

    Each key has `alg`, `use: sig` and as `kid` its RFC 7638 thumbprint.
    Raises Misconfigured when the file cannot be read as such a set.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / _FILE
    if not path.exists():
        key_files.keep_first(path, _document(_make(), {}))
    return _read(path, clock)


def _make() -> KeySet:
    return KeySet(
        [
            RSAKey.generate_key(2048, parameters={"use": "sig", "alg": "RS256"}),
            ECKey.generate_key("P-256", parameters={"use": "sig", "alg": "ES256"}),
        ]
    )


def _document(keys: KeySet, signs_from: dict[str, float]) -> str:
    return json.dumps({**keys.as_dict(private=True), "signs_from": signs_from})


def _read(path: Path, clock: Callable[[], float]) -> SigningKeys:
    path.chmod(0o600)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        keys = KeySet.import_key_set(document)
        signs_from = {str(kid): float(start) for kid, start in document.get("signs_from", {}).items()}
        ready = {
            key.alg
            for key in keys
            if key.is_private and key.kid == key.thumbprint() and signs_from.get(str(key.kid), 0) <= clock()
        }
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misconfigured(f"{path} holds no readable signing keys; delete it to have new ones made") from error
    if ready != set(ALGORITHMS):
        raise Misconfigured(f"{path} does not hold one private key for each of {', '.join(ALGORITHMS)}; delete it")
    return SigningKeys(path, keys, signs_from, clock)
