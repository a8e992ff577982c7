"""Work on the anchor's volume, done aside: a volume that hangs must hold up the signer alone, not the whole keeper.

Owns one thread at a time, which no end of the process waits for. Nothing is durable here.
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


class Aside:
    """Does one piece of work after another. `patience`, in seconds, bounds waiting for each."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._order = threading.Lock()
        # The work that did not end in time, and when it began.
        self._hanging: Future[Any] | None = None
        self._since = 0.0

    async def do(self, work: Callable[[], T]) -> T:
        """What the work gives, or raises. Raises Misconfigured when it does not end in time, and at once while such
        work still hangs."""
        self.refuse_while_hanging()
        began, future = time.monotonic(), self._begin(work)
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            self._hanging, self._since = future, began
            self.refuse_while_hanging()
            return future.result()

    async def last(self, work: Callable[[], object]) -> None:
        """Work that must be done whatever happens: waited for, unless it must wait itself for work that hangs."""
        future = self._begin(work)
        if self._hanging is None or self._hanging.done():
            await asyncio.wait([asyncio.wrap_future(future)], timeout=self._patience)

    def refuse_while_hanging(self) -> None:
        """Raises Misconfigured while work that did not end in time goes on."""
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
                except BaseException as error:  # noqa: BLE001 — given to whoever waits
                    future.set_exception(error)

        # A daemon: the interpreter would wait for any other thread, and so for the volume.
        threading.Thread(target=run, name="anchor", daemon=True).start()
        return future
