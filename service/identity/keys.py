"""One issuer's verification keys: cached, refreshed in the background, and kept during outages up to a limit.

KeySet owns the cached set and its refresh, in memory. Each process has one for each issuer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from service.errors import KeysUnavailable
from service.identity.jwk_set import MAX_KEYS_PER_KID, read_jwk_set
from service.identity.key_source import HttpKeySource
from service.identity.outbound import NoAnswer
from service.identity.refresh_budget import RefreshBudget
from service.identity.refusals import refusal
from service.slots import slot_free

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.errors import InvalidToken
    from service.identity.issuer import Issuer
    from service.identity.jwk_set import JwkSet, RefusedKey, VerificationKey
    from service.identity.key_source import KeySource

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeyTiming:
    """Seconds. Unknown key ids cause refreshes: `burst` at once, then one per `cool_down`, at least `spacing` apart. A
    key id that the issuer does not have causes none for `absent_for`. `min_age` and `max_age` bound the server's
    max-age. `stale_limit`: how long after the last good answer keys are used while refreshing fails. `first_retry` and
    `max_retry`: the pause after a failure. `refresh_at_share`: the share of the keys' life after which they are
    fetched again.
    """

    cool_down: float = 30.0
    burst: int = 5
    spacing: float = 1.0
    absent_for: float = 60.0
    min_age: float = 60.0
    max_age: float = 86_400.0
    stale_limit: float = 86_400.0
    first_retry: float = 1.0
    max_retry: float = 60.0
    refresh_at_share: float = 0.8


@dataclass(frozen=True, slots=True)
class KeyState:
    """For readiness. `ready`: tokens of this issuer can be verified. `age`: seconds since the last good answer.
    `last_failure`: slug of the last attempt if it failed. The counts are since the start. `refused`: published keys
    that are not used, each with its reason. `opaque`: the issuer has introspection, so it works without keys too.
    """

    issuer: str
    ready: bool
    keys: int
    age: float | None
    last_failure: str | None
    failures: int
    unknown_kids: int
    refused: tuple[str, ...] = ()
    opaque: bool = False


class KeySet:
    """The keys of `issuer`. Call `start` once in the event loop that verifies, and `close` at the end."""

    def __init__(
        self,
        issuer: Issuer,
        source: KeySource | None = None,
        *,
        timing: KeyTiming | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._source = source or HttpKeySource(issuer)
        self._timing = timing or KeyTiming()
        self._clock = clock
        self._keys: JwkSet | None = None
        self._refused: tuple[RefusedKey, ...] = ()
        self._fetched_at = 0.0
        self._refresh_at = 0.0
        self._last_attempt: float | None = None
        self._budget = RefreshBudget(
            self._timing.cool_down, burst=self._timing.burst, absent_for=self._timing.absent_for, clock=clock
        )
        self._retry = self._timing.first_retry
        self._last_failure: str | None = None
        self._failures = 0
        self._unknown_kids = 0
        self._flight: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Fetch the keys and keep them fresh. An issuer that is down does not fail the start; see `state`."""
        await self._refresh()
        self._keeper = asyncio.create_task(self._keep_fresh(), name=f"keys of {self._issuer.name}")

    async def close(self) -> None:
        """Stop refreshing and close connections."""
        for task in (self._keeper, self._flight):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._keeper = self._flight = None
        await self._source.close()

    async def find(self, kid: str | None, algorithm: str, client: str = "") -> tuple[VerificationKey, ...]:
        """The keys that may have made a signature of this algorithm: those with this `kid`, which an issuer may give
        to several keys (RFC 7517 section 4.5), or its only key. `client`: the one that the token claims.

        Raises InvalidToken if the issuer publishes no such key, a weak one, several and there is no `kid`, or more than
        MAX_KEYS_PER_KID with it. Raises KeysUnavailable if the cached keys are too old, or if the key is unknown and
        the issuer's keys cannot be fetched.
        """
        found = (await self._current()).candidates(kid, algorithm)
        if not found:
            self._unknown_kids += 1
            may_ask = True
            if self._flight is not None:
                # The issuer may have made this answer before it published the key, so it does not show that the key is
                # absent.
                await self._refresh()
                found = (await self._current()).candidates(kid, algorithm)
                may_ask = not found and self._last_failure is None
            if may_ask:
                refreshed = await self._refresh_for((kid, algorithm), client)
                found = (await self._current()).candidates(kid, algorithm)
                if refreshed and not found:
                    self._budget.remember_absent((kid, algorithm))
        if not found:
            raise self._not_found(kid, algorithm)
        if len(found) > (1 if kid is None else MAX_KEYS_PER_KID):
            raise refusal("ambiguous-key")
        return found

    def has_key(self, digest: bytes) -> bool:
        """Whether the key with this digest is still published; tokens that it signed are valid only while it is."""
        return self._keys is not None and self._is_fresh() and digest in self._keys.digests

    def note_verified(self, client: str) -> None:
        """A token of this client was verified, so the client gets a refresh budget of its own."""
        self._budget.note_verified(client)

    def state(self) -> KeyState:
        """The state for readiness."""
        held = self._keys
        return KeyState(
            issuer=self._issuer.name,
            ready=held is not None and self._is_fresh(),
            keys=len(held.keys) if held else 0,
            age=self._clock() - self._fetched_at if held else None,
            last_failure=self._last_failure,
            failures=self._failures,
            unknown_kids=self._unknown_kids,
            refused=tuple(map(str, self._refused)),
            opaque=self._issuer.introspection is not None,
        )

    def _not_found(self, kid: str | None, algorithm: str) -> InvalidToken | KeysUnavailable:
        """InvalidToken if the issuer has no such key or a weak one. KeysUnavailable while the issuer does not answer,
        because the key may be new."""
        refused = self._keys.refused_for(kid) if self._keys else None
        if refused is not None:
            return refusal(f"key-{refused.why}")
        if self._last_failure is not None and not self._budget.is_absent((kid, algorithm)):
            return KeysUnavailable(cause=f"an unknown key of issuer {self._issuer.name}: {self._last_failure}")
        return refusal("unknown-key")

    async def _current(self) -> JwkSet:
        if self._keys is None or not self._is_fresh():
            may_retry = self._last_attempt is None or self._clock() - self._last_attempt >= self._timing.first_retry
            if may_retry or self._flight is not None:
                await self._refresh()
        if self._keys is None or not self._is_fresh():
            raise KeysUnavailable(cause=f"no usable keys of issuer {self._issuer.name}: {self._last_failure}")
        return self._keys

    async def _refresh_for(self, key: tuple[str | None, str], client: str) -> bool:
        """Refresh for an unknown key: join a running refresh, or start one if the budget allows. Returns whether the
        issuer answered."""
        if self._flight is not None:
            await self._refresh()
        elif self._budget.take(key, client):
            since = self._clock() - (self._last_attempt or 0.0)
            await self._refresh(after=max(0.0, self._timing.spacing - since))
        else:
            return False
        return self._last_failure is None

    def _is_fresh(self) -> bool:
        return self._clock() - self._fetched_at <= self._timing.stale_limit

    async def _keep_fresh(self) -> None:
        while True:
            wait = self._refresh_at - self._clock()
            if wait > 0:
                await asyncio.sleep(wait)
            else:
                await self._refresh()

    async def _refresh(self, after: float = 0.0) -> None:
        """Make one attempt, shared by all current callers. A caller that is cancelled does not cancel it."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._attempt(after))
        async with slot_free():
            await asyncio.shield(self._flight)

    async def _attempt(self, after: float) -> None:
        try:
            await asyncio.sleep(after)
            self._last_attempt = self._clock()
            fetched = await self._source.fetch()
            keys = read_jwk_set(fetched.body, self._issuer.algorithms)
        except NoAnswer as error:
            self._note_failure(error.failure)
        except ValueError:
            self._note_failure("not-a-jwk-set")
        except Exception as error:  # noqa: BLE001 — after any failure the good keys are kept and a retry is planned
            self._note_failure(f"unexpected-{type(error).__name__}")
        else:
            self._log_refused(keys.refused)
            if keys.keys:
                self._replace(keys, fetched.max_age)
            else:
                self._note_failure("no-usable-keys")
        finally:
            self._flight = None

    def _log_refused(self, refused: tuple[RefusedKey, ...]) -> None:
        """Log each refused key that the answer before did not have."""
        for key in refused:
            if key not in self._refused:
                _log.warning("key_refused", issuer=self._issuer.name, key=str(key))
        self._refused = refused

    def _replace(self, keys: JwkSet, max_age: float) -> None:
        """Replace all keys, so that a key that is not published any more is dropped."""
        life = min(max(max_age, self._timing.min_age), self._timing.max_age)
        self._keys, self._fetched_at, self._last_failure = keys, self._clock(), None
        self._refresh_at = self._fetched_at + life * self._timing.refresh_at_share
        self._retry = self._timing.first_retry

    def _note_failure(self, failure: str) -> None:
        self._failures += 1
        self._last_failure = failure
        self._refresh_at = max(self._refresh_at, self._clock() + self._retry)
        self._retry = min(self._retry * 2, self._timing.max_retry)
        _log.warning("keys_not_fetched", issuer=self._issuer.name, failure=failure, failures=self._failures)
