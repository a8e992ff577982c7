"""The server's signing keys, RSA for RS256 and P-256 for ES256, and their rotation.

Owns a private file in the key directory, so that tokens stay valid after a restart. A new key is published before it
signs, so that verifiers know it in time, and the old one stays published until its tokens have expired.
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
PUBLISH_AHEAD_SECONDS = 300
_FILE = "signing-keys.json"
_LEEWAY_SECONDS = 120
_MAX_KEYS = 20


class SigningKeys:
    """The keys of one server, made by `load_or_create`. `clock` returns Unix seconds."""

    def __init__(self, path: Path, keys: KeySet, signs_from: dict[str, float], clock: Callable[[], float]) -> None:
        self._path = path
        self._keys: list[Key] = list(keys)
        self._signs_from = signs_from
        self._clock = clock

    def signing_key(self, algorithm: str) -> Key:
        """The private key that signs now: the newest of this algorithm that has started."""
        ready = [key for key in self._of(algorithm) if self._starts(key) <= self._clock()]
        return max(ready, key=self._starts)

    def public_jwks(self) -> dict[str, Any]:
        """The JWK Set to publish (RFC 7517 section 5), with future and former keys; public members only."""
        return dict(KeySet([key for key in self._keys if not self._is_over(key)]).as_dict(private=False))

    def public_key(self, kid: str) -> Key | None:
        """The published key with this id; None if there is none."""
        return next((key for key in self._keys if key.kid == kid and not self._is_over(key)), None)

    def plan(self) -> list[tuple[str, str, str]]:
        """For each published key: id, algorithm, and when it signs."""
        now = [self.signing_key(algorithm) for algorithm in ALGORITHMS]
        rows = []
        for key in (key for key in self._keys if not self._is_over(key)):
            wait = self._starts(key) - self._clock()
            state = "signs now" if key in now else "verifies only" if wait <= 0 else f"signs in {wait:.0f} s"
            rows.append((str(key.kid), str(key.alg), state))
        return rows

    def rotate(self, publish_ahead: float = PUBLISH_AHEAD_SECONDS) -> None:
        """Publish new keys now that start to sign after `publish_ahead` seconds. Drops keys whose tokens have expired.

        Raises Conflict if there are too many keys.
        """
        kept = [key for key in self._keys if not self._is_over(key)]
        if len(kept) >= _MAX_KEYS:
            raise Conflict("Too many keys have tokens that are not expired; try again later")
        fresh = _generate()
        signs_from = {str(key.kid): self._clock() + publish_ahead for key in fresh}
        times = {str(key.kid): self._starts(key) for key in kept} | signs_from
        key_files.replace(self._path, _document(KeySet([*kept, *fresh]), times))
        self._keys, self._signs_from = [*kept, *fresh], times

    def _of(self, algorithm: str) -> list[Key]:
        return [key for key in self._keys if key.alg == algorithm]

    def _starts(self, key: Key) -> float:
        return self._signs_from.get(str(key.kid), 0)

    def _is_over(self, key: Key) -> bool:
        """Whether all tokens of this key have expired, because a newer key has signed for long enough."""
        later = [start for start in map(self._starts, self._of(str(key.alg))) if start > self._starts(key)]
        return bool(later) and min(later) + LIFETIME_SECONDS + _LEEWAY_SECONDS < self._clock()


def load_or_create(directory: Path, clock: Callable[[], float] = time.time) -> SigningKeys:
    """The private keys in `directory`, created on first use.

    Each key has `alg`, `use: sig` and its RFC 7638 thumbprint as `kid`. Raises Misconfigured if the file holds no such
    set.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / _FILE
    if not path.exists():
        key_files.write_new(path, _document(_generate(), {}))
    return _read(path, clock)


def _generate() -> KeySet:
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
        raise Misconfigured(f"{path} holds no valid signing keys; delete it to create new ones") from error
    if ready != set(ALGORITHMS):
        raise Misconfigured(f"{path} does not hold one private key for each of {', '.join(ALGORITHMS)}; delete it")
    return SigningKeys(path, keys, signs_from, clock)
