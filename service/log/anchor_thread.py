"""Runs file work on the anchor's volume in a thread, so that a volume that hangs stops the signer but not the keeper.

Owns one daemon thread for each call; the calls run one after the other. Nothing is durable here.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from service.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class AnchorThread:
    """Runs calls in order, each in a thread. `patience`, in seconds, bounds the wait for each."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._order = threading.Lock()
        # The call that did not return in time, and when it began.
        self._hanging: Future[Any] | None = None
        self._since = 0.0

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises. Raises Misconfigured when it does not return in time,
        and at once while an earlier call hangs."""
        self.refuse_while_hanging()
        began, future = time.monotonic(), self._begin(work)
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            self._hanging, self._since = future, began
            self.refuse_while_hanging()
            return future.result()

    async def run_last(self, work: Callable[[], object]) -> None:
        """Run `work` even while an earlier call hangs; then it is not waited for."""
        future = self._begin(work)
        if self._hanging is None or self._hanging.done():
            await asyncio.wait([asyncio.wrap_future(future)], timeout=self._patience)

    def refuse_while_hanging(self) -> None:
        """Raise Misconfigured while a call that did not return in time is still running."""
        if self._hanging is not None and not self._hanging.done():
            seconds = time.monotonic() - self._since
            raise Misconfigured(
                f"The volume of the anchor file has not answered for {seconds:.0f} s: nothing is signed"
            )

    def _begin(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            with self._order:
                future.set_running_or_notify_cancel()
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 — the waiter raises it
                    future.set_exception(error)

        # At exit the interpreter waits for every other kind of thread, and so for the volume.
        threading.Thread(target=run, name="anchor", daemon=True).start()
        return future
