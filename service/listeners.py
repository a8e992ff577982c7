"""Opens listening sockets, and runs Granian on a socket that is already open.

The code that opens a socket owns it. A port is opened alone, so a second service on it is refused; workers then have a
socket each. This is the only module that uses Granian's internals; nothing is durable here.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
import socket
import struct
import sys
from contextlib import asynccontextmanager, suppress
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from granian import _futures, _signals
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from granian.server.mp import MPServer

from service.errors import Misconfigured
from service.places import printable
from service.shared_core import SharedCore, never_interrupt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_log = structlog.get_logger(__name__)
# Connections that the kernel queues until a process accepts them; Linux caps it at net.core.somaxconn (4096).
BACKLOG: Final = 2048
# For servers with few clients: sign-in of the development service.
MAX_SMALL_SERVER_CONNECTIONS: Final = 256
MAX_SMALL_SERVER_IDLE_SECONDS: Final = 10.0
MAX_STOP_SECONDS: Final = 3.0
# From Linux's headers; Python does not name them.
SO_ATTACH_FILTER: Final = 26
BPF_RETURN: Final = 0x06
# The signal after which a worker makes no further connection.
IGNORE_CONNECTIONS: Final = signal.SIGUSR2
# The signal that ends a worker. Terminals and service managers send SIGINT and SIGTERM to supervisor and workers at
# once, but only the supervisor knows when a worker may end. Nobody else sends this one.
STOP_WORKER: Final = signal.SIGALRM
# The connection of a caller who reads nothing of a response for so long is closed.
MAX_UNREAD_SECONDS: Final = 60.0


def listen(host: str, port: int, *, setting: str = "", unread_seconds: float = MAX_UNREAD_SECONDS) -> socket.socket:
    """Open a socket that listens on this address; port 0 lets the system choose. Raises Misconfigured, which names the
    `setting` of the address."""
    named = f"; choose another address in {setting}" if setting else ""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family) as choosing:
            if not port and sys.platform == "linux":
                # A socket would lose a port that the system chose when it stops listening (`reserve_port`), so the port
                # is opened by its number.
                choosing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                choosing.bind(address)
                address = choosing.getsockname()
            # On an IPv6 address nothing but IPv6, so that the address is exactly the one that was asked for.
            opened = socket.create_server(address, family=family, backlog=BACKLOG)
    except UnicodeError as error:
        raise Misconfigured(f"Cannot listen on {printable(host, 100)}: no host has this name{named}") from error
    except OSError as error:
        # Python adds the address to the system's message. For a name that is not found there is no such message.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        holder = f" (`ss -ltnp 'sport = :{port}'` shows by what)" if error.errno == errno.EADDRINUSE else ""
        raise Misconfigured(f"Cannot listen on {host}, port {port}: {reason}{holder}{named}") from error
    return _limit_unread(opened, unread_seconds)


def inherit(number: int) -> socket.socket:
    """Take over the socket of a port that the parent process opened. Raises Misconfigured."""
    try:
        found = socket.socket(fileno=number)
    except OSError as error:
        raise Misconfigured(f"File descriptor {number} is no socket: {error.strerror}") from error
    if found.family not in {socket.AF_INET, socket.AF_INET6} or not found.getsockname()[1]:
        raise Misconfigured(f"File descriptor {number} is a socket that has no port")
    # Child processes inherit it only explicitly.
    found.set_inheritable(False)
    return _limit_unread(found, MAX_UNREAD_SECONDS)


def _limit_unread(listener: socket.socket, unread_seconds: float) -> socket.socket:
    """Let the kernel close connections whose peer does not acknowledge data, for which Granian would wait without end.
    Accepted connections inherit this from the listening socket. Only on Linux."""
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unread_seconds * 1000))
    return listener


def reserve_port(opened: socket.socket) -> None:
    """From now on the socket only keeps its port, and `share_port` opens sockets that accept connections there. Other
    programs are refused the port, unless they ask to share it and run as the same user. Only on Linux."""
    if sys.platform == "linux":
        # Without SO_REUSEADDR nobody else can listen on a port whose socket does not listen.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with suppress(OSError):  # It may be one that does not listen, from a service before this one.
            opened.shutdown(socket.SHUT_RD)


def share_port(reserved: socket.socket) -> socket.socket:
    """Open a listening socket on a reserved port. The kernel spreads new connections evenly over the open ones. If
    workers shared one socket, the first that looks would take all connections of a burst. Elsewhere than on Linux it is
    the same socket again."""
    if sys.platform != "linux":
        return reserved.dup()
    shared = socket.socket(reserved.family, socket.SOCK_STREAM)
    try:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            shared.setsockopt(socket.SOL_SOCKET, option, 1)
        if reserved.family == socket.AF_INET6:
            shared.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        shared.bind(reserved.getsockname())
        shared.listen(BACKLOG)
    except OSError:
        shared.close()
        raise
    return _limit_unread(shared, MAX_UNREAD_SECONDS)


def ignore_connections(listener: socket.socket) -> None:
    """From now on the kernel drops the packets of callers who want to connect, as if they were lost. They try again
    after a second, and are refused once the socket is closed. Open connections are not touched. Only on Linux.

    To shut the socket down instead would refuse callers at once, but Granian does not end when accepting fails."""
    if sys.platform == "linux":
        # A program of one instruction (classic BPF): return 0, so keep nothing of the packet.
        program = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 0))
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))


class Application(Protocol):
    """An ASGI application that can refuse a request before the event loop learns of it."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def refuse_early(self, scope: Any, send: Callable[[Any], object], receive: Callable[[], Any]) -> bool:
        """Answer the request with `send`, or return False. Called in Granian's thread for each request. `receive` makes
        Granian read the next part of the body; its future need not be awaited."""


