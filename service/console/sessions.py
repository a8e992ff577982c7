"""The sessions of signed-in browsers: in Redis, encrypted, so that neither Redis nor its backup holds a token to use.

A browser holds a random id. Redis holds its hash and the person's tokens, encrypted with the console's key and this id:
a reader of Redis lacks both. A session ends by sign-out, after IDLE_SECONDS without a request, and MAX_SECONDS after
the sign-in.

A form for which a person must sign in again waits here too, encrypted, for KEPT_SECONDS and for this person alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.console.sign_in_server import Attempt, Demand, Grant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from redis.asyncio import Redis

IDLE_SECONDS: Final = 2 * 3600
MAX_SECONDS: Final = 12 * 3600
ATTEMPT_SECONDS: Final = 600
# A browser can sign in on several pages at once; the oldest attempts are forgotten.
MAX_ATTEMPTS: Final = 4
# Forms that wait for a new sign-in of a person; the oldest are forgotten.
KEPT_SECONDS: Final = 1800
MAX_KEPT: Final = 4
MAX_KEPT_BYTES: Final = 500_000
LOCK_SECONDS: Final = 20.0
T = TypeVar("T")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class ConsoleSession(msgspec.Struct):
    """The session of a browser. `csrf`: what its forms must contain. `demand`: what the last sign-in was to meet."""

    csrf: str
    grant: Grant
    began_at: float
    demand: Demand
    id: str = ""  # not stored

    def is_of_person(self, csrf: str) -> bool:
        """Whether this was what the forms of a session of the same person contained. Without OpenID nobody is told
        from anybody else."""
        salt, _, tag = csrf.partition(".")
        return secrets.compare_digest(tag.encode(), _tag(salt, self.grant).encode())


class KeptForm(msgspec.Struct, frozen=True):
    """A form that waits until its sender has signed in again: its id, where it goes, and its fields."""

    id: str
    path: str
    fields: list[tuple[str, str]]


class SessionStore:
    """Sessions in Redis. `keys` are the console's secrets, newest first; all of them decrypt, the first encrypts.

    Every method raises what redis-py raises when Redis does not answer.
    """

    def __init__(self, redis: Redis, keys: Sequence[str]) -> None:
        self._redis, self._keys = redis, tuple(keys)

    async def start(self, grant: Grant, demand: Demand) -> ConsoleSession:
        """A new session with a new id: an earlier session of the browser is never continued."""
        token = secrets.token_urlsafe(32)
        salt = secrets.token_urlsafe(32)
        session = ConsoleSession(f"{salt}.{_tag(salt, grant)}", grant, time.time(), demand, token)
        await self._store(session, only_existing=False)
        return session

    async def find(self, cookie: str) -> ConsoleSession | None:
        """The session of a cookie, which lives on from now; None if there is none."""
        if not _ID.fullmatch(cookie):
            return None
        session = self._read(cookie, await self._redis.getex(_key(cookie), ex=IDLE_SECONDS))
        if session is not None and time.time() >= session.began_at + MAX_SECONDS:
            # An open page asks again and again, which would keep the tokens in Redis.
            await self._redis.delete(_key(cookie))
            return None
        return session

    async def save(self, session: ConsoleSession) -> bool:
        """Store what changed in a session. False if it has ended, because an ended session is not started again."""
        return await self._store(session, only_existing=True)

    async def end(self, session: ConsoleSession) -> Grant:
        """Forget the session. Returns its grant, which another request may have renewed meanwhile."""
        stored = self._read(session.id, await self._redis.getdel(_key(session.id)))
        return (stored or session).grant

    async def keep(self, person: str, path: str, fields: list[tuple[str, str]]) -> KeptForm | None:
        """Keep a form for this person; None if it is too large."""
        form = KeptForm(secrets.token_urlsafe(16), path, fields)
        if len(msgspec.msgpack.encode(form)) > MAX_KEPT_BYTES:
            return None
        owner = f"kept {person}"
        content = msgspec.msgpack.encode([form, *await self._read_kept(owner)][:MAX_KEPT])
        await self._redis.set(_key(owner), self._cipher(owner).encrypt(content), ex=KEPT_SECONDS)
        return form

    async def find_kept(self, person: str, form_id: str) -> KeptForm | None:
        """The form with this id; None if none is kept for this person."""
        return next((form for form in await self._read_kept(f"kept {person}") if form.id == form_id), None)

    async def ping(self) -> None:
        """Return when Redis answers."""
        await self._redis.ping()

    @asynccontextmanager
    async def hold(self, session: ConsoleSession) -> AsyncIterator[None]:
        """One task at a time, on all replicas: a refresh token can be used once."""
        async with self._redis.lock(f"{_key(session.id)}:lock", timeout=LOCK_SECONDS, blocking_timeout=LOCK_SECONDS):
            yield

    async def _store(self, session: ConsoleSession, *, only_existing: bool) -> bool:
        content = msgspec.msgpack.encode(msgspec.structs.replace(session, id=""))
        encrypted = self._cipher(session.id).encrypt(content)
        return bool(await self._redis.set(_key(session.id), encrypted, ex=IDLE_SECONDS, xx=only_existing))

    def _read(self, cookie: str, stored: Any) -> ConsoleSession | None:
        """A stored session; None if there is none, or one that these keys do not decrypt."""
        session = self._decrypt(cookie, stored, ConsoleSession)
        if session is not None:
            session.id = cookie
        return session

    async def _read_kept(self, owner: str) -> list[KeptForm]:
        return self._decrypt(owner, await self._redis.get(_key(owner)), list[KeptForm]) or []

    def _decrypt(self, owner: str, stored: Any, kind: type[T]) -> T | None:
        if stored is None:
            return None
        try:
            return msgspec.msgpack.decode(self._cipher(owner).decrypt(_bytes(stored)), type=kind)
        except (InvalidToken, msgspec.DecodeError):
            return None

    def _cipher(self, token: str) -> MultiFernet:
        return MultiFernet([derive_key(key, f"session {token}") for key in self._keys])


class AttemptCookies:
    """The sign-ins that a browser has begun, in its own cookie: encrypted, so that strangers fill no memory of ours."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._cipher = MultiFernet([derive_key(key, "attempts") for key in keys])

    def add(self, cookie: str, attempt: Attempt) -> str:
        """The new cookie, with this attempt too."""
        attempts = [attempt, *self._read(cookie)][:MAX_ATTEMPTS]
        return self._cipher.encrypt(msgspec.msgpack.encode(attempts)).decode()

    def find(self, cookie: str, state: str) -> Attempt | None:
        """The attempt with this state; None if this browser has not begun it within ATTEMPT_SECONDS."""
        matching = (attempt for attempt in self._read(cookie) if secrets.compare_digest(attempt.state, state))
        return next(matching, None) if state.isascii() else None

    def _read(self, cookie: str) -> list[Attempt]:
        try:
            content = self._cipher.decrypt(cookie.encode(), ttl=ATTEMPT_SECONDS)
            return msgspec.msgpack.decode(content, type=list[Attempt])
        except (InvalidToken, msgspec.DecodeError, UnicodeEncodeError):
            return []


def derive_key(secret: str, purpose: str) -> Fernet:
    """The key for a purpose."""
    derived = HKDF(SHA256(), 32, salt=None, info=f"timewarden console {purpose}".encode()).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(derived))


def _key(token: str) -> str:
    return f"timewarden:console:{hashlib.sha256(token.encode()).hexdigest()}"


def _tag(salt: str, grant: Grant) -> str:
    return hashlib.sha256(f"{salt} {grant.claims.get('sub', '')}".encode()).hexdigest()


def _bytes(stored: Any) -> bytes:
    return stored if isinstance(stored, bytes) else str(stored).encode()
