"""Listening sockets, held from the moment their port is chosen, and Granian on a socket that somebody else opened.

Whoever opens a socket owns it. No socket is opened with SO_REUSEPORT: a second service on a taken port is refused.
This is the only module that knows Granian's inside; nothing is durable here.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from granian.server.mp import MPServer

from service.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# Connections that the kernel keeps until a process accepts them; Linux caps it at net.core.somaxconn (4096).
BACKLOG: Final = 2048
# For servers that few talk to: sign-in of the development service.
MAX_SMALL_SERVER_CONNECTIONS: Final = 256
MAX_SMALL_SERVER_IDLE_SECONDS: Final = 10.0
MAX_STOP_SECONDS: Final = 3.0
# A caller who takes nothing of an answer for so long is cut off.
MAX_UNREAD_SECONDS: Final = 60.0


def listen(host: str, port: int, *, setting: str = "", unread_seconds: float = MAX_UNREAD_SECONDS) -> socket.socket:
    """A socket that listens on this address from now on; port 0 lets the system choose. Raises Misconfigured, which
    names the `setting` that the address comes from."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # On an IPv6 address nothing but IPv6, so that what is told is what is held.
        opened = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        # Python adds the address to the system's words. A name that is not found has no such words.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        named = f"; choose another address in {setting}" if setting else ""
        raise Misconfigured(f"Nobody can listen on {host}, port {port}: {reason}{named}") from error
    return _cutting_off(opened, unread_seconds)


def inherited(number: int) -> socket.socket:
    """The listening socket that our parent opened and left to us. Raises Misconfigured."""
    try:
        found = socket.socket(fileno=number)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise Misconfigured(f"File descriptor {number} is no socket: {error.strerror}") from error
    if not listens:
        raise Misconfigured(f"File descriptor {number} is a socket that does not listen")
    # Its own children get it only when they are meant to.
    found.set_inheritable(False)
    return _cutting_off(found, MAX_UNREAD_SECONDS)


def _cutting_off(listener: socket.socket, unread_seconds: float) -> socket.socket:
    """Let the kernel end connections whose other end takes nothing of what is sent: Granian waits for it without end.
    Each accepted connection inherits this from the listening socket. Only Linux can."""
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unread_seconds * 1000))
    return listener


def run_worker(
    application: Callable[[], Any], listener: int, *, connections: int, idle_seconds: float, logging: dict[str, Any]
) -> None:
    """Serve until SIGTERM in this process, which several may do on one socket. `application` is made in here; `logging`
    says where Granian's own lines go.

    `connections` may be open at once; further ones wait in the backlog. One that has sent no whole head of a request
    for `idle_seconds`, since it was opened or was answered last, is closed.
    """
    server = _Worker(
        "made by the loader",
        interface=Interfaces.ASGI,
        log_level=LogLevels.warning,
        log_dictconfig=logging,
        backpressure=connections,
        **_bounds(idle_seconds),
    )
    server.listener = listener
    server.serve(target_loader=application, wrap_loader=False)


@asynccontextmanager
async def serving(application: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Inside this block the application answers on the socket, from this event loop; afterwards it has stopped. The
    socket stays the caller's."""
    server = _Embedded(
        application,
        interface=Interfaces.ASGI,
        log_level=LogLevels.error,
        backpressure=MAX_SMALL_SERVER_CONNECTIONS,
        **_bounds(MAX_SMALL_SERVER_IDLE_SECONDS),
    )
    server.listener = os.dup(listener.fileno())
    running = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.stop()  # type: ignore[no-untyped-call]  # Granian leaves this method untyped
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_STOP_SECONDS):
                await running


def _bounds(idle_seconds: float) -> dict[str, Any]:
    return {
        # In its mode for both HTTP/1 and HTTP/2 Granian waits without end for the bytes that tell them apart.
        "http": HTTPModes.http1,
        "http1_settings": HTTP1Settings(header_read_timeout=int(idle_seconds * 1000)),
        "backlog": BACKLOG,
        "websockets": False,
    }


class _Worker(MPServer):
    """The work of one of Granian's worker processes, in this process and on the given socket."""

    listener: int

    def _serve(self, spawn_target: Any, target_loader: Any) -> None:
        self._ssp, self._sso = None, None
        self._shd = SocketHolder(self.listener, False, BACKLOG)  # type: ignore[call-arg,assignment]
        worker = self._spawn_worker(0, spawn_target, target_loader)
        worker.inner.run()


class _Embedded(Server):
    """Granian in our own event loop, on the given socket, which it closes."""

    listener: int

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._shd = SocketHolder(self.listener, False, BACKLOG)  # type: ignore[call-arg,assignment]