def run_worker(
    application: Callable[[], Application],
    listener: int,
    *,
    place: tuple[int, int],
    connections: int,
    idle_seconds: float,
    logging: dict[str, Any],
) -> None:
    """Serve in this process until STOP_WORKER. `place`: the number of this worker, from 0, and how many there are.
    `application` is called here to create the application; `logging` configures Granian's own log lines.

    At most `connections` are open at once; others wait in the backlog. A connection that has not sent a whole request
    head for `idle_seconds`, since it was opened or last answered, is closed.
    """
    never_interrupt()
    _signals._get_signals = lambda: [STOP_WORKER]  # noqa: SLF001 — Granian has no setting for its signals
    server = _Worker(
        "created by the loader",
        interface=Interfaces.ASGI,
        log_level=LogLevels.warning,
        log_dictconfig=logging,
        backpressure=connections,
        **_bounds(idle_seconds),
    )
    server.listener = listener
    server.serve(target_loader=partial(_load, application, place), wrap_loader=False)


def _load(application: Callable[[], Application], place: tuple[int, int]) -> Application:
    """Create the application, and let it refuse requests in the thread in which Granian passes them to the loop."""
    created = application()
    core = SharedCore(*place)
    make_scheduler: Any = _futures._cbsched_aioschedule  # noqa: SLF001 — the only place before the event loop

    def make_refusing_scheduler(loop: Any, context: Any, callback: Any) -> Callable[[Any], None]:
        schedule = make_scheduler(loop, context, callback)
        loop.call_soon(core.start, loop)
        known_thread = 0

        def refuse_or_schedule(request: Any) -> None:
            nonlocal known_thread
            if known_thread != get_ident():
                known_thread = get_ident()
                core.add_thread()
            try:
                is_refused = created.refuse_early(request.scope, request.proto.send, request.proto.receive)
            except Exception:  # noqa: BLE001 — Granian would drop the request without an answer
                _log.exception("early_refusal_failed")
                is_refused = False
            if not is_refused:
                schedule(request)

        return refuse_or_schedule

    _futures._cbsched_aioschedule = make_refusing_scheduler  # noqa: SLF001
    return created


@asynccontextmanager
async def serving(application: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Serve the application on the socket inside the block, on this event loop. The caller still owns the socket."""
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
        # With both HTTP/1 and HTTP/2, Granian waits without end for the bytes that distinguish them.
        "http": HTTPModes.http1,
        "http1_settings": HTTP1Settings(header_read_timeout=int(idle_seconds * 1000)),
        "backlog": BACKLOG,
        "websockets": False,
    }


class _Worker(MPServer):
    """Runs the work of a Granian worker process in this process, on the given socket."""

    listener: int

    def _serve(self, spawn_target: Any, target_loader: Any) -> None:
        self._ssp, self._sso = None, None
        self._shd = SocketHolder(self.listener, False, BACKLOG)  # type: ignore[call-arg,assignment]
        worker = self._spawn_worker(0, spawn_target, target_loader)
        worker.inner.run()


class _Embedded(Server):
    """Runs Granian on our event loop, on the given socket, which it closes."""

    listener: int

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._shd = SocketHolder(self.listener, False, BACKLOG)  # type: ignore[call-arg,assignment]
